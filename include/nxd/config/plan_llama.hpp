// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/checkpoint/snapshot.hpp>
#include <nxd/config/check_llama.hpp>
#include <nxd/config/llama_parts.hpp>
#include <nxd/plan/step_plan.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/tensor_overlap.hpp>

namespace nxd {

namespace detail {

/// The seconds of the actions of the place before, in the order of this one.
inline std::vector<double> reordered(Schedule const& s, std::vector<double> const& before,
                                     std::int64_t place) {
  std::map<std::pair<Pass, int>, double> of;
  auto const& actions = s.actions[static_cast<std::size_t>(place - 1)];
  for (std::size_t i = 0; i < actions.size(); ++i)
    of[{actions[i].kind, actions[i].chunk}] = before[i];
  std::vector<double> seconds;
  for (auto const& a : s.actions[static_cast<std::size_t>(place)])
    seconds.push_back(of[{a.kind, a.chunk}]);
  return seconds;
}

}  // namespace detail

/// `plan_rank` of a run whose numbers are those of Backend.
template <class Backend>
RankPlan plan_rank_of(TrainingConfig const& config, LlamaConfig const& model, std::int64_t ranks,
                      std::int64_t rank, Machine const& machine) {
  DryWorld<LlamaPlan, Backend> world(make_plan(model, llama_layout(config, ranks)),
                                     dry_rank(rank, ranks, machine));
  TensorOverlap const beside(world, overlap(config.distributed_strategy.tp_comm_overlap));
  return with_region(config.distributed_strategy, [&]<class Region>() {
    auto const llama = make_llama<Region>(world, config, model);
    auto optimizer = make_optimizer(world, config, llama);
    std::optional<Snapshot<typename decltype(world)::backend>> snapshot;
    if (saves_in_background(config))
      snapshot.emplace(total_bytes(training_pieces(llama, optimizer, saved_by_each(config))));
    return dry_run(world, llama, optimizer, machine.kernels);
  });
}

/// What a step of the run that a configuration describes will cost one of its ranks. Nothing is
/// trained, no rank is started, no data is read. @throws ConfigError, PlanError if there is no such
/// run
inline RankPlan plan_rank(TrainingConfig const& config, LlamaConfig const& model,
                          std::int64_t ranks, std::int64_t rank, Machine const& machine) {
  check_countable(config, model, ranks);
  return with_backend(config.precision, [&]<class Backend>() {
    return plan_rank_of<Backend>(config, model, ranks, rank, machine);
  });
}

/// Which places along the pipeline a plan looks at: all, or the first, one between, and the last.
enum class Places : bool { all, typical };

/// What a step of it will cost, and how long it will take: a dry run for each place along the
/// pipeline, the first rank of each; the others of its stages cost what that one does.
/// @throws ConfigError, PlanError if there is no such run
inline StepPlan plan_step(TrainingConfig const& config, LlamaConfig const& model,
                          std::int64_t ranks, Machine const& machine, Places which = Places::all) {
  auto const m = microbatches(config, ranks);
  auto const places = config.distributed_strategy.pipeline_model_parallel_size;
  StepPlan plan;
  plan.schedule = pipeline_plan(config, m).training;
  plan.ranks = ranks;
  plan.tokens = config.data.global_batch_size * sequence_length(config);
  for (std::int64_t place = 0; place < places; ++place) {
    if (which == Places::typical && place > 1 && place + 1 < places) {
      plan.places.push_back(plan.places.back());
      plan.places.back().seconds =
          detail::reordered(plan.schedule, plan.places.back().seconds, place);
    } else {
      plan.places.push_back(plan_rank(config, model, ranks, place * (ranks / places), machine));
    }
  }
  // What a stage hands on: its residual stream, of one microbatch.
  auto const& d = config.distributed_strategy;
  auto const split = d.sequence_parallel ? d.tensor_model_parallel_size : 1;
  auto const residual =
      config.data.micro_batch_size * sequence_length(config) * model.hidden_size *
      with_backend(config.precision,
                   []<class Backend>() {
                     return static_cast<std::int64_t>(sizeof(typename Numbers<Backend>::residual));
                   }) /
      split;
  settle(plan, machine, residual);
  return plan;
}

}  // namespace nxd
