// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <nxd/config/commands/task.hpp>
#include <nxd/config/nearest.hpp>
#include <nxd/pipeline/forward_only.hpp>
#include <nxd/pipeline/grid.hpp>
#include <nxd/pipeline/kinds.hpp>
#include <nxd/train/config.hpp>
#include <nxd/train/terminal.hpp>

namespace nxd {

namespace detail {

struct ScheduleArguments {
  std::string kind, format = "text", times = "1,1,1";
  std::int64_t ranks = 0, microbatches = 0, chunks = 0;
  bool evaluation = false;
};

/// Limits of a picture: nobody looks at a larger one.
inline constexpr std::int64_t most_ranks = 1 << 9, most_chunks = 1 << 6;
inline constexpr std::int64_t most_microbatches = 1 << 16;
inline constexpr std::int64_t most_passes = 1 << 18, most_columns = 1 << 21;
inline constexpr double longest_pass = 1e9;

/// `1,2,0.5`: forward, input gradient, weight gradient. @throws ConfigError if it is not that
inline Times parse_times(std::string_view text) {
  Times times;
  auto const* at = text.data();
  auto const* const end = at + text.size();
  bool good = true;
  for (auto* part : {&times.forward, &times.input_gradient, &times.weight_gradient}) {
    if (part != &times.forward) good = good && at != end && *at++ == ',';
    auto const [rest, error] = std::from_chars(at, end, *part);
    good = good && error == std::errc{} && *part >= 0 && *part <= longest_pass;
    at = rest;
  }
  if (!good || at != end || times.forward == 0)
    throw ConfigError("--times is \"" + std::string(text) +
                      "\"; write three numbers, for forward passes, gradients of inputs and "
                      "gradients of weights, as 1,1,1");
  return times;
}

/// The schedule of K for these numbers, proved. @throws ConfigError if there is none, or a huge one
template <ScheduleKind K> Schedule make_asked(ScheduleArguments const& a) {
  auto chunks = std::max<std::int64_t>(a.chunks, 1);
  auto const with_one = check_numbers<K>(a.ranks, a.microbatches, 1);
  if (a.chunks == 0 && with_one.broken == Rule::schedule_must_suit_its_chunks) chunks = 2;
  auto const longest = std::max(a.ranks, a.microbatches);
  if (a.ranks * chunks > most_passes / longest)
    throw ConfigError("the schedule has " + std::to_string(a.ranks * chunks) + " stages and " +
                      std::to_string(longest) + " microbatches; a picture has at most " +
                      std::to_string(most_passes) + " forward passes");
  return make_proved<K>(a.ranks, a.microbatches, chunks);
}

/// The same for the kind that is asked for. @throws ConfigError if there is none of that name
inline Schedule make_asked(ScheduleArguments const& a) {
  auto const names = names_of(PipelineKind{});
  auto const meant = nearest_path(a.kind, {names.begin(), names.end()});
  if (!meant.empty() && meant != a.kind)
    throw ConfigError("'" + a.kind + "' is no kind of schedule; did you mean " + meant + "?");
  Schedule schedule;
  with_schedule(a.kind, [&]<class K>(K) {
    schedule = a.evaluation ? make_asked<ForwardOnly<K>>(a) : make_asked<K>(a);
  });
  return schedule;
}

/// The run as text, coloured on a terminal. @throws ConfigError if its rows would have no end
inline std::string schedule_text(Schedule const& s, Proof const& proof) {
  double shortest = proof.makespan;
  for (auto const& bar : bars(s, proof))
    if (bar.length() > 0) shortest = std::min(shortest, bar.length());
  if (proof.makespan / shortest * s.ranks() > static_cast<double>(most_columns))
    throw ConfigError(
        "--times has passes too short to be columns beside the others; "
        "bring them nearer together, or take --format svg");
  return grid_text(s, proof, is_terminal(1) ? Colours::ansi : Colours::none);
}

using DrawSchedule = std::string (*)(Schedule const&, Proof const&);
inline std::map<std::string, DrawSchedule> const schedule_formats{
    {"text", schedule_text}, {"json", grid_json}, {"svg", grid_svg}, {"trace", grid_trace}};

inline void print_schedule(ScheduleArguments const& a) {
  auto const times = parse_times(a.times);
  auto const schedule = make_asked(a);
  std::cout << schedule_formats.at(a.format)(schedule, verify(schedule, Channel::posted, times));
}

}  // namespace detail

/// `nxd schedule KIND --ranks P --microbatches M`
inline void add_schedule_command(CLI::App& app, Task& task) {
  auto const a = std::make_shared<detail::ScheduleArguments>();
  auto* const schedule = app.add_subcommand("schedule", "Draws what the ranks of a pipeline do");
  auto const up_to = [](std::int64_t most) { return CLI::Range(std::int64_t{1}, most); };
  schedule->add_option("KIND", a->kind, spellings<PipelineKind>())->required();
  schedule->add_option("--ranks", a->ranks, "Pipeline ranks")
      ->required()
      ->check(up_to(detail::most_ranks));
  schedule->add_option("--microbatches", a->microbatches, "Microbatches of a step")
      ->required()
      ->check(up_to(detail::most_microbatches));
  schedule
      ->add_option("--chunks", a->chunks, "Chunks of layers on each rank; if not given, the fewest")
      ->check(up_to(detail::most_chunks));
  schedule
      ->add_option("--times", a->times,
                   "F,I,W: how long forward passes and gradients of inputs and of weights take")
      ->capture_default_str();
  schedule->add_option("--format", a->format, "How it is drawn; trace is for Chrome and Perfetto")
      ->check(CLI::IsMember(detail::schedule_formats))
      ->capture_default_str();
  schedule->add_flag("--evaluation", a->evaluation, "Forward passes alone");
  on_command(*schedule, task, By::first_rank, [a] { detail::print_schedule(*a); });
}

}  // namespace nxd
