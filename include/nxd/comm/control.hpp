// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nxd/comm/absence.hpp>
#include <nxd/comm/attendance.hpp>
#include <nxd/comm/communicator.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

/// What a rank tells all others once a step, before anything is updated.
struct ControlWord {
  std::uint64_t balance = 0;  ///< `Attendance::balance`
  std::int64_t step = 0;
  double busy = 0;  ///< seconds of the step that the rank did not wait
  double loss = 0;
  std::int32_t error = 0;  ///< an exit code that it would end with
  std::int32_t save = 0;   ///< how far its save under way is
  std::int32_t signal = 0;
  bool non_finite = false;
  bool spike = false;
  std::array<std::byte, 18> room{};
};
static_assert(sizeof(ControlWord) == 64);

/// Once a step all ranks tell each other a control word, apart from all other exchanges: it is not
/// counted as their traffic, and meets no other even where ranks have lost each other. Cost: an
/// all-gather of 64 bytes.
template <Communicator C> class Control {
 public:
  /// All ranks make one together. @param comm without a record @param attendance outlives it
  Control(C& comm, Attendance& attendance)
      : comm_(apart(comm)),
        attendance_(attendance),
        everyone_{0, 1, comm.size(), comm.rank()},
        words_(static_cast<std::size_t>(comm.size())) {}

  /// What all ranks say, in the order of their numbers. @throws Error(desync), on all ranks alike,
  /// if they are not at the same step, or have not come to the same exchanges: it names ranks, and
  /// the first exchange at which they part, if that is remembered.
  std::span<ControlWord const> exchange(ControlWord mine) {
    mine.balance = attendance_.balance();
    {
      auto const stay = attendance_.enter(
          {Exchange::all_gather, element_code<ControlWord>(), everyone_, sizeof mine, -1});
      comm_.all_gather(everyone_, std::as_bytes(std::span(&mine, 1)),
                       std::as_writable_bytes(std::span(words_)));
    }
    std::uint64_t sum = 0;
    for (auto const& word : words_) sum += word.balance;
    for (std::size_t r = 1; r < words_.size(); ++r)
      if (words_[r].step != words_[0].step)
        throw Error(ExitCode::desync, "rank " + std::to_string(r) + " is at step " +
                                          std::to_string(words_[r].step) + ", rank 0 at step " +
                                          std::to_string(words_[0].step));
    if (sum != 0) tell_difference();
    return words_;
  }

  /// From now on every exchange of a line is agreed on by its ranks before it begins. Cost: one
  /// more exchange each, twice the time of small ones.
  void check_each() {
    attendance_.before_each = [this](Attended const& mine) {
      if (is_message(mine.what().exchange)) return;
      std::vector<Attended> all(static_cast<std::size_t>(mine.count));
      comm_.all_gather(mine.line(), std::as_bytes(std::span(&mine, 1)),
                       std::as_writable_bytes(std::span(all)));
      std::vector<Presence> ranks;
      for (auto const& a : all) {
        Presence p;
        p.rank = mine.line().rank(a.place);
        p.past = {a};
        p.past.back().nth = 1;
        ranks.push_back(std::move(p));
      }
      if (auto const found = find_difference(ranks)) throw Error(ExitCode::desync, found->sentence);
    };
  }

  /// For agreements that are rare, apart from the traffic of the model.
  C& comm() { return comm_; }

 private:
  static C apart(C& comm) {
    if constexpr (requires { comm.apart(); })
      return comm.apart();
    else
      return comm;
  }

  [[noreturn]] void tell_difference() {
    std::vector<Attended> mine(static_cast<std::size_t>(Sheet::kept));
    auto const past = attendance_.past();
    std::ranges::copy(past, mine.begin());  // what is missing has no number
    std::vector<Attended> all(mine.size() * words_.size());
    comm_.all_gather(everyone_, std::as_bytes(std::span(mine)),
                     std::as_writable_bytes(std::span(all)));
    std::vector<Presence> ranks;
    for (std::size_t r = 0; r < words_.size(); ++r) {
      Presence p;
      p.rank = static_cast<std::int64_t>(r);
      auto const first = all.begin() + static_cast<std::ptrdiff_t>(r * mine.size());
      p.past.assign(first, first + std::ssize(mine));
      ranks.push_back(std::move(p));
    }
    auto const found = find_difference(ranks);
    throw Error(ExitCode::desync,
                found
                    ? found->sentence + "; nothing was updated"
                    : "ranks have not come to the same exchanges, or a message has no receiver; "
                      "where they parted is further back than is remembered; nothing was updated");
  }

  C comm_;
  Attendance& attendance_;
  Line everyone_;
  std::vector<ControlWord> words_;
};

}  // namespace nxd
