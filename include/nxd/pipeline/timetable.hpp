// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/schedule.hpp>

namespace nxd {

/// What is wrong with a schedule. Where it is wrong at an action, the verdict's numbers are the
/// rank and the position of the action among those of the rank, -1 if it is not there.
struct Fault {
  Verdict verdict{};
  Action action{};

  constexpr explicit operator bool() const { return !verdict; }
  constexpr int rank() const { return static_cast<int>(verdict.lhs); }
  bool operator==(Fault const&) const = default;
};

namespace detail {

/// Numbers the actions of all ranks, one rank after the other, and finds each pass of each
/// microbatch through each stage among them. A backward pass is both of its parts. The numbers
/// before a rank's first action are free: there stand two actions that were always done.
///
/// The compiler runs this: it is written for few steps an action.
class Timetable {
 public:
  enum Part : int { forward, input, weight };
  static constexpr int nowhere = -1;

  constexpr explicit Timetable(Schedule const& s) : s_(s) {
    if (s.ranks() < 1 || s.chunks < 1 || s.microbatches < 1 || s.send_buffers < 1) {
      fault_ = {{Rule::pipeline_numbers_must_be_positive, 0, 1}};
      return;
    }
    numbers_.assign(std::size_t(3) * s.stages() * s.microbatches, nowhere);
    int next = 0;
    for (auto const& actions : s.actions) {
      first_.push_back(next + 2);
      next += 2 + static_cast<int>(actions.size());
    }
    first_.push_back(next + 2);
    for (int rank = 0; rank < s.ranks() && !fault_; ++rank) enter(rank);
    for (int stage = 0; stage < s.stages() && !fault_; ++stage) check(stage);
  }

  /// Every microbatch passes every stage once, the passes of a stage are in order.
  constexpr Fault const& fault() const { return fault_; }

  /// The number of a rank's first action, and one more than that of its last.
  constexpr int first(int rank) const { return first_[rank]; }
  constexpr int end(int rank) const { return first_[rank + 1] - 2; }

  /// A pass of a microbatch through a stage, as a place in the table. One stage on it is one row
  /// on, one microbatch on one place.
  constexpr int slot(Part part, int stage, int microbatch) const {
    return (static_cast<int>(part) * s_.stages() + stage) * s_.microbatches + microbatch;
  }
  /// The number of the action that does it.
  constexpr int number(int slot) const { return numbers_.data()[slot]; }

 private:
  constexpr void enter(int rank) {
    int number = first_[rank];
    for (auto const& a : s_.actions[rank]) {
      int const i = number - first_[rank];
      bool const known = a.chunk >= 0 && a.chunk < s_.chunks && a.microbatch >= 0 &&
                         a.microbatch < s_.microbatches;
      if (!known || (s_.purpose == Purpose::evaluation && a.kind != Pass::forward)) {
        fault_ = {{Rule::actions_must_name_microbatches_and_chunks_of_the_schedule, rank, i}, a};
        return;
      }
      int const stage = s_.stage(rank, a.chunk);
      bool fresh = true;
      auto const set = [&](Part part) {
        int& entry = numbers_.data()[slot(part, stage, a.microbatch)];
        fresh = fresh && entry == nowhere;
        entry = number;
      };
      if (a.kind == Pass::forward) set(forward);
      if (makes_gradient(a.kind)) set(input);
      if (frees_activations(a.kind)) set(weight);
      if (!fresh) {
        fault_ = {{Rule::every_microbatch_must_visit_every_stage_once, rank, i}, a};
        return;
      }
      ++number;
    }
  }

  constexpr void check(int stage) {
    int const* const f = numbers_.data() + slot(forward, stage, 0);
    int const* const i = numbers_.data() + slot(input, stage, 0);
    int const* const w = numbers_.data() + slot(weight, stage, 0);
    bool const training = s_.purpose == Purpose::training;
    int last_f = nowhere, last_i = nowhere, last_w = nowhere;
    for (int k = 0; k < s_.microbatches; ++k) {
      bool const good =
          training ? f[k] > last_f && i[k] > f[k] && i[k] > last_i && w[k] >= i[k] && w[k] > last_w
                   : f[k] > last_f;
      if (!good) {
        fault_ = blame(stage, k, training);
        return;
      }
      last_f = f[k], last_i = i[k], last_w = w[k];
    }
  }

  /// What is wrong with a microbatch in a stage.
  constexpr Fault blame(int stage, int k, bool training) const {
    auto const seat = s_.seat(stage);
    int const f = number(slot(forward, stage, k)), i = number(slot(input, stage, k));
    int const w = number(slot(weight, stage, k));
    auto const gradient = i == w ? Pass::backward : Pass::input_gradient;
    auto const fault = [&](Rule rule, int number, Pass kind) {
      int const index = number == nowhere ? nowhere : number - first_[seat.rank];
      return Fault{{rule, seat.rank, index}, {kind, k, seat.chunk}};
    };
    constexpr auto once = Rule::every_microbatch_must_visit_every_stage_once;
    constexpr auto follow = Rule::gradients_must_follow_the_forward_pass;
    constexpr auto order = Rule::microbatches_must_keep_their_order;
    if (f == nowhere) return fault(once, f, Pass::forward);
    if (training && i == nowhere) return fault(once, i, gradient);
    if (training && w == nowhere) return fault(once, w, Pass::weight_gradient);
    if (training && i < f) return fault(follow, i, gradient);
    if (training && w < i) return fault(follow, w, Pass::weight_gradient);
    if (f < number(slot(forward, stage, k - 1))) return fault(order, f, Pass::forward);
    if (i < number(slot(input, stage, k - 1))) return fault(order, i, gradient);
    return fault(order, w, i == w ? gradient : Pass::weight_gradient);
  }

  Schedule const& s_;
  std::vector<int> first_{};
  std::vector<int> numbers_{};
  Fault fault_{};
};

}  // namespace detail

}  // namespace nxd
