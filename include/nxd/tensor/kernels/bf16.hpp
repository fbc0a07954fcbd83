// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include <nxd/tensor/kernels/bf16_attention.hpp>
#include <nxd/tensor/kernels/bf16_multiply.hpp>
#include <nxd/tensor/kernels/bf16_wide_lines.hpp>
#include <nxd/tensor/kernels/simd.hpp>

namespace nxd {

/// Kernels for training in bf16: what `SimdKernels` does for floats, over elements of bf16 too,
/// with sums and statistics in floats.
struct Bf16Kernels : SimdKernels {
 private:
  /// Calls `f` with the kernels over elements of type E, by the widest vectors that there are.
  template <class E> static void with(auto const& f) {
    if constexpr (std::is_same_v<E, float>) {
      f(SimdKernels{});
    } else {
#if defined(__x86_64__)
      if (has_avx512_bf16()) return f(Bf16WideLines{});
#endif
      f(Bf16Lines{});
    }
  }
  /// bf16, but if all of Es are floats.
  template <class... Es>
  using Common = std::conditional_t<(std::is_same_v<Es, float> && ...), float, bf16>;

 public:
  static constexpr auto attention = Bf16Attention::attention;
  static constexpr auto attention_pull = Bf16Attention::attention_pull;

  static void cast(std::int64_t n, auto const* x, auto* y) {
    with<bf16>([&](auto k) { k.cast(n, x, y); });
  }
  static void cast_stochastic(std::span<Run const> runs, Noise const& noise, float const* x,
                              bf16* y) {
    with<bf16>([&](auto k) { k.cast_stochastic(runs, noise, x, y); });
  }
  static void multiply(Product const& p, bf16 const* x, bf16 const* y, auto* z, bool accumulate) {
    Bf16Multiply::multiply(p, x, y, z, accumulate);
  }
  static bool has_alike_pieces(Product const& p, bf16 const*) {
    return Bf16Multiply::has_alike_pieces(p);
  }
  using SimdKernels::has_alike_pieces;
  static void multiply(Product const& p, float const* x, float const* y, float* z,
                       bool accumulate) {
    SimdKernels::multiply(p, x, y, z, accumulate);
  }
  template <class X, class Y, class Z>
  static void add(std::int64_t n, X const* x, Y const* y, Z* z) {
    with<Common<X, Y, Z>>([&](auto k) { k.add(n, x, y, z); });
  }
  template <class X, class Y> static void axpy(std::int64_t n, float a, X const* x, Y* y) {
    with<Common<X, Y>>([&](auto k) { k.axpy(n, a, x, y); });
  }
  template <class E> static void scale(std::int64_t n, float a, E const* x, E* z) {
    with<E>([&](auto k) { k.scale(n, a, x, z); });
  }
  template <class E>
  static void transpose_blocks(std::int64_t rows, std::int64_t columns, std::int64_t block,
                               E const* x, E* y) {
    PlainElementwise<E>::transpose_blocks(rows, columns, block, x, y);
  }
  template <class E>
  static void rms_norm(std::int64_t rows, std::int64_t columns, double epsilon, E const* x,
                       E const* weight, E* y, float* inverse_rms) {
    with<E>([&](auto k) { k.rms_norm(rows, columns, epsilon, x, weight, y, inverse_rms); });
  }
  template <class E>
  static void rms_norm_pull(std::int64_t rows, std::int64_t columns, E const* x, E const* weight,
                            float const* inverse_rms, E const* dy, E* dx, float* dweight) {
    with<E>(
        [&](auto k) { k.rms_norm_pull(rows, columns, x, weight, inverse_rms, dy, dx, dweight); });
  }
  template <class E>
  static void softmax(std::int64_t rows, std::int64_t columns, double factor, E const* x, E* y) {
    with<E>([&](auto k) { k.softmax(rows, columns, factor, x, y); });
  }
  template <class E> static void swiglu(std::int64_t rows, std::int64_t columns, E const* x, E* y) {
    with<E>([&](auto k) { k.swiglu(rows, columns, x, y); });
  }
  template <class E>
  static void swiglu_pull(std::int64_t rows, std::int64_t columns, E const* x, E const* dy, E* dx) {
    with<E>([&](auto k) { k.swiglu_pull(rows, columns, x, dy, dx); });
  }
  template <class E>
  static void rotate(Rotary const& s, E const* x, float const* cosines, float const* sines, E* y,
                     int direction) {
    with<E>([&](auto k) { k.rotate(s, x, cosines, sines, y, direction); });
  }
  template <class E>
  static void gather_rows(Rows const& s, std::int32_t const* ids, E const* table, E* out) {
    with<E>([&](auto k) { k.gather_rows(s, ids, table, out); });
  }
  template <class E>
  static void scatter_add_rows(Rows const& s, std::int32_t const* ids, E const* dout, auto* table) {
    with<E>([&](auto k) { k.scatter_add_rows(s, ids, dout, table); });
  }
  static void cross_entropy_stats(CrossEntropy const& s, bf16 const* logits,
                                  std::int32_t const* labels, float* stats) {
    with<bf16>([&](auto k) { k.cross_entropy_stats(s, logits, labels, stats); });
  }
  static void cross_entropy_pull(CrossEntropy const& s, bf16 const* logits,
                                 std::int32_t const* labels, float const* log_sum_exp,
                                 float const* scale, CrossEntropyOptions const& options,
                                 bf16* dlogits) {
    with<bf16>([&](auto k) {
      k.cross_entropy_pull(s, logits, labels, log_sum_exp, scale, options, dlogits);
    });
  }
};

}  // namespace nxd
