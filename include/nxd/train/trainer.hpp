// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nxd/comm/recorder.hpp>
#include <nxd/core/trace.hpp>
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
  std::int64_t tokens_per_step = 0;  ///< over all ranks
};

/// What a run asks of its surroundings. All are called on every rank, with the same arguments.
struct Hooks {
  /// Before each step, if it is set.
  std::function<void(std::int64_t step)> begin;
  /// The microbatches of step s, this rank's samples.
  std::function<std::vector<Microbatch>(std::int64_t step)> batches;
  /// The microbatches that a validation looks at.
  std::function<std::vector<Microbatch>()> validation;
  /// The learning rate of step s.
  std::function<double(std::int64_t step)> rate;
  /// After each step.
  std::function<void(StepMetrics const&)> report;
  /// Between steps: after each step, before what comes next is saved.
  std::function<void()> boundary;
  /// After step s, when it is time.
  std::function<void(std::int64_t step, StepMetrics const&)> save;
};

/// Trains from `schedule.first` to `schedule.last`. @throws Error(non_finite) at a loss or a
/// gradient norm that is not finite, on all ranks alike, before anything is changed by it.
template <class World, class Model, class Optimizer>
void train(World& world, Model const& model, Optimizer& optimizer, RunSchedule const& schedule,
           Hooks const& hooks) {
  using Clock = std::chrono::steady_clock;
  using B = typename World::backend;
  for (auto step = schedule.first; step <= schedule.last; ++step) {
    if (hooks.begin) hooks.begin(step);
    Traced const span(world.trace, "step", [step] { return "step " + std::to_string(step); });
    if (world.whereabouts != nullptr) world.whereabouts->step(step);
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
    auto const report =
        train_step(world, model, optimizer, std::span<Microbatch const>(batches), metrics.lr);
    if constexpr (Recorded<typename World::communicator>)
      metrics.sent_bytes = world.comm.total().bytes - sent;
    if constexpr (Metered<B>) metrics.peak_bytes = B::meter().peak().total();
    std::chrono::duration<double> const seconds = Clock::now() - start;
    metrics.loss = report.loss;
    metrics.grad_norm = report.grad_norm;
    metrics.tokens = step * schedule.tokens_per_step;
    metrics.step_ms = seconds.count() * 1e3;
    metrics.tokens_per_s = static_cast<double>(schedule.tokens_per_step) / seconds.count();

    auto const due = [&](std::int64_t every) { return every > 0 && step % every == 0; };
    if (report.finite() && due(schedule.validate_every) && hooks.validation) {
      Traced const validation(world.trace, "validation", [] { return "validation"; });
      auto const held_out = hooks.validation();
      if (!held_out.empty())
        metrics.val_loss = evaluate(world, model, std::span<Microbatch const>(held_out));
    }
    hooks.report(metrics);
    if (!report.finite())
      throw Error(ExitCode::non_finite,
                  "step " + std::to_string(step) + ": the loss is " + std::to_string(report.loss) +
                      " and the gradient norm " + std::to_string(report.grad_norm) +
                      "; nothing was updated; lower model.optim.lr or set "
                      "trainer.gradient_clip_val");
    if (hooks.boundary) hooks.boundary();
    bool const end = step == schedule.last && schedule.save_at_end;
    if (hooks.save && (due(schedule.save_every) || end)) {
      Traced const save(world.trace, "save", [] { return "save"; });
      hooks.save(step, metrics);
    }
  }
}

}  // namespace nxd
