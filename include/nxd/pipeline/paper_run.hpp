// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>

#include <nxd/pipeline/channels.hpp>
#include <nxd/pipeline/timetable.hpp>

namespace nxd {

/// Why a rank cannot go on.
enum class Need : std::uint8_t {
  input,     ///< the action works on what another makes
  receiver,  ///< what the action made is not taken yet
  buffer,    ///< the messages before it fill the send buffers
};

/// A rank that waits for ever at an action, for rank `on` to do, or to come near, another one.
struct Wait {
  int rank;
  Action at;
  Need need;
  int on;
  Action of;
};

/// How long each action takes: seconds[rank][i].
using ActionTimes = std::vector<std::vector<double>>;

namespace detail {

/// A run of a schedule on paper: each rank does its next action as soon as it can.
///
/// The compiler runs this: it is written for few steps an action.
class PaperRun {
 public:
  /// @param each lengths of the actions, one by one, if not those of `times`; outlives the run
  constexpr PaperRun(Schedule const& s, Timetable const& table, Channel channel, Times times,
                     ActionTimes const* each = nullptr)
      : s_(s), table_(table), channel_(channel), hop_(times.hop), each_(each) {
    for (int kind = 0; kind < 4; ++kind) cost_[kind] = times.of(static_cast<Pass>(kind)) / s.chunks;
    done_.assign(table.first(s.ranks()), never);
    for (int rank = 0; rank < s.ranks(); ++rank) {
      next_.push_back(table.first(rank));
      done_[next_[rank] - 1] = done_[next_[rank] - 2] = 0;
    }
    if (channel == Channel::rendezvous) free_ = done_;
    for (bool moving = true; moving;) {
      moving = false;
      for (int rank = 0; rank < s.ranks(); ++rank) moving |= advance(rank);
    }
  }

  /// The number of the action that a rank is stuck before, or after where its receiver is missing;
  /// the end of its actions if it is done.
  constexpr int stuck_at(int rank) const { return next_[rank]; }

  /// When the action with this number is done.
  constexpr double done(int number) const { return done_[number]; }

  constexpr Wait why(int rank) const {
    auto const step = step_of(rank);
    auto const& a = *step.action;
    auto const wait = [&](Need need, int stage, int microbatch) {
      return Wait{rank, a, need, s_.seat(stage).rank, pass_of(stage, step.part, microbatch)};
    };
    int const stage = s_.stage(rank, a.chunk), on = a.kind == Pass::forward ? 1 : -1;
    if (done_[next_[rank]] != never) return wait(Need::receiver, stage + on, a.microbatch);
    if (arrival(rank, step) == never) return wait(Need::input, stage - on, a.microbatch);
    return wait(Need::buffer, stage + on, a.microbatch - s_.send_buffers);
  }

 private:
  static constexpr double never = std::numeric_limits<double>::infinity();
  static constexpr int nowhere = Timetable::nowhere;

  /// The next action of a rank, where it is in the table, and who is before and after it.
  struct Step {
    Action const* action;
    Timetable::Part part;
    int slot;    ///< of the pass
    int source;  ///< the number of the action that makes what it works on, or nowhere
    int row;     ///< from its slot to the one of the action that takes what it makes, or 0
  };

  constexpr Step step_of(int rank) const {
    auto const* a = s_.actions.data()[rank].data() + (next_[rank] - table_.first(rank));
    if (a->kind == Pass::weight_gradient) return {a, Timetable::weight, 0, nowhere, 0};
    bool const forward = a->kind == Pass::forward;
    auto const part = forward ? Timetable::forward : Timetable::input;
    int const stage = s_.stage(rank, a->chunk), slot = table_.slot(part, stage, a->microbatch);
    int const row = forward ? s_.microbatches : -s_.microbatches;
    int const last = s_.stages() - 1;
    bool const starts = stage == (forward ? 0 : last), ends = stage == (forward ? last : 0);
    return {a, part, slot, starts ? nowhere : table_.number(slot - row), ends ? 0 : row};
  }

  constexpr bool is_of(int rank, int number) const {
    return number >= table_.first(rank) && number < table_.end(rank);
  }

  /// When what the next action of a rank works on is there.
  constexpr double arrival(int rank, Step const& step) const {
    if (step.source == nowhere) return 0;
    double const made = done_.data()[step.source];
    if (made == never || is_of(rank, step.source)) return made;
    return std::max(made, asked(next_[rank])) + hop_;
  }

  /// When the receive for an action is posted: at once if the channels buffer.
  constexpr double asked(int number) const {
    if (channel_ == Channel::posted) return done_.data()[number - 2];
    return channel_ == Channel::rendezvous ? free_[number - 1] : 0;
  }

  /// When there is room for what the next action of a rank makes.
  constexpr double room(int rank, Step const& step) const {
    if (channel_ != Channel::posted || step.row == 0) return 0;
    if (step.action->microbatch < s_.send_buffers) return 0;
    int const before = step.slot - s_.send_buffers, taker = table_.number(before + step.row);
    if (is_of(rank, taker)) return 0;
    return std::max(done_[table_.number(before)], asked(taker)) + hop_;
  }

  /// When what a rank has just made is taken by its receiver.
  constexpr double taken(int rank, Step const& step) const {
    double const made = done_[next_[rank]];
    if (step.row == 0) return made;
    int const taker = table_.number(step.slot + step.row);
    return is_of(rank, taker) ? made : std::max(made, asked(taker)) + hop_;
  }

  constexpr double length(int rank, int number, Action const& a) const {
    return each_ == nullptr ? cost_[static_cast<int>(a.kind)]
                            : (*each_)[rank][number - table_.first(rank)];
  }

  /// Does what a rank can do now. Returns whether it did anything.
  constexpr bool advance(int rank) {
    int const first = next_[rank], end = table_.end(rank);
    bool computed = false;
    for (int& next = next_[rank]; next < end; ++next) {
      auto const step = step_of(rank);
      double& done = done_.data()[next];
      if (done == never) {
        double const start = std::max(arrival(rank, step), room(rank, step));
        if (start == never) break;
        double const before = free_.empty() ? done_.data()[next - 1] : free_[next - 1];
        done = std::max(start, before) + length(rank, next, *step.action);
        computed = true;
      }
      if (channel_ != Channel::rendezvous) continue;
      free_[next] = taken(rank, step);
      if (free_[next] == never) break;
    }
    return computed || next_[rank] != first;
  }

  /// What a stage does with a microbatch in a part of its work.
  constexpr Action pass_of(int stage, Timetable::Part part, int microbatch) const {
    auto const seat = s_.seat(stage);
    int const number = table_.number(table_.slot(part, stage, microbatch));
    return s_.actions[seat.rank][number - table_.first(seat.rank)];
  }

  Schedule const& s_;
  Timetable const& table_;
  Channel channel_;
  double hop_;
  ActionTimes const* each_;
  double cost_[4]{};
  std::vector<int> next_{};     ///< per rank: the number of its next action
  std::vector<double> done_{};  ///< by number: when the action was done
  std::vector<double> free_{};  ///< under rendezvous, by number: when what it made was taken
};

}  // namespace detail

}  // namespace nxd
