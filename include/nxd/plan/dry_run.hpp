// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/plan/machine.hpp>
#include <nxd/plan/timeline.hpp>
#include <nxd/tensor/dry.hpp>
#include <nxd/train/pipeline_step.hpp>
#include <nxd/train/step_cost.hpp>

namespace nxd {

/// What a step will cost one rank.
struct RankPlan {
  std::int64_t rank = 0;
  std::int64_t layers = 0;  ///< of its stages
  StepCost cost;
  std::int64_t forward_flops = 0;  ///< of `cost.flops`; the rest is the backward pass
  std::int64_t kept_per_microbatch =
      0;                        ///< bytes from a forward pass to its backward pass, all chunks
  std::vector<double> seconds;  ///< of each of its actions
  double optimizer_seconds = 0;
};

/// A world for dry runs: B's types, no elements, no peers.
template <class P, Backend B> using DryWorld = World<P, Dry<B>, Recorder<Nobody>>;

/// Rank `rank` of such a world. Exchanges take their time as the machine says; it outlives the
/// world.
inline Recorder<Nobody> dry_rank(std::int64_t rank, std::int64_t ranks, Machine const& machine) {
  auto const toll = [&machine](Call const& call) { DryWork::mine().seconds += machine.of(call); };
  return Recorder<Nobody>(Nobody(rank, ranks, toll, machine.ranks_per_node));
}

namespace detail {

/// Bytes that the forward passes of one microbatch leave for its backward passes on this rank.
template <class World, class Model>
std::int64_t kept_bytes(World& world, Pipelined<Model, World> const& model,
                        Microbatch const& batch) {
  LanguageStages<Model, World> const stages{world, model, std::span(&batch, 1), 1.0};
  using Residual = typename Model::Residual;
  auto const& s = model.plan().training;
  auto& meter = World::backend::meter();
  auto const before = meter.live().total();
  std::int64_t kept = 0;
  {
    Tape tape;
    world.exchange(tape);
    for (int chunk = 0; chunk < s.chunks; ++chunk) {
      auto const stage = s.stage(static_cast<int>(model.along().place), chunk);
      auto const x = stage == 0
                         ? stages.begin(0)
                         : world.arriving(world.template make<Residual>(), [](auto const&) {});
      auto const y = stages.pass(chunk, x);
      if (stage + 1 == s.stages()) stages.end(0, y);
    }
    kept = meter.live().total() - before;
    world.exchange(tape);
  }
  return kept;
}

}  // namespace detail

/// Runs one step of training without elements and without peers. Kernels take their time as
/// `prices` say.
template <class World, class Model, class Optimizer>
RankPlan dry_run(World& world, Pipelined<Model, World> const& model, Optimizer& optimizer,
                 KernelPrices const& prices) {
  DryWork::mine() = {prices, 0};
  RankPlan plan;
  auto const& s = model.plan().training;
  plan.rank = world.rank();
  for (int c = 0; c < s.chunks; ++c) plan.layers += model.chunk(c).span().layers;
  std::vector<Microbatch> const batches(static_cast<std::size_t>(s.microbatches));
  auto const before = world.ledger.flops;
  plan.kept_per_microbatch = detail::kept_bytes(world, model, batches.front());
  plan.forward_flops = (world.ledger.flops - before) * s.microbatches;
  Trace trace(DryWork::mine().seconds);
  world.trace = &trace;
  plan.cost = cost_of(world, [&] {
    train_step(world, model, optimizer, std::span<Microbatch const>(batches), 1e-3);
  });
  world.trace = nullptr;
  for (auto const& event : trace.events())
    if (event.category == "optimizer")
      plan.optimizer_seconds += event.finish - event.start;
    else if (event.category != "beside")
      plan.seconds.push_back(event.finish - event.start);
  return plan;
}

}  // namespace nxd
