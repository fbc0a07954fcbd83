// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/pieces.hpp>

#include "pipelined_llama.hpp"

namespace nxd::test {

/// How a Llama lies on ranks: axes, schedule, and whether the optimizer's state is split, which
/// goes with sequence parallelism here.
struct Placed {
  std::string name;
  PipelineJob job;
  bool zero1 = false;
};

/// Layouts of up to 8 ranks: every axis and pair of axes, every schedule, padded rows of the
/// vocabulary, copies of key heads, state that does not split evenly.
inline std::vector<Placed> layouts(bool tied) {
  auto const of = [tied](std::string kind, std::int64_t pp, std::int64_t tp, std::int64_t dp,
                         std::int64_t chunks = 1) {
    PipelineJob job;
    job.kind = std::move(kind);
    job.pp = pp, job.tp = tp, job.dp = dp, job.chunks = chunks;
    job.microbatches = pp == 1 ? 2 : 4;
    job.global_batch = 24;
    job.tied = tied;
    return job;
  };
  return {{"pp 2, zb-v, tp 2, dp 2, zero1", of("zb-v", 2, 2, 2, 2), true},
          {"one rank", of("1f1b", 1, 1, 1)},
          {"pp 4, gpipe, dp 2, zero1", of("gpipe", 4, 1, 2), true},
          {"tp 4, dp 2, zero1", of("1f1b", 1, 4, 2), true},
          {"dp 3, zero1", of("1f1b", 1, 1, 3), true},
          {"pp 2, interleaved 2, dp 2", of("interleaved", 2, 1, 2, 2)},
          {"pp 2, zb-h1, tp 2", of("zb-h1", 2, 2, 1)},
          {"dp 2", of("1f1b", 1, 1, 2)},
          {"tp 2", of("1f1b", 1, 2, 1)},
          {"tp 4", of("1f1b", 1, 4, 1)},
          {"tp 2, dp 2, zero1", of("1f1b", 1, 2, 2), true},
          {"pp 4, zb-v", of("zb-v", 4, 1, 1, 2)},
          {"pp 2, 1f1b", of("1f1b", 2, 1, 1)},
          {"pp 4, interleaved 2", of("interleaved", 4, 1, 1, 2)}};
}

/// Whether the long versions of tests are wanted: `tests/run.sh --full`.
inline bool full() { return std::getenv("NXD_FULL") != nullptr; }

/// Makes model and optimizer on each rank of a layout, and calls `f(comm, world, model,
/// optimizer)`.
template <class F> void on_layout(Placed const& placed, F const& f) {
  auto const with = [&]<class Region, class Strategy>(Threads::Rank comm) {
    auto const& job = placed.job;
    World<LlamaPlan, Xt, Threads::Rank> world(
        make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}), comm);
    auto const model = make_pipelined<Region>(world, job);
    Optimizer<Strategy, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0});
    f(comm, world, model, optimizer);
  };
  Threads::run(placed.job.ranks(), [&](Threads::Rank comm) {
    if (placed.zero1)
      with.template operator()<SequenceParallel<Seq>, Zero1<AdamW>>(comm);
    else
      with.template operator()<Duplicated, Replicated<AdamW>>(comm);
  });
}

/// A folder of its own, gone with the object.
struct Directory {
  std::string path;

  Directory() {
    auto made = (std::filesystem::temp_directory_path() / "nxd-layouts-XXXXXX").string();
    path = ::mkdtemp(made.data());
  }
  Directory(Directory const&) = delete;
  Directory& operator=(Directory const&) = delete;
  ~Directory() { std::filesystem::remove_all(path); }
};

}  // namespace nxd::test
