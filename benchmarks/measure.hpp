// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

// Machines drift and their neighbours are noisy: what is compared is timed in turn, in one run, and
// what is reported is the median of the ratios of neighbours.

namespace nxd::bench {

/// Seconds that `work` takes.
inline double seconds(std::function<void()> const& work) {
  auto const start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The middle one; of an even number, the upper.
inline double median(std::vector<double> values) {
  auto const middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// Two ways to do one thing, timed side by side.
struct Pair {
  double ours, theirs;     ///< seconds, medians
  double ratio;            ///< ours over theirs: the median of the ratios of neighbours
  double lowest, highest;  ///< the middle half of the ratios
  double best;             ///< the tenth of the ratios, from below
};

/// Times `ours` and `theirs` in turn, `turns` times, each first every other time; `time(work)`
/// gives the seconds of one of them.
inline Pair compare(std::function<void()> const& ours, std::function<void()> const& theirs,
                    int turns,
                    std::function<double(std::function<void()> const&)> const& time = seconds) {
  std::vector<double> a, b, ratios;
  for (int turn = -2; turn < turns; ++turn) {
    bool const ours_first = turn % 2 == 0;
    auto first = time(ours_first ? ours : theirs);
    auto second = time(ours_first ? theirs : ours);
    if (!ours_first) std::swap(first, second);
    if (turn < 0) continue;
    a.push_back(first);
    b.push_back(second);
    ratios.push_back(first / second);
  }
  std::ranges::sort(ratios);
  auto const at = [&](std::size_t quarter) { return ratios[(ratios.size() - 1) * quarter / 4]; };
  return {median(a), median(b), median(ratios), at(1), at(3), ratios[(ratios.size() - 1) / 10]};
}

}  // namespace nxd::bench
