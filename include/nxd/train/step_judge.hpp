// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>

#include <nxd/comm/control.hpp>
#include <nxd/core/error.hpp>
#include <nxd/train/config.hpp>
#include <nxd/train/step.hpp>

namespace nxd {

/// Which steps are not taken.
struct StepRules {
  OnNonFinite non_finite = OnNonFinite::stop;
  double spike = 0;              ///< a loss that is so many times the mean of late; 0: none is one
  std::int64_t most_skips = 10;  ///< in a row
};

/// Judges losses by those before: the mean of the last 16 that were taken.
class SpikeDetector {
 public:
  static constexpr std::size_t window = 16;

  explicit SpikeDetector(double factor) : factor_(factor) {}

  bool is_spike(double loss) const {
    if (factor_ <= 0 || count_ < window) return false;
    double sum = 0;
    for (auto const l : losses_) sum += l;
    return loss > factor_ * sum / window;
  }
  void take(double loss) { losses_[count_++ % window] = loss; }

 private:
  double factor_;
  std::array<double, window> losses_{};
  std::size_t count_ = 0;
};

/// Decides for all ranks alike which steps are taken, from what all of them have seen of a step.
class StepJudge {
 public:
  explicit StepJudge(StepRules rules) : rules_(rules), spikes_(rules.spike) {}

  /// What this rank has seen.
  void fill(ControlWord& word, StepReport const& report) const {
    word.loss = report.loss;
    word.non_finite = !report.finite();
    word.spike = spikes_.is_spike(report.loss);
  }

  /// Why the step is not taken; nothing if it is. One rank that would not take it is enough.
  /// @throws Error(non_finite) where the rules say that the run ends, on all ranks alike
  std::optional<std::string> refuse(std::span<ControlWord const> words, StepReport const& report) {
    std::optional<std::string> reason;
    for (std::size_t r = 0; r < words.size() && !reason; ++r)
      if (words[r].non_finite || words[r].spike)
        reason = words[r].non_finite ? not_finite(report) : spike(report);
    if (!reason) {
      spikes_.take(words[0].loss);
      skips_ = 0;
      return {};
    }
    bool const finite = report.finite();
    if (!finite && rules_.non_finite == OnNonFinite::stop)
      throw Error(ExitCode::non_finite, *reason +
                                            "; nothing was updated; lower model.optim.lr or set "
                                            "trainer.gradient_clip_val, or let such steps be left "
                                            "out: trainer.on_non_finite: skip");
    if (++skips_ > rules_.most_skips)
      throw Error(ExitCode::non_finite,
                  *reason + ", and the " + std::to_string(rules_.most_skips) +
                      " steps before it were left out too; nothing was updated; lower "
                      "model.optim.lr or set trainer.gradient_clip_val");
    return reason;
  }

 private:
  static std::string not_finite(StepReport const& r) {
    return "the loss is " + std::to_string(r.loss) + " and the gradient norm " +
           std::to_string(r.grad_norm);
  }
  std::string spike(StepReport const& r) const {
    return "the loss is " + std::to_string(r.loss) + ", more than " + std::to_string(rules_.spike) +
           " times the mean of the last " + std::to_string(SpikeDetector::window);
  }

  StepRules rules_;
  SpikeDetector spikes_;
  std::int64_t skips_ = 0;
};

}  // namespace nxd
