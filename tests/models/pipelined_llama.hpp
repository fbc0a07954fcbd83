// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/train/pipeline_step.hpp>

#include "small_llama.hpp"

namespace nxd::test {

/// A run of a pipeline: kind of schedule, and numbers.
struct PipelineJob {
  std::string kind = "1f1b";
  std::int64_t pp = 2, tp = 1, dp = 1, chunks = 1, microbatches = 8;
  bool tied = false;
  Recompute recompute = Recompute::none;
  std::int64_t layers = 8, global_batch = 16, seq = 12, steps = 20;
  Overlaps overlaps{Overlap::between_nodes, Overlap::between_nodes};
  Overlap tensor = Overlap::between_nodes;
  std::int64_t held_out = 3;  ///< microbatches of a validation on each rank
  bool wide = false;

  std::int64_t ranks() const { return pp * tp * dp; }
  Job data() const {
    return {.dp = dp,
            .tp = tp,
            .accumulate = microbatches,
            .global_batch = global_batch,
            .seq = seq,
            .tied = tied,
            .wide = wide};
  }
  LlamaConfig model() const {
    auto config = data().model();
    config.num_hidden_layers = layers;
    return config;
  }
  /// The same samples on one rank, one after the other.
  PipelineJob whole() const {
    auto job = *this;
    job.microbatches *= dp;
    job.held_out *= dp;
    job.pp = job.tp = job.dp = 1;
    return job;
  }
};

/// Steps of training, and what is left of it on this rank.
template <class World, class Model, class Optimizer>
Outcome run_steps(World& world, Model const& model, Optimizer& optimizer, PipelineJob const& job) {
  Outcome outcome;
  auto const place = line<DP>(world.plan, world.rank()).place;
  for (std::int64_t step = 0; step < job.steps; ++step) {
    auto const batches = microbatches(job.data(), step, place, job.model().vocab_size);
    auto const report =
        train_step(world, model, optimizer, std::span<Microbatch const>(batches), 3e-3);
    outcome.losses.push_back(report.loss);
    outcome.norms.push_back(report.grad_norm);
  }
  auto const held_out = microbatches(job.data(), 1000, place, job.model().vocab_size);
  outcome.losses.push_back(evaluate(
      world, model,
      std::span<Microbatch const>(held_out).first(static_cast<std::size_t>(job.held_out))));
  outcome.norms.push_back(1);
  keep_parameters<typename World::weight>(model, outcome);
  return outcome;
}

/// The same model whole, on one rank.
template <class Region, class Strategy, class Backend, class C>
Outcome train_deep(C comm, PipelineJob const& job) {
  World<LlamaPlan, Backend, C> world(
      make_plan(job.model(), {1, 1, job.data().micro_batch(), job.seq, 0}), comm);
  Llama<Region, decltype(world)> const model(world, job.model(), job.recompute);
  initialize(model, 5);
  Optimizer<Strategy, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0});
  return run_steps(world, model, optimizer, job);
}

/// The rank's stages of the model.
template <class Region, class World> auto make_pipelined(World& world, PipelineJob const& job) {
  using Stage = Llama<Region, World>;
  std::optional<PipelinePlan> plan;
  with_schedule(job.kind, [&]<class K>(K) {
    plan = PipelinePlan::of<Pipeline<K>>(job.pp, job.microbatches, job.chunks);
  });
  auto const stride = job.tp * job.dp;
  Line const along{world.rank() % stride, stride, job.pp, world.rank() / stride};
  return Pipelined<Stage, World>(along, *plan, share_layers(job.layers, job.pp * job.chunks),
                                 [&](StageSpan const& span, Stage const* first) {
                                   return Stage(world, job.model(), span, job.recompute, first);
                                 });
}

template <class Region, class Strategy, class Backend, class C>
Outcome train_pipelined(C comm, PipelineJob const& job) {
  World<LlamaPlan, Backend, C> world(
      make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}), comm);
  auto const model = make_pipelined<Region>(world, job);
  initialize(model, 5);
  Optimizer<Strategy, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0});
  return run_steps(world, model, optimizer, job);
}

}  // namespace nxd::test
