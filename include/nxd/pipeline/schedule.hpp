// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string_view>
#include <vector>

#include <nxd/core/verdict.hpp>
#include <nxd/pipeline/action.hpp>

namespace nxd {

/// Which stage of the model a chunk of a rank is. With one chunk on each rank both say: stage r is
/// on rank r.
enum class StageMap : std::uint8_t {
  round_robin,  ///< stage c p + r is chunk c of rank r: after the last rank comes the first
  v_shape,      ///< every other chunk runs back: with two, stage 2 p - 1 - r is chunk 1 of rank r
};

/// What a schedule is for: evaluation has forward passes alone.
enum class Purpose : std::uint8_t { training, evaluation };

/// A chunk of a rank.
struct Seat {
  int rank;
  int chunk;
  bool operator==(Seat const&) const = default;
};

/// What each pipeline rank does, in order, from the first microbatch to the last.
struct Schedule {
  int microbatches = 1;
  int chunks = 1;                              ///< on each rank
  std::vector<std::vector<Action>> actions{};  ///< actions[rank]
  StageMap map = StageMap::round_robin;
  Purpose purpose = Purpose::training;
  int send_buffers = 2;  ///< the messages that a stage may have under way in one direction

  constexpr int ranks() const { return static_cast<int>(actions.size()); }
  constexpr int stages() const { return ranks() * chunks; }

  /// The stage that is this chunk of this rank.
  constexpr int stage(int rank, int chunk) const {
    bool const back = map == StageMap::v_shape && chunk % 2 == 1;
    return chunk * ranks() + (back ? ranks() - 1 - rank : rank);
  }

  /// Where a stage runs.
  constexpr Seat seat(int stage) const {
    int const chunk = stage / ranks(), along = stage % ranks();
    bool const back = map == StageMap::v_shape && chunk % 2 == 1;
    return {back ? ranks() - 1 - along : along, chunk};
  }
};

/// Which message it is, by direction, receiving stage and microbatch: two ranks that exchange
/// several streams cannot confuse them. Below `tags(s)`.
constexpr int tag(Schedule const& s, Pass kind, int stage, int microbatch) {
  return (microbatch * s.stages() + stage) * 2 + (kind == Pass::forward ? 0 : 1);
}

/// How many tags a schedule uses.
constexpr std::int64_t tags(Schedule const& s) {
  return std::int64_t{2} * s.stages() * s.microbatches;
}

/// What a pipeline is named with: a struct that writes down the actions of every rank. It may also
/// have a `name`, and a `check(ranks, microbatches, chunks)` that says which numbers it is for.
template <class K>
concept ScheduleKind = requires(int n) {
  { K::make(n, n, n) } -> std::same_as<Schedule>;
};

/// The name that configurations know a kind by.
template <ScheduleKind K> constexpr std::string_view name_of() {
  if constexpr (requires { K::name; })
    return K::name;
  else
    return "this schedule";
}

/// Ranks, microbatches and chunks are numbers that a kind of schedule is for.
template <ScheduleKind K>
constexpr Verdict check_numbers(std::int64_t ranks, std::int64_t microbatches,
                                std::int64_t chunks) {
  for (auto const number : {ranks, microbatches, chunks})
    if (number < 1) return {Rule::pipeline_numbers_must_be_positive, number, 1};
  constexpr std::int64_t most = 1 << 29;
  if (ranks > most / chunks || ranks * chunks > most / microbatches)
    return {Rule::pipeline_messages_must_fit_their_tags, ranks * chunks, microbatches};
  if constexpr (requires(int n) { K::check(n, n, n); })
    return K::check(static_cast<int>(ranks), static_cast<int>(microbatches),
                    static_cast<int>(chunks));
  else
    return {};
}

namespace detail {

constexpr Verdict check_chunks(int chunks, int wanted) {
  if (chunks == wanted) return {};
  return {Rule::schedule_must_suit_its_chunks, chunks, wanted};
}

/// Puts a rank's forward and backward passes together: `warmup` forward passes, then pairs of one
/// forward and one backward pass, then the rest.
constexpr std::vector<Action> one_for_one(int warmup, std::vector<Action> const& forward,
                                          std::vector<Action> const& backward) {
  std::vector<Action> actions;
  actions.reserve(forward.size() + backward.size());
  for (std::size_t f = 0, b = 0; b < backward.size(); ++b) {
    while (f < forward.size() && f <= b + warmup) actions.push_back(forward[f++]);
    actions.push_back(backward[b]);
  }
  return actions;
}

/// One pass of every microbatch through a chunk.
constexpr std::vector<Action> each_microbatch(Pass kind, int microbatches) {
  std::vector<Action> actions;
  actions.reserve(microbatches);
  for (int k = 0; k < microbatches; ++k) actions.push_back({kind, k, 0});
  return actions;
}

}  // namespace detail

}  // namespace nxd
