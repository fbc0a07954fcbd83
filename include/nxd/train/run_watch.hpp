// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/comm/control.hpp>
#include <nxd/comm/watchdog.hpp>
#include <nxd/core/interrupt.hpp>
#include <nxd/train/config.hpp>
#include <nxd/train/progress.hpp>
#include <nxd/train/step_judge.hpp>
#include <nxd/train/stragglers.hpp>

namespace nxd {

/// The rules by which a configuration lets steps be left out.
inline StepRules step_rules(TrainerConfig const& c) {
  return {c.on_non_finite, c.loss_spike_factor.value_or(0), c.max_skipped_steps};
}

/// Whatever watches over a run on one rank: what it does is written down where others see it, a
/// watchdog looks at the clock, and once a step all ranks agree on whether the step is taken, and
/// whether the run goes on. One per process, made before the first exchange.
template <Communicator C> class RunWatch {
  using Clock = std::chrono::steady_clock;

 public:
  /// What is said to people, on rank 0.
  std::function<void(std::string const&)> warn = [](std::string const&) {};

  /// All ranks make one together. @param peers ranks that follow each other and have the same work
  RunWatch(C& comm, TrainingConfig const& config, std::string const& folder, std::int64_t peers)
      : config_(config),
        roll_(comm),
        attendance_(roll_.mine()),
        dog_(roll_, folder),
        control_(comm, attendance_),
        judge_(step_rules(config.trainer)),
        stragglers_(comm.size(), peers,
                    config.exp_manager.straggler_detection_params.gpu_relative_perf_threshold) {
    auto const& limits = config.exp_manager.fault_tolerance;
    if (config.exp_manager.create_preemption_callback) noted_.emplace();
    if (config.debug.collectives == CollectiveCheck::check) control_.check_each();
    dog_.limit(Phase::start, limits.initial_rank_heartbeat_timeout);
    dog_.limit(Phase::load, limits.load_timeout);
    dog_.limit(Phase::save, limits.save_timeout);
    limit_steps(limits.rank_heartbeat_timeout.value_or(limits.initial_rank_heartbeat_timeout));
    begin(Phase::start);
  }

  Attendance& attendance() { return attendance_; }
  /// For agreements that are rare, apart from the traffic of the model.
  C& comm() { return control_.comm(); }

  void begin(Phase phase) { dog_.begin(phase); }
  /// The beginning of a step.
  void begin_step(std::int64_t step) {
    step_ = step;
    begin(Phase::step);
    began_ = Clock::now();
    attendance_.take_waited();
  }
  /// The beginning of a save, or of a batch of a validation, where ranks agree on whether to go on.
  void enter(std::string_view what) {
    bool const validates = what == "the validation";
    begin(validates ? Phase::validation : Phase::save);
    if (!validates || asked_ != 0) return;
    ControlWord word;
    word.step = step_;
    word.signal = Interrupt::signal();
    listen(control_.exchange(word));
  }

  /// Whether the update of this step is taken: all ranks agree. @throws Error(desync) if they have
  /// not done the same, Error(non_finite) as `StepJudge` does
  bool takes(StepReport const& report) {
    ControlWord word;
    word.step = step_;
    word.signal = Interrupt::signal();
    auto const seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    word.busy = seconds - attendance_.take_waited();
    judge_.fill(word, report);
    auto const words = control_.exchange(word);
    listen(words);
    learn(seconds);
    tell_stragglers(words);
    auto const reason = judge_.refuse(words, report);
    if (reason) {
      auto const batch = config_.data.global_batch_size;
      warn("step " + std::to_string(step_) + " is left out, samples " +
           std::to_string((step_ - 1) * batch) + " to " + std::to_string(step_ * batch - 1) + ": " +
           *reason);
    }
    return !reason;
  }

  /// The signal for which all ranks are to save and end; none: 0.
  int asked() const { return asked_; }

 private:
  void listen(std::span<ControlWord const> words) {
    for (auto const& word : words)
      if (word.signal != 0) asked_ = word.signal;
  }

  void limit_steps(double seconds) {
    dog_.limit(Phase::step, seconds);
    dog_.limit(Phase::validation, seconds);
  }
  /// After some steps their median says how long one may take.
  void learn(double seconds) {
    auto const& limits = config_.exp_manager.fault_tolerance;
    if (limits.rank_heartbeat_timeout || limits.initial_rank_heartbeat_timeout == 0) return;
    recent_[taken_++ % recent_.size()] = seconds;
    if (taken_ <= recent_.size()) return;
    auto times = recent_;
    std::ranges::nth_element(times, times.begin() + times.size() / 2);
    limit_steps(std::max(60.0, limits.safety_factor * times[times.size() / 2]));
  }

  void tell_stragglers(std::span<ControlWord const> words) {
    auto const& params = config_.exp_manager.straggler_detection_params;
    if (!config_.exp_manager.create_straggler_detection_callback) return;
    for (auto const& slow : stragglers_.add(words)) {
      auto const now = Clock::now();
      if (told_ && now - *told_ < std::chrono::duration<double>(params.report_time_interval))
        continue;
      told_ = now;
      auto const text = "rank " + std::to_string(slow.rank) +
                        " is slow: its own work in a step takes " +
                        detail::formatted("%.3g s", slow.seconds) + ", " +
                        detail::formatted("%.2g", 1 / slow.performance) + " times as long as usual";
      if (params.stop_if_detected) throw Error(ExitCode::hang, text);
      warn(text);
    }
  }

  TrainingConfig config_;
  std::optional<Interrupt::Noted> noted_;
  RollCall roll_;
  Attendance attendance_;
  Watchdog dog_;
  Control<C> control_;
  StepJudge judge_;
  Stragglers stragglers_;
  std::int64_t step_ = 0;
  int asked_ = 0;
  Clock::time_point began_{};
  std::array<double, 5> recent_{};
  std::size_t taken_ = 0;
  std::optional<Clock::time_point> told_;
};

}  // namespace nxd
