// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/verify.hpp>

namespace nxd {

/// An action of a rank, for the compiler to print: `At<2, nxd::Pass::backward, 3, 0>` is B of
/// microbatch 3 in chunk 0 on rank 2.
template <int Rank, Pass Kind, int Microbatch, int Chunk> struct At;

/// The compile-time face of a proof: the rule that is broken, and where. Assert it inside a
/// template and by its qualified name, as `accepted`.
template <Rule Broken, class Where>
inline constexpr bool runs_to_its_end = Broken == Rule::none_broken;

/// A schedule is of the size that it was made for.
constexpr Verdict check_size(Schedule const& s, std::int64_t ranks, std::int64_t microbatches,
                             std::int64_t chunks) {
  constexpr auto rule = Rule::schedule_must_have_the_size_asked_for;
  if (s.ranks() != ranks) return {rule, s.ranks(), ranks};
  if (s.microbatches != microbatches) return {rule, s.microbatches, microbatches};
  if (s.chunks != chunks) return {rule, s.chunks, chunks};
  return {};
}

/// K is for these numbers, and its schedule keeps every rule of `verify`: no fault. The compiler
/// takes about a quarter of a millisecond for an action.
template <ScheduleKind K>
constexpr Fault prove(std::int64_t ranks, std::int64_t microbatches, std::int64_t chunks,
                      Channel channel = Channel::posted) {
  if (auto const numbers = check_numbers<K>(ranks, microbatches, chunks); !numbers)
    return {numbers};
  auto const s =
      K::make(static_cast<int>(ranks), static_cast<int>(microbatches), static_cast<int>(chunks));
  if (auto const size = check_size(s, ranks, microbatches, chunks); !size) return {size};
  return find_fault(s, channel);
}

/// K runs to its end with these numbers.
template <ScheduleKind K, int Ranks, int Microbatches, int Chunks = 1>
inline constexpr bool proved = !prove<K>(Ranks, Microbatches, Chunks);

/// The compiler proves schedules of up to this many forward passes, over all ranks and chunks;
/// longer ones are proved when the program starts.
inline constexpr std::int64_t most_passes_to_prove = 1 << 11;

/// The compiler is to prove a schedule of these numbers.
constexpr bool is_proved_early(std::int64_t ranks, std::int64_t microbatches, std::int64_t chunks) {
  return ranks < 1 || microbatches < 1 || chunks < 1 ||
         ranks <= most_passes_to_prove / chunks / microbatches;
}

/// The schedule of K for numbers that types tell. Naming the type proves it: if K is not for these
/// numbers or its schedule does not run, that does not compile, and the compiler prints the rule,
/// the rank and the action.
template <ScheduleKind K, std::int64_t Ranks, std::int64_t Microbatches, std::int64_t Chunks>
struct StaticSchedule {
  static Schedule make() { return K::make(int{Ranks}, int{Microbatches}, int{Chunks}); }

  static constexpr auto numbers = check_numbers<K>(Ranks, Microbatches, Chunks);
  static constexpr auto fault = numbers && is_proved_early(Ranks, Microbatches, Chunks)
                                    ? prove<K>(Ranks, Microbatches, Chunks)
                                    : Fault{};
  static_assert(nxd::accepted<numbers.broken, numbers.lhs, numbers.rhs>,
                "Pipeline: this kind of schedule is not for these numbers");
  static_assert(
      nxd::runs_to_its_end<fault.verdict.broken, At<fault.rank(), fault.action.kind,
                                                    fault.action.microbatch, fault.action.chunk>>,
      "Pipeline: the schedule breaks a rule at this rank and action");
};

}  // namespace nxd
