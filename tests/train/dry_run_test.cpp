// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/dry.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/step_cost.hpp>

#include "models/pipelined_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// What each of two steps costs a rank, its memory counted from before there was a model.
template <class Region, class Strategy, class Backend, class C>
std::vector<StepCost> costs_of(C comm, PipelineJob const& job) {
  World<LlamaPlan, Backend, Recorder<C>> world(
      make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}),
      Recorder<C>(comm));
  auto const model = make_pipelined<Region>(world, job);
  Optimizer<Strategy, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0});
  std::vector<StepCost> costs;
  for (std::int64_t step = 0; step < 2; ++step) {
    auto const batches = microbatches(job.data(), step, line<DP>(world.plan, world.rank()).place,
                                      job.model().vocab_size);
    costs.push_back(cost_of(world, [&] {
      train_step(world, model, optimizer, std::span<Microbatch const>(batches), 3e-3);
    }));
  }
  return costs;
}

template <class Region, class Strategy> void check_exact(PipelineJob const& job) {
  CAPTURE(job.kind);
  CAPTURE(job.pp);
  CAPTURE(job.tp);
  CAPTURE(job.dp);
  auto const n = static_cast<std::size_t>(job.ranks());
  std::vector<std::vector<StepCost>> real(n);
  Threads::run(job.ranks(), [&](Threads::Rank rank) {
    real[static_cast<std::size_t>(rank.rank())] = costs_of<Region, Strategy, Xt>(rank, job);
  });
  for (std::size_t rank = 0; rank < n; ++rank) {
    CAPTURE(rank);
    auto const dry = costs_of<Region, Strategy, Dry<Xt>>(
        Nobody(static_cast<std::int64_t>(rank), job.ranks()), job);
    for (std::size_t step = 0; step < 2; ++step) {
      CHECK(dry[step].before.bytes == real[rank][step].before.bytes);
      CHECK(dry[step].peak.bytes == real[rank][step].peak.bytes);
      CHECK(dry[step].traffic == real[rank][step].traffic);
      CHECK(dry[step].flops == real[rank][step].flops);
    }
    CHECK(dry[1].peak.total() > 0);
  }
}

constexpr auto none = Recompute::none, selective = Recompute::selective, full = Recompute::full;

}  // namespace

TEST_CASE("a dry run costs every rank what the run costs: activations duplicated, ZeRO-1") {
  using Strategy = Zero1<AdamW>;
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .microbatches = 1});
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .tp = 2, .dp = 2});
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .tp = 4, .microbatches = 2});
  check_exact<Duplicated, Strategy>({.kind = "gpipe", .pp = 2, .recompute = none});
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 4, .dp = 2, .recompute = selective});
  check_exact<Duplicated, Strategy>(
      {.kind = "interleaved", .pp = 2, .chunks = 2, .tied = true, .recompute = full});
  check_exact<Duplicated, Strategy>({.kind = "zb-h1", .pp = 8, .dp = 2, .recompute = none});
}

TEST_CASE("a dry run costs every rank what the run costs: sequence parallel, ZeRO-1") {
  using Region = SequenceParallel<Seq>;
  using Strategy = Zero1<AdamW>;
  check_exact<Region, Strategy>({.kind = "1f1b", .pp = 1, .tp = 4, .dp = 2, .microbatches = 2});
  check_exact<Region, Strategy>({.kind = "gpipe", .pp = 4, .tp = 2, .dp = 2, .recompute = full});
  check_exact<Region, Strategy>(
      {.kind = "zb-v", .pp = 4, .tp = 2, .chunks = 2, .tied = true, .recompute = selective});
}

TEST_CASE("a dry run costs every rank what the run costs: state replicated") {
  using Strategy = Replicated<AdamW>;
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .dp = 2, .microbatches = 2});
  check_exact<SequenceParallel<Seq>, Strategy>(
      {.kind = "zb-h1", .pp = 4, .tp = 2, .dp = 2, .tied = true, .recompute = none});
}
