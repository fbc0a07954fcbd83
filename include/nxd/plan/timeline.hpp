// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include <nxd/core/expects.hpp>
#include <nxd/pipeline/timetable.hpp>

namespace nxd {

/// When the actions of a pipeline are done, each with a length of its own.
struct Timeline {
  std::vector<std::vector<double>> finish;  ///< finish[rank][i], seconds from the start
  double makespan = 0;                      ///< until the last rank is done
  double work = 0;                          ///< of that, the time that ranks compute, on average

  /// The part of the makespan in which a rank waits.
  double bubble() const { return makespan > 0 ? 1 - work / makespan : 0; }
};

/// Runs a schedule, which is proved, whose actions take `seconds[rank][i]` and whose messages `hop`.
/// `verify` does the same where all stages are alike.
inline Timeline run_on_paper(Schedule const& s, std::vector<std::vector<double>> const& seconds,
                             double hop) {
  auto const ranks = static_cast<std::size_t>(s.ranks());
  Timeline line;
  line.finish.resize(ranks);
  // When the output, and the gradient of the input, of each stage is there: [stage * microbatches + m].
  auto const places = static_cast<std::size_t>(s.stages() * s.microbatches);
  std::vector<double> output(places, -1), gradient(places, -1);
  auto const ready = [&](std::size_t rank, Action const& a) {
    auto const stage = s.stage(static_cast<int>(rank), a.chunk);
    auto const from = a.kind == Pass::forward                                   ? stage - 1
                      : makes_gradient(a.kind) && stage + 1 < s.stages() ? stage + 1
                                                                                : -1;
    if (from < 0) return 0.0;
    auto const there = (a.kind == Pass::forward ? output : gradient)[static_cast<std::size_t>(
        from * s.microbatches + a.microbatch)];
    auto const near = s.seat(from).rank == static_cast<int>(rank);
    return there < 0 ? -1.0 : there + (near ? 0 : hop);
  };
  std::size_t left = 0;
  for (auto const& actions : s.actions) left += actions.size();
  while (left > 0) {
    auto const before = left;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      auto& finish = line.finish[rank];
      auto const& actions = s.actions[rank];
      while (finish.size() < actions.size()) {
        auto const& a = actions[finish.size()];
        auto const start = ready(rank, a);
        if (start < 0) break;
        auto const begin = std::max(start, finish.empty() ? 0 : finish.back());
        auto const end = begin + seconds[rank][finish.size()];
        auto const place = static_cast<std::size_t>(
            s.stage(static_cast<int>(rank), a.chunk) * s.microbatches + a.microbatch);
        if (a.kind == Pass::forward) output[place] = end;
        if (makes_gradient(a.kind)) gradient[place] = end;
        line.work += seconds[rank][finish.size()] / static_cast<double>(ranks);
        line.makespan = std::max(line.makespan, end);
        finish.push_back(end);
        --left;
      }
    }
    NXD_EXPECTS(left < before);
  }
  return line;
}

}  // namespace nxd
