// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "pipelined_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

template <class Region, class Strategy>
Outcome on_threads(PipelineJob const& job) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(job.ranks()));
  Threads::run(job.ranks(), [&](Threads::Rank rank) {
    ranks[static_cast<std::size_t>(rank.rank())] = train_pipelined<Region, Strategy, Xt>(rank, job);
  });
  return merged(ranks);
}

Outcome one_rank(PipelineJob job) {
  // The same samples, one after the other.
  job.microbatches *= job.dp;
  job.held_out *= job.dp;
  job.pp = job.tp = job.dp = 1;
  return train_deep<Duplicated, Zero1<AdamW>, Xt>(Single{}, job);
}

template <class Region, class Strategy> void check_parity(PipelineJob const& job) {
  CAPTURE(job.kind);
  CAPTURE(job.pp);
  CAPTURE(job.tp);
  CAPTURE(job.dp);
  auto const d = distance(on_threads<Region, Strategy>(job), one_rank(job));
  CHECK(d.loss < 2e-6);
  CHECK(d.norm < 2e-5);
  CHECK(d.parameters < 1e-5);
}

constexpr auto none = Recompute::none, selective = Recompute::selective, full = Recompute::full;

}  // namespace

// Every pair of values of (kind, ranks, tensor and sequence parallelism, data parallelism, state, recompute)
// is among these.
TEST_CASE("every pipeline trains as one rank: activations duplicated, ZeRO-1") {
  using Strategy = Zero1<AdamW>;
  check_parity<Duplicated, Strategy>({.kind = "gpipe", .pp = 2, .recompute = none});
  check_parity<Duplicated, Strategy>({.kind = "1f1b", .pp = 4, .dp = 2, .recompute = selective});
  check_parity<Duplicated, Strategy>(
      {.kind = "interleaved", .pp = 2, .chunks = 2, .tied = true, .recompute = full});
  check_parity<Duplicated, Strategy>({.kind = "zb-h1", .pp = 8, .dp = 2, .recompute = none});
  check_parity<Duplicated, Strategy>(
      {.kind = "zb-v", .pp = 2, .chunks = 2, .tied = true, .recompute = full});
}

TEST_CASE("every pipeline trains as one rank: activations duplicated, state replicated") {
  using Strategy = Replicated<AdamW>;
  check_parity<Duplicated, Strategy>({.kind = "gpipe", .pp = 8, .recompute = selective});
  check_parity<Duplicated, Strategy>({.kind = "1f1b", .pp = 2, .tied = true, .recompute = full});
  check_parity<Duplicated, Strategy>(
      {.kind = "interleaved", .pp = 4, .dp = 2, .chunks = 2, .recompute = selective});
  check_parity<Duplicated, Strategy>(
      {.kind = "zb-v", .pp = 4, .dp = 2, .chunks = 2, .recompute = selective});
}

TEST_CASE("every pipeline trains as one rank: sequence parallel, ZeRO-1") {
  using Region = SequenceParallel<Seq>;
  using Strategy = Zero1<AdamW>;
  check_parity<Region, Strategy>({.kind = "1f1b", .pp = 8, .tp = 2, .recompute = none});
  check_parity<Region, Strategy>({.kind = "gpipe", .pp = 4, .tp = 2, .dp = 2, .recompute = full});
  check_parity<Region, Strategy>({.kind = "zb-h1", .pp = 2, .tp = 2, .recompute = selective});
  check_parity<Region, Strategy>(
      {.kind = "interleaved", .pp = 4, .tp = 2, .chunks = 2, .recompute = none});
}

TEST_CASE("every pipeline trains as one rank: sequence parallel, state replicated") {
  using Region = SequenceParallel<Seq>;
  using Strategy = Replicated<AdamW>;
  check_parity<Region, Strategy>(
      {.kind = "zb-h1", .pp = 4, .tp = 2, .tied = true, .recompute = full});
  check_parity<Region, Strategy>(
      {.kind = "zb-v", .pp = 4, .tp = 2, .chunks = 2, .tied = true, .recompute = none});
  check_parity<Region, Strategy>({.kind = "1f1b",
                                  .pp = 2,
                                  .tp = 2,
                                  .dp = 2,
                                  .microbatches = 3,
                                  .recompute = selective,
                                  .global_batch = 12});
}

TEST_CASE("schedules that keep the order of gradient sums give the bits of one rank") {
  for (auto const& job :
       {PipelineJob{.kind = "1f1b", .pp = 4}, {.kind = "gpipe", .pp = 2, .recompute = full},
        {.kind = "interleaved", .pp = 2, .chunks = 2}, {.kind = "zb-h1", .pp = 4},
        {.kind = "zb-v", .pp = 4, .chunks = 2}}) {
    CAPTURE(job.kind);
    auto pipelined = on_threads<Duplicated, Zero1<AdamW>>(job), whole = one_rank(job);
    CHECK(pipelined.losses == whole.losses);
    // A norm is summed stage by stage, and clips; beyond its last bits nothing differs.
    auto const d = distance(pipelined, whole);
    CHECK(d.norm < 1e-6);
  }
}
