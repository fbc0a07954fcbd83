// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <nxd/pipeline/report.hpp>
#include <nxd/plan/report.hpp>
#include <nxd/plan/step_plan.hpp>
#include <nxd/train/trace_text.hpp>

namespace nxd {

/// What each place along the pipeline will do in a step, as `nxd train --trace` writes it of a rank
/// that has done it. Places are numbered on from the ranks, so that both can be looked at together.
inline std::string plan_trace(StepPlan const& plan, TraceFacts const& facts) {
  std::vector<RankTrace> places;
  for (std::size_t i = 0; i < plan.places.size(); ++i) {
    auto const& place = plan.places[i];
    auto& trace = places.emplace_back();
    trace.rank = plan.ranks + static_cast<std::int64_t>(i);
    trace.name = "plan of rank " + detail::ranks_text(plan, i);
    for (std::size_t a = 0; a < place.seconds.size(); ++a) {
      auto const& action = plan.schedule.actions[i][a];
      auto const finish = plan.timeline.finish[i][a];
      trace.events.push_back(
          {name_of(action.kind), text(action), finish - place.seconds[a], finish});
    }
    auto const done = plan.timeline.makespan;
    trace.events.push_back({"optimizer", "optimizer", done, done + place.optimizer_seconds});
    trace.events.push_back({"step", "step", 0, plan.seconds});
  }
  return trace_text(places, facts);
}

}  // namespace nxd
