// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include <nxd/tensor/kernels/bf16_attention.hpp>
#include <nxd/tensor/kernels/bf16_multiply.hpp>
#include <nxd/tensor/kernels/simd.hpp>

namespace nxd {

/// Kernels for training in bf16: what `SimdKernels` does for floats, over elements of bf16 too,
/// with sums and statistics in floats.
struct Bf16Kernels : SimdKernels {
 private:
  /// The kernels over elements of type E.
  template <class E> using Of = std::conditional_t<std::is_same_v<E, bf16>, Bf16Lines, SimdKernels>;
  template <class... Es> static constexpr bool all_floats = (std::is_same_v<Es, float> && ...);

 public:
  static constexpr auto cast_stochastic = Bf16Lines::cast_stochastic;
  static constexpr auto attention = Bf16Attention::attention;
  static constexpr auto attention_pull = Bf16Attention::attention_pull;
  static constexpr auto cross_entropy_stats = Bf16Lines::cross_entropy_stats;
  static constexpr auto cross_entropy_pull = Bf16Lines::cross_entropy_pull;

  static void cast(std::int64_t n, auto const* x, auto* y) { Bf16Lines::cast(n, x, y); }
  static void multiply(Product const& p, bf16 const* x, bf16 const* y, auto* z, bool accumulate) {
    Bf16Multiply::multiply(p, x, y, z, accumulate);
  }
  static void multiply(Product const& p, float const* x, float const* y, float* z,
                       bool accumulate) {
    SimdKernels::multiply(p, x, y, z, accumulate);
  }
  template <class X, class Y, class Z>
  static void add(std::int64_t n, X const* x, Y const* y, Z* z) {
    if constexpr (all_floats<X, Y, Z>)
      SimdKernels::add(n, x, y, z);
    else
      Bf16Lines::add(n, x, y, z);
  }
  template <class X, class Y> static void axpy(std::int64_t n, float a, X const* x, Y* y) {
    if constexpr (all_floats<X, Y>)
      SimdKernels::axpy(n, a, x, y);
    else
      Bf16Lines::axpy(n, a, x, y);
  }
  template <class E> static void scale(std::int64_t n, float a, E const* x, E* z) {
    Of<E>::scale(n, a, x, z);
  }
  template <class E>
  static void transpose_blocks(std::int64_t rows, std::int64_t columns, std::int64_t block,
                               E const* x, E* y) {
    PlainElementwise<E>::transpose_blocks(rows, columns, block, x, y);
  }
  template <class E>
  static void rms_norm(std::int64_t rows, std::int64_t columns, double epsilon, E const* x,
                       E const* weight, E* y, float* inverse_rms) {
    Of<E>::rms_norm(rows, columns, epsilon, x, weight, y, inverse_rms);
  }
  template <class E>
  static void rms_norm_pull(std::int64_t rows, std::int64_t columns, E const* x, E const* weight,
                            float const* inverse_rms, E const* dy, E* dx, float* dweight) {
    Of<E>::rms_norm_pull(rows, columns, x, weight, inverse_rms, dy, dx, dweight);
  }
  template <class E>
  static void softmax(std::int64_t rows, std::int64_t columns, double factor, E const* x, E* y) {
    Of<E>::softmax(rows, columns, factor, x, y);
  }
  template <class E> static void swiglu(std::int64_t rows, std::int64_t columns, E const* x, E* y) {
    Of<E>::swiglu(rows, columns, x, y);
  }
  template <class E>
  static void swiglu_pull(std::int64_t rows, std::int64_t columns, E const* x, E const* dy, E* dx) {
    Of<E>::swiglu_pull(rows, columns, x, dy, dx);
  }
  template <class E>
  static void rotate(Rotary const& s, E const* x, float const* cosines, float const* sines, E* y,
                     int direction) {
    Of<E>::rotate(s, x, cosines, sines, y, direction);
  }
  template <class E>
  static void gather_rows(Rows const& s, std::int32_t const* ids, E const* table, E* out) {
    Of<E>::gather_rows(s, ids, table, out);
  }
  template <class E>
  static void scatter_add_rows(Rows const& s, std::int32_t const* ids, E const* dout, auto* table) {
    Of<E>::scatter_add_rows(s, ids, dout, table);
  }
};

}  // namespace nxd
