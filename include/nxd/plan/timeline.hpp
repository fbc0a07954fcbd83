// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include <nxd/core/expects.hpp>
#include <nxd/pipeline/paper_run.hpp>

namespace nxd {

/// When the actions of a pipeline are done, each with a length of its own.
struct Timeline {
  ActionTimes finish;   ///< finish[rank][i], seconds from the start
  double makespan = 0;  ///< until the last rank is done
  double work = 0;      ///< of that, the time that ranks compute, on average

  /// The part of the makespan in which a rank waits.
  double bubble() const { return makespan > 0 ? 1 - work / makespan : 0; }
};

/// Runs a schedule, which is proved, whose actions take `seconds[rank][i]` and whose messages
/// `hop`, as the executor does: receives posted, send buffers bounded. `verify` is the same where
/// stages are alike.
inline Timeline run_on_paper(Schedule const& s, ActionTimes const& seconds, double hop) {
  detail::Timetable const table(s);
  NXD_EXPECTS(!table.fault());
  detail::PaperRun const run(s, table, Channel::posted, {.hop = hop}, &seconds);
  Timeline line;
  for (int rank = 0; rank < s.ranks(); ++rank) {
    auto& finish = line.finish.emplace_back();
    for (int n = table.first(rank); n < table.end(rank); ++n) finish.push_back(run.done(n));
    for (auto const t : seconds[static_cast<std::size_t>(rank)]) line.work += t / s.ranks();
    if (!finish.empty()) line.makespan = std::max(line.makespan, finish.back());
  }
  return line;
}

}  // namespace nxd
