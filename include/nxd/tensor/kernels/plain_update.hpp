// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

/// Updates of n weights: see `PlainKernels`.
template <class T> struct PlainUpdate {
  /// Calls `work(first, count)` for pieces of [0, n), in any order, on any thread
  static void in_pieces(std::int64_t n, auto const& work) { work(std::int64_t{0}, n); }

  /// AdamW as PyTorch computes it: decay first, epsilon after the bias correction
  static void adamw(AdamWStep const& s, std::int64_t n, T const* gradient, T* weight, T* mean,
                    T* square) {
    auto const keep = static_cast<T>(1 - s.rate * s.weight_decay);
    auto const b1 = static_cast<T>(s.beta1), b2 = static_cast<T>(s.beta2);
    auto const c1 = static_cast<T>(1 - s.beta1), c2 = static_cast<T>(1 - s.beta2);
    auto const step = static_cast<T>(s.rate / s.correction1);
    auto const unbias = static_cast<T>(1 / std::sqrt(s.correction2));
    auto const epsilon = static_cast<T>(s.epsilon);
    auto const scale = static_cast<T>(s.gradient_scale);
    for (std::int64_t i = 0; i < n; ++i) {
      auto const g = gradient[i] * scale;
      mean[i] = b1 * mean[i] + c1 * g;
      square[i] = b2 * square[i] + c2 * g * g;
      weight[i] = weight[i] * keep - step * mean[i] / (std::sqrt(square[i]) * unbias + epsilon);
    }
  }

  /// Gradient descent with momentum as PyTorch computes it
  static void sgd(SgdStep const& s, std::int64_t n, T const* gradient, T* weight, T* velocity) {
    auto const decay = static_cast<T>(s.weight_decay), momentum = static_cast<T>(s.momentum);
    auto const fresh = s.first ? T{1} : static_cast<T>(1 - s.dampening);
    auto const old = s.first ? T{0} : momentum;
    for (std::int64_t i = 0; i < n; ++i) {
      auto const g = gradient[i] * static_cast<T>(s.gradient_scale) + decay * weight[i];
      velocity[i] = old * velocity[i] + fresh * g;
      auto const step = momentum == 0 ? g : s.nesterov ? g + momentum * velocity[i] : velocity[i];
      weight[i] -= static_cast<T>(s.rate) * step;
    }
  }
};

}  // namespace nxd
