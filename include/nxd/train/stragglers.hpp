// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nxd/comm/control.hpp>

namespace nxd {

/// Finds the rank that the others wait for: its own work in a step, waiting aside, takes longer
/// than that of the ranks that have the same work, those of its pipeline stage; where it has no
/// such peers, longer than it took itself before.
class Stragglers {
 public:
  static constexpr std::size_t window = 10;  ///< steps, whose median counts

  struct Finding {
    std::int64_t rank;
    double performance;  ///< what it does in the time in which others do 1
    double seconds;      ///< of its own work in a step
  };

  /// @param peers ranks that follow each other and have the same work
  /// @param threshold a rank that performs below it is one
  Stragglers(std::int64_t ranks, std::int64_t peers, double threshold)
      : peers_(peers), threshold_(threshold), times_(static_cast<std::size_t>(ranks)) {}

  /// After each step, what all ranks said. @return those who are slow, every `window` steps
  std::vector<Finding> add(std::span<ControlWord const> words) {
    for (std::size_t r = 0; r < words.size(); ++r) times_[r].push_back(words[r].busy);
    if (times_.front().size() < window) return {};
    std::vector<double> now;
    for (auto& times : times_) {
      now.push_back(median(times));
      times.clear();
    }
    auto const before = best_;
    if (best_.empty()) best_ = now;
    std::vector<Finding> found;
    for (std::size_t r = 0; r < now.size(); ++r) {
      best_[r] = std::min(best_[r], now[r]);
      auto const usual = peers_ > 1 ? of_peers(now, r) : before.empty() ? now[r] : before[r];
      if (now[r] > 0 && usual / now[r] < threshold_)
        found.push_back({static_cast<std::int64_t>(r), usual / now[r], now[r]});
    }
    return found;
  }

 private:
  static double median(std::vector<double> values) {
    auto const middle = values.begin() + (std::ssize(values) - 1) / 2;
    std::ranges::nth_element(values, middle);
    return *middle;
  }
  double of_peers(std::vector<double> const& now, std::size_t r) const {
    auto const first = static_cast<std::int64_t>(r) / peers_ * peers_;
    std::vector<double> others;
    for (auto p = first; p < first + peers_; ++p)
      if (p != static_cast<std::int64_t>(r)) others.push_back(now[static_cast<std::size_t>(p)]);
    return median(std::move(others));
  }

  std::int64_t peers_;
  double threshold_;
  std::vector<std::vector<double>> times_;
  std::vector<double> best_;
};

}  // namespace nxd
