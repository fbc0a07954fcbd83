// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/simd_vectors.hpp>
#include <nxd/tensor/kernels/wide_loss.hpp>

namespace nxd {

/// Softmax, cross-entropy and updates: see `SimdKernels`.
struct SimdLoss {
  static void softmax(std::int64_t rows, std::int64_t columns, double factor, float const* x,
                      float* y) {
    using namespace detail;
    auto const f = static_cast<float>(factor);
    for_each_index(rows, 8 * rows * columns, [&](std::int64_t r) {
      auto const* const in = x + r * columns;
      auto* const out = y + r * columns;
      auto const top = largest(columns, in);
      auto const sum = sum_over(
          columns,
          [&](std::int64_t i) {
            auto const e = xsimd::exp(Lanes(f) * (load(in + i) - Lanes(top)));
            store(out + i, e);
            return e;
          },
          [&](std::int64_t i) { return out[i] = std::exp(f * (in[i] - top)); });
      vectorize(
          columns, [&](std::int64_t i) { store(out + i, load(out + i) * Lanes(1 / sum)); },
          [&](std::int64_t i) { out[i] *= 1 / sum; });
    });
  }

  static void cross_entropy_stats(CrossEntropy const& s, float const* logits,
                                  std::int32_t const* labels, float* stats) {
    using namespace detail;
    for_each_index(s.rows, 8 * s.rows * s.columns, [&](std::int64_t r) {
      auto const* const x = logits + r * s.columns;
      auto const line = line_stats(s.valid, x);
      auto const label = labels[r] - s.first;
      auto* const out = stats + 4 * r;
      out[0] = line.top;
      out[1] = line.powers;
      out[2] = label >= 0 && label < s.valid ? x[label] : 0;
      out[3] = line.sum;
    });
  }

  static void cross_entropy_pull(CrossEntropy const& s, float const* logits,
                                 std::int32_t const* labels, float const* log_sum_exp,
                                 float const* scale, CrossEntropyOptions const& options,
                                 float* dlogits) {
    using namespace detail;
    auto const smooth = static_cast<float>(options.label_smoothing);
    auto const share =
        static_cast<float>(options.label_smoothing / static_cast<double>(options.vocabulary));
    auto const z = static_cast<float>(2 * options.z_loss);
    for_each_index(s.rows, 8 * s.rows * s.columns, [&](std::int64_t r) {
      auto const* const x = logits + r * s.columns;
      auto* const d = dlogits + r * s.columns;
      if (labels[r] == s.ignore_index) {
        std::fill_n(d, s.columns, 0.f);
        return;
      }
      auto const sum = log_sum_exp[r];
      auto const factor = scale[r] * (1 + z * sum), less = scale[r] * share;
      line_slopes(s.valid, x, sum, factor, less, d);
      auto const label = labels[r] - s.first;
      if (label >= 0 && label < s.valid) d[label] -= scale[r] * (1 - smooth);
      std::fill_n(d + s.valid, s.columns - s.valid, 0.f);
    });
  }

  static void adamw(AdamWStep const& s, std::int64_t n, float const* gradient, float* weight,
                    float* mean, float* square) {
    using namespace detail;
    auto const keep = static_cast<float>(1 - s.rate * s.weight_decay);
    auto const b1 = static_cast<float>(s.beta1), b2 = static_cast<float>(s.beta2);
    auto const c1 = static_cast<float>(1 - s.beta1), c2 = static_cast<float>(1 - s.beta2);
    auto const step = static_cast<float>(s.rate / s.correction1);
    auto const unbias = static_cast<float>(1 / std::sqrt(s.correction2));
    auto const epsilon = static_cast<float>(s.epsilon);
    auto const factor = static_cast<float>(s.gradient_scale);
    constexpr std::int64_t ahead = 512;  // four streams at once are more than a core foresees
    vectorize_over_threads(
        n,
        [&](std::int64_t i) {
          __builtin_prefetch(gradient + i + ahead);
          for (auto* const stream : {weight, mean, square})
            __builtin_prefetch(stream + i + ahead, 1);
          auto const g = load(gradient + i) * Lanes(factor);
          auto const m = Lanes(b1) * load(mean + i) + Lanes(c1) * g;
          auto const v = Lanes(b2) * load(square + i) + Lanes(c2) * g * g;
          store(mean + i, m);
          store(square + i, v);
          store(weight + i,
                load(weight + i) * Lanes(keep) -
                    Lanes(step) * m / (xsimd::sqrt(v) * Lanes(unbias) + Lanes(epsilon)));
        },
        [&](std::int64_t i) {
          PlainUpdate<float>::adamw(s, 1, gradient + i, weight + i, mean + i, square + i);
        });
  }

 private:
  /// The largest of n numbers, the sum of e^(x - the largest), their sum.
  struct Stats {
    float top, powers, sum;
  };
  static Stats line_stats(std::int64_t n, float const* x) {
    using namespace detail;
#if defined(__x86_64__)
    if (has_avx512_bf16()) {
      auto const wide = WideLoss::stats(n, x);
      return {wide.top, wide.powers, wide.sum};
    }
#endif
    auto const [top, sum] = largest_and_sum(n, x);
    auto const zero = top;
    return {top,
            sum_over(
                n, [&](std::int64_t i) { return xsimd::exp(load(x + i) - Lanes(zero)); },
                [&](std::int64_t i) { return std::exp(x[i] - zero); }),
            sum};
  }

  /// d = factor e^(x - sum) - less
  static void line_slopes(std::int64_t n, float const* x, float sum, float factor, float less,
                          float* d) {
    using namespace detail;
#if defined(__x86_64__)
    if (has_avx512_bf16()) return WideLoss::slopes(n, x, sum, factor, less, d);
#endif
    vectorize(
        n,
        [&](std::int64_t i) {
          store(d + i, Lanes(factor) * xsimd::exp(load(x + i) - Lanes(sum)) - Lanes(less));
        },
        [&](std::int64_t i) { d[i] = factor * std::exp(x[i] - sum) - less; });
  }
};

}  // namespace nxd
