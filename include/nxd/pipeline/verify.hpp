// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/paper_run.hpp>

namespace nxd {

/// What running a schedule on paper amounts to. Converts to true if the schedule runs to its end.
struct Proof {
  Fault fault{};
  std::vector<Wait> waits{};  ///< from the first stuck rank on, each on the next; the last waits
                              ///< on one of them
  std::vector<int> live{};    ///< per rank: the chunks that it keeps activations of, at most
  std::vector<std::vector<double>> finish{};  ///< finish[rank][i]: when action i is done
  double makespan = 0;                        ///< until the last rank is done
  double work = 0;                            ///< of that, the time that a rank computes
  Times times{};

  constexpr explicit operator bool() const { return !fault; }
  /// The part of the makespan in which a rank does not compute.
  constexpr double bubble() const { return makespan > 0 ? (makespan - work) / makespan : 0; }
};

namespace detail {

/// The most chunks that a rank keeps activations of at once.
constexpr int peak_live(std::vector<Action> const& actions) {
  int live = 0, peak = 0;
  for (auto const& a : actions) {
    if (a.kind == Pass::forward) peak = std::max(peak, ++live);
    if (frees_activations(a.kind)) --live;
  }
  return peak;
}

/// Follows the waits from a stuck rank until one of them comes again.
constexpr std::vector<Wait> chain(PaperRun const& run, int rank) {
  std::vector<Wait> waits;
  auto const known = [&](int r) {
    return std::ranges::any_of(waits, [&](Wait const& w) { return w.rank == r; });
  };
  for (; !known(rank); rank = waits.back().on) waits.push_back(run.why(rank));
  return waits;
}

/// The first rank that does not get to its end.
constexpr Fault stuck(Schedule const& s, Timetable const& table, PaperRun const& run) {
  for (int rank = 0; rank < s.ranks(); ++rank) {
    int const at = run.stuck_at(rank), index = at - table.first(rank);
    if (at != table.end(rank))
      return {{Rule::schedule_must_not_deadlock, rank, index}, s.actions[rank][index]};
  }
  return {};
}

}  // namespace detail

/// What is wrong with a schedule, in this order: an action that is twice or missing, or not one of
/// the schedule; microbatches or passes of a stage out of order; a rank that waits for ever.
constexpr Fault find_fault(Schedule const& s, Channel channel = Channel::posted) {
  detail::Timetable const table(s);
  if (table.fault()) return table.fault();
  return detail::stuck(s, table, detail::PaperRun(s, table, channel, {}));
}

/// Runs a schedule on paper under a model of the channels: what is wrong with it, as `find_fault`,
/// or else what it costs. Evaluation keeps no activations: its `live` is 1.
constexpr Proof verify(Schedule const& s, Channel channel = Channel::posted, Times times = {}) {
  Proof proof;
  detail::Timetable const table(s);
  proof.fault = table.fault();
  if (proof.fault) return proof;

  detail::PaperRun const run(s, table, channel, times);
  proof.fault = detail::stuck(s, table, run);
  if (proof.fault) proof.waits = detail::chain(run, proof.fault.rank());
  bool const training = s.purpose == Purpose::training;
  for (int rank = 0; rank < s.ranks(); ++rank) {
    proof.live.push_back(training ? detail::peak_live(s.actions[rank]) : 1);
    auto& finish = proof.finish.emplace_back();
    for (int n = table.first(rank); n < run.stuck_at(rank); ++n) finish.push_back(run.done(n));
    if (proof) proof.makespan = std::max(proof.makespan, finish.back());
  }
  proof.times = times;
  proof.work = s.microbatches * (training ? times.all() : times.forward);
  return proof;
}

}  // namespace nxd
