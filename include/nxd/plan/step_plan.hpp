// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/plan/dry_run.hpp>

namespace nxd {

/// What a training step of all ranks will cost.
struct StepPlan {
  Schedule schedule;
  std::int64_t ranks = 1;
  std::int64_t tokens = 0;
  std::vector<RankPlan> places;  ///< the first rank of each place along the pipeline
  Timeline timeline;
  double seconds = 0;  ///< of a step
  double mfu = 0;      ///< model FLOPs over what the ranks could do in that time

  std::int64_t ranks_of_place() const { return ranks / std::ssize(places); }

  /// Bytes of the rank that needs most.
  std::int64_t memory() const {
    std::int64_t most = 0;
    for (auto const& place : places) most = std::max(most, place.cost.peak.total());
    return most;
  }
  /// Of all ranks, in one step. What is computed anew is not counted: three times the forward pass.
  double model_flops() const {
    double flops = 0;
    for (auto const& place : places)
      flops += 3 * static_cast<double>(place.forward_flops) * static_cast<double>(ranks_of_place());
    return flops;
  }
};

/// Works out the time of a step from what the dry runs have found. @param message bytes that a
/// stage hands on for each microbatch
inline void settle(StepPlan& plan, Machine const& machine, std::int64_t message) {
  std::vector<std::vector<double>> seconds;
  double last = 0, work = 0;
  for (auto const& place : plan.places) {
    seconds.push_back(place.seconds);
    last = std::max(last, place.optimizer_seconds);
    work += place.optimizer_seconds;
    for (auto const s : place.seconds) work += s;
  }
  auto const stride = plan.ranks_of_place();
  double const hop = machine.of(Call{Exchange::send, {0, stride, 2, 0}, 1, message});
  plan.timeline = run_on_paper(plan.schedule, seconds, hop);
  plan.seconds = plan.timeline.makespan + last;
  if (machine.cores > 0) {
    // Ranks that share cores take turns.
    auto const near = machine.ranks_per_node == 0 ? plan.ranks : machine.ranks_per_node;
    auto const busy = static_cast<double>(std::min(near, plan.ranks) * machine.threads);
    auto const average = work / static_cast<double>(plan.places.size());
    plan.seconds = std::max(plan.seconds, average * busy / static_cast<double>(machine.cores));
  }
  plan.mfu =
      plan.model_flops() / (plan.seconds * machine.peak_flops * static_cast<double>(plan.ranks));
}

}  // namespace nxd
