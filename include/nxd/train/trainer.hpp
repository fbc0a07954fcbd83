// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/comm/recorder.hpp>
#include <nxd/core/trace.hpp>
#include <nxd/core/whereabouts.hpp>
#include <nxd/train/metrics.hpp>
#include <nxd/train/step.hpp>

namespace nxd {

/// How long a run is, and what happens on the way. Steps count from 1: step s is done when s
/// updates have been taken.
struct RunSchedule {
  std::int64_t first = 1;           ///< the step that comes next
  std::int64_t last = 0;            ///< of the run
  std::int64_t validate_every = 0;  ///< steps; 0: never
  std::int64_t save_every = 0;      ///< steps; 0: only at the end
  bool save_at_end = true;
  bool save_when_asked = true;       ///< where the run ends before its time
  std::int64_t tokens_per_step = 0;  ///< over all ranks
};

/// What a run asks of its surroundings. All are called on every rank, with the same arguments, and
/// answer alike.
struct Hooks {
  /// Before each step, if it is set.
  std::function<void(std::int64_t step)> begin;
  /// The microbatches of step s, this rank's samples.
  std::function<std::vector<Microbatch>(std::int64_t step)> batches;
  /// The microbatches that a validation looks at.
  std::function<std::vector<Microbatch>()> validation;
  /// The learning rate of step s.
  std::function<double(std::int64_t step)> rate;
  /// Whether the update of a step is taken, if it is set; else it is if loss and norm are finite,
  /// or the run ends.
  std::function<bool(std::int64_t step, StepReport const&)> takes;
  /// After each step.
  std::function<void(StepMetrics const&)> report;
  /// Between steps: after each step, before what comes next is saved.
  std::function<void()> boundary;
  /// After step s, when it is time.
  std::function<void(std::int64_t step, StepMetrics const&)> save;
  /// Before each batch of a validation, and before each save, if it is set.
  std::function<void(std::string_view what)> enter;
  /// After each step and each `enter` of a validation, if it is set: whether the run is to save and
  /// end before its time.
  std::function<bool()> ends;
};

namespace detail {

inline void tell_enter(Hooks const& hooks, Whereabouts* whereabouts, std::string_view what) {
  if (whereabouts != nullptr) whereabouts->at(what);
  if (hooks.enter) hooks.enter(what);
}

/// @throws Error(non_finite) unless the loss and the norm are finite
inline bool takes_finite(std::int64_t step, StepReport const& report) {
  if (report.finite()) return true;
  throw Error(ExitCode::non_finite, "step " + std::to_string(step) + ": the loss is " +
                                        std::to_string(report.loss) + " and the gradient norm " +
                                        std::to_string(report.grad_norm) +
                                        "; nothing was updated; lower model.optim.lr or set "
                                        "trainer.gradient_clip_val");
}

}  // namespace detail

/// The mean loss over microbatches that are not trained on, `at_once` of them at a time. @return
/// nothing if the run is to end before all have been looked at
template <class World, class Model>
std::optional<double> validate(World& world, Model const& model, std::span<Microbatch const> all,
                               std::size_t at_once, Hooks const& hooks) {
  double loss = 0, tokens = 0;
  while (!all.empty()) {
    detail::tell_enter(hooks, world.whereabouts, "the validation");
    if (hooks.ends && hooks.ends()) return {};
    auto const some = all.first(std::min(at_once, all.size()));
    auto const n =
        detail::sum_over_data(world, static_cast<double>(detail::count_tokens<Model>(some)));
    loss += n * evaluate(world, model, some);
    tokens += n;
    all = all.subspan(some.size());
  }
  return loss / std::max(tokens, 1.0);
}

/// Trains from `schedule.first` to `schedule.last`. @throws Error(non_finite) at a loss or a
/// gradient norm that is not finite, on all ranks alike, before anything is changed by it, unless
/// `hooks.takes` decides otherwise; Error(requeue), on all ranks alike, where the run ends before
/// its time, with a save if it saves at all.
template <class World, class Model, class Optimizer>
void train(World& world, Model const& model, Optimizer& optimizer, RunSchedule const& schedule,
           Hooks const& hooks) {
  using Clock = std::chrono::steady_clock;
  using B = typename World::backend;
  for (auto step = schedule.first; step <= schedule.last; ++step) {
    if (world.whereabouts != nullptr) world.whereabouts->step(step);
    if (hooks.begin) hooks.begin(step);
    Traced const span(world.trace, "step", [step] { return "step " + std::to_string(step); });
    auto const start = Clock::now();
    auto const batches = [&] {
      Traced const data(world.trace, "data", [] { return "data"; });
      return hooks.batches(step);
    }();
    StepMetrics metrics;
    metrics.step = step;
    metrics.lr = hooks.rate(step);
    std::int64_t sent = 0;
    if constexpr (Recorded<typename World::communicator>) sent = world.comm.total().bytes;
    if constexpr (Metered<B>) B::meter().reset_peak();
    auto const measure = [&](StepReport const& report) {
      std::chrono::duration<double> const seconds = Clock::now() - start;
      metrics.loss = report.loss;
      metrics.grad_norm = report.grad_norm;
      metrics.tokens = step * schedule.tokens_per_step;
      metrics.step_ms = seconds.count() * 1e3;
      metrics.tokens_per_s = static_cast<double>(schedule.tokens_per_step) / seconds.count();
    };
    auto const takes = [&](StepReport const& report) {
      try {
        return hooks.takes ? hooks.takes(step, report) : detail::takes_finite(step, report);
      } catch (Error const& e) {
        measure(report);
        if (e.code == ExitCode::non_finite) hooks.report(metrics);
        throw;
      }
    };
    auto const report = train_step(world, model, optimizer, std::span<Microbatch const>(batches),
                                   metrics.lr, takes);
    if constexpr (Recorded<typename World::communicator>)
      metrics.sent_bytes = world.comm.total().bytes - sent;
    if constexpr (Metered<B>) metrics.peak_bytes = B::meter().peak().total();
    measure(report);

    auto const due = [&](std::int64_t every) { return every > 0 && step % every == 0; };
    bool ends = hooks.ends && hooks.ends();
    if (!ends && due(schedule.validate_every) && hooks.validation) {
      Traced const validation(world.trace, "validation", [] { return "validation"; });
      auto const held_out = hooks.validation();
      if (!held_out.empty()) {
        metrics.val_loss = validate(world, model, std::span<Microbatch const>(held_out),
                                    std::max<std::size_t>(batches.size(), 1), hooks);
        ends = !metrics.val_loss;
      }
    }
    hooks.report(metrics);
    if (hooks.boundary) hooks.boundary();
    bool const last = step == schedule.last;
    bool const early = ends && !last;
    if (hooks.save && (due(schedule.save_every) || (last && schedule.save_at_end) ||
                       (early && schedule.save_when_asked))) {
      Traced const save(world.trace, "save", [] { return "save"; });
      detail::tell_enter(hooks, world.whereabouts, "the save");
      hooks.save(step, metrics);
    }
    if (last || early) optimizer.finish();
    if (early)
      throw Error(ExitCode::requeue, "asked to end, after step " + std::to_string(step) + " of " +
                                         std::to_string(schedule.last) +
                                         "; start the run again to go on");
  }
}

}  // namespace nxd
