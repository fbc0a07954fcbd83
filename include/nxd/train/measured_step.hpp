// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/core/error.hpp>
#include <nxd/train/trace_text.hpp>

namespace nxd {

/// What takes the time of a step; named as the events of a trace are.
enum class Activity : std::uint8_t {
  forward,
  backward,
  input_gradient,
  weight_gradient,
  optimizer,
  exchange,  ///< within the others, but for messages under way; measured, until the last peer has
             ///< come
  wait,      ///< for messages under way
  step,      ///< all of it, but for validations and saves
};

/// Spellings: the first of the categories of a trace.
constexpr auto names_of(Activity) {
  std::array<std::string_view, 8> names{};
  std::copy_n(trace_categories.begin(), names.size(), names.begin());
  return names;
}

inline constexpr auto activities = names_of(Activity{}).size();

/// The seconds that one step of one rank took for each activity, and how often it did it.
struct MeasuredStep {
  std::string name;
  std::vector<std::string> actions;
  std::array<double, activities> seconds{};
  std::array<std::int64_t, activities> times{};
};

/// The activity is one of a pipeline.
constexpr bool is_action(std::size_t activity) {
  return activity <= static_cast<std::size_t>(Activity::weight_gradient);
}

/// The steps of a trace. What belongs to a validation or a save is left out, and what an action
/// waits for a message is not part of it. `file` stands for the trace in sentences.
/// @throws CorruptInput if something happens outside the steps
inline std::vector<MeasuredStep> measured_steps(RankTrace const& trace, std::string const& file) {
  constexpr auto names = names_of(Activity{});
  constexpr auto step_at = static_cast<std::size_t>(Activity::step);
  auto const activity_of = [&](Trace::Event const& e) {
    return static_cast<std::size_t>(std::ranges::find(names, e.category) - names.begin());
  };
  std::vector<MeasuredStep> steps;
  walk(trace.events, [&](Trace::Event const& e, auto around) {
    auto const activity = activity_of(e);
    auto const length = e.finish - e.start;
    if (around.empty() != (activity == step_at))
      throw CorruptInput(file + ": " + e.name + " is " +
                         (around.empty() ? "in no step" : "a step within another event"));
    if (activity == step_at) steps.push_back({e.name, {}, {}, {}});
    auto& step = steps.back();
    for (auto const* outer : around)
      if (outer->category == "validation" || outer->category == "save") return;
    if (e.category == "validation" || e.category == "save") step.seconds[step_at] -= length;
    if (activity == activities) return;
    step.seconds[activity] += length;
    ++step.times[activity];
    if (is_action(activity)) step.actions.push_back(e.name);
    if (e.category != "wait") return;
    // What waits for another rank is not at work.
    for (auto const* outer : around)
      if (auto const of = activity_of(*outer); is_action(of)) step.seconds[of] -= length;
  });
  return steps;
}

}  // namespace nxd
