// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string_view>

namespace nxd {

/// How the learning rate goes over the steps. The spellings of `names_of` are those of a
/// configuration.
///
///   constant                 lr
///   WarmupPolicy             warm-up, then lr
///   CosineAnnealing          warm-up, half a cosine from lr to min_lr, then min_lr
///   WarmupAnnealing          warm-up, a line from lr to min_lr, then min_lr
///   SquareAnnealing          warm-up, lr times the square of what is left, not below min_lr
///   LinearAnnealingWithWarmUp  from 0 at step 0 to lr, then a line to 0; knows no min_lr
enum class LrShape : std::uint8_t {
  constant,
  warmup_policy,
  cosine_annealing,
  warmup_annealing,
  square_annealing,
  linear_annealing_with_warm_up,
};

/// The spellings of the shapes, in the order of the enumeration.
constexpr auto names_of(LrShape) {
  return std::to_array<std::string_view>({"constant", "WarmupPolicy", "CosineAnnealing",
                                          "WarmupAnnealing", "SquareAnnealing",
                                          "LinearAnnealingWithWarmUp"});
}

/// The spelling of one shape.
constexpr std::string_view text(LrShape shape) {
  return names_of(shape)[static_cast<std::size_t>(shape)];
}

/// The shape of that spelling, if there is one.
constexpr std::optional<LrShape> parse_lr_shape(std::string_view name) {
  auto const names = names_of(LrShape{});
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return static_cast<LrShape>(i);
  return std::nullopt;
}

/// A schedule: a pure function of the step, and so nothing to save in a checkpoint.
struct LrSchedule {
  LrShape shape = LrShape::constant;
  double lr = 1e-3;                 ///< the rate at the end of warm-up
  std::int64_t warmup_steps = 0;    ///< steps of warm-up
  std::int64_t max_steps = 0;       ///< the step at which the fall ends
  std::int64_t constant_steps = 0;  ///< steps at min_lr before max_steps (CosineAnnealing)
  double min_lr = 0;                ///< the floor

  bool operator==(LrSchedule const&) const = default;
};

namespace detail {

/// How far a fall over `length` steps has come at `step`, from 0 to 1.
inline double part_done(std::int64_t step, std::int64_t length) {
  if (length <= 0) return 1;
  return std::clamp(static_cast<double>(step) / static_cast<double>(length), 0.0, 1.0);
}

inline double linear_with_warm_up(LrSchedule const& s, std::int64_t step) {
  if (step < s.warmup_steps)
    return s.lr * static_cast<double>(step) / static_cast<double>(s.warmup_steps);
  return s.lr * (1 - part_done(step - s.warmup_steps,
                               std::max<std::int64_t>(1, s.max_steps - s.warmup_steps)));
}

}  // namespace detail

/// The learning rate of optimizer step `step`, the first being 0.
/// Warm-up is `lr (step + 1) / (warmup + 1)` up to and with step `warmup`; falls are measured over
/// `max_steps - warmup`, less `constant_steps`; past max_steps the rate is min_lr.
inline double learning_rate(LrSchedule const& s, std::int64_t step) {
  if (s.shape == LrShape::constant) return s.lr;
  if (s.shape == LrShape::linear_annealing_with_warm_up)
    return detail::linear_with_warm_up(s, step);

  if (s.warmup_steps > 0 && step <= s.warmup_steps)
    return s.lr * static_cast<double>(step + 1) / static_cast<double>(s.warmup_steps + 1);
  if (step > s.max_steps) return s.min_lr;

  auto const since = step - s.warmup_steps;
  auto const length = s.max_steps - s.warmup_steps;
  switch (s.shape) {
    case LrShape::cosine_annealing: {
      double const done = detail::part_done(since, length - s.constant_steps);
      return s.min_lr + (s.lr - s.min_lr) * 0.5 * (1 + std::cos(std::numbers::pi * done));
    }
    case LrShape::warmup_annealing:
      return s.min_lr + (s.lr - s.min_lr) * (1 - detail::part_done(since, length));
    case LrShape::square_annealing: {
      double const left = 1 - detail::part_done(since, length);
      return std::max(s.lr * left * left, s.min_lr);
    }
    default: return s.lr;
  }
}

}  // namespace nxd
