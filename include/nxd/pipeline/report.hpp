// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nxd/pipeline/verify.hpp>

namespace nxd {

/// An action as it is written everywhere: `F3.0`, the forward pass of microbatch 3 in chunk 0.
inline std::string text(Action const& a) {
  return letter(a.kind) + std::to_string(a.microbatch) + '.' + std::to_string(a.chunk);
}

namespace detail {

inline std::string rank_text(int rank) { return "rank " + std::to_string(rank); }

inline std::string why(Wait const& w) {
  bool const forward = w.at.kind == Pass::forward;
  if (w.on == w.rank)
    return std::string(forward ? "its input" : "its gradient") + " comes from its own " +
           text(w.of) + ", which is later";
  auto const to = rank_text(w.on);
  switch (w.need) {
    case Need::input: return (forward ? "its input comes from " : "its gradient comes from ") + to;
    case Need::receiver: return "its output is not taken by " + to;
    case Need::buffer: return "its earlier outputs are not yet asked for by " + to;
  }
  return {};
}

/// `rank 2 waits for ever at B3.0: its gradient comes from rank 3, which waits at ...`
inline std::string why(std::vector<Wait> const& waits) {
  auto said = rank_text(waits.front().rank) + " waits for ever at ";
  for (auto const& w : waits) {
    if (&w != waits.data()) said += ", which waits at ";
    said += text(w.at) + ": " + why(w);
  }
  if (waits.back().on != waits.back().rank) said += ", which is where this began";
  return said;
}

}  // namespace detail

/// One sentence: which rank is wrong at which action, and why.
inline std::string sentence(Proof const& proof) {
  auto const& [verdict, action] = proof.fault;
  auto const rank = detail::rank_text(proof.fault.rank()), what = text(action);
  auto const before = [&](Action const& other) {
    return rank + " does " + what + " before " + text(other);
  };
  switch (verdict.broken) {
    case Rule::none_broken: return "the schedule runs to its end";
    case Rule::schedule_must_not_deadlock: return detail::why(proof.waits);
    case Rule::actions_must_name_microbatches_and_chunks_of_the_schedule:
      return rank + " does " + what + ", which this schedule has no place for";
    case Rule::every_microbatch_must_visit_every_stage_once:
      return rank + (verdict.rhs < 0 ? " never does " + what : " does " + what + " twice");
    case Rule::microbatches_must_keep_their_order:
      return rank + " does " + what + " too early or too late: each pass of a chunk takes the " +
             "microbatches in their order";
    case Rule::gradients_must_follow_the_forward_pass:
      return before({action.kind == Pass::weight_gradient ? Pass::input_gradient : Pass::forward,
                     action.microbatch, action.chunk});
    default: return std::string(text(verdict.broken));
  }
}

}  // namespace nxd
