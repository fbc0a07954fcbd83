// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

/// Cross-entropy over a slice of the classes: see `PlainKernels`.
template <class T> struct PlainLoss {
  /// stats[row] = {largest logit, sum of exp(logit - largest), the label's logit if it is here, sum
  /// of logits}, padding left out
  static void cross_entropy_stats(CrossEntropy const& s, T const* logits,
                                  std::int32_t const* labels, T* stats) {
    for (std::int64_t r = 0; r < s.rows; ++r, logits += s.columns, stats += 4) {
      auto top = -std::numeric_limits<T>::infinity();
      for (std::int64_t c = 0; c < s.valid; ++c) top = std::max(top, logits[c]);
      T exponentials{}, sum{};
      for (std::int64_t c = 0; c < s.valid; ++c) {
        exponentials += std::exp(logits[c] - top);
        sum += logits[c];
      }
      auto const label = labels[r] - s.first;
      stats[0] = top;
      stats[1] = exponentials;
      stats[2] = label >= 0 && label < s.valid ? logits[label] : T{};
      stats[3] = sum;
    }
  }

  /// dlogits = scale[row] d(loss) / d(logits); zero for rows that are ignored, and for padding. It
  /// may lie where the logits lie.
  static void cross_entropy_pull(CrossEntropy const& s, T const* logits, std::int32_t const* labels,
                                 T const* log_sum_exp, T const* scale,
                                 CrossEntropyOptions const& options, T* dlogits) {
    auto const smooth = static_cast<T>(options.label_smoothing);
    auto const share =
        static_cast<T>(options.label_smoothing / static_cast<double>(options.vocabulary));
    auto const z = static_cast<T>(2 * options.z_loss);
    for (std::int64_t r = 0; r < s.rows; ++r, logits += s.columns, dlogits += s.columns) {
      if (labels[r] == s.ignore_index) {
        std::fill_n(dlogits, s.columns, T{});
        continue;
      }
      auto const label = labels[r] - s.first;
      auto const more = 1 + z * log_sum_exp[r];
      for (std::int64_t c = 0; c < s.valid; ++c) {
        auto const wanted = c == label ? 1 - smooth + share : share;
        dlogits[c] = scale[r] * (std::exp(logits[c] - log_sum_exp[r]) * more - wanted);
      }
      std::fill_n(dlogits + s.valid, s.columns - s.valid, T{});
    }
  }
};

}  // namespace nxd
