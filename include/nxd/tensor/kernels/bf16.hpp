// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/bf16_attention.hpp>
#include <nxd/tensor/kernels/bf16_multiply.hpp>
#include <nxd/tensor/kernels/simd.hpp>

namespace nxd {

/// Kernels for training in bf16: what `SimdKernels` does for floats, over elements of bf16, with
/// sums and statistics in floats. What has elements of either type has both.
struct Bf16Kernels : SimdKernels {
  static constexpr auto cast_stochastic = Bf16Lines::cast_stochastic;
  static constexpr auto rms_norm = Bf16Lines::rms_norm;
  static constexpr auto rms_norm_pull = Bf16Lines::rms_norm_pull;
  static constexpr auto swiglu = Bf16Lines::swiglu;
  static constexpr auto swiglu_pull = Bf16Lines::swiglu_pull;
  static constexpr auto rotate = Bf16Lines::rotate;
  static constexpr auto gather_rows = Bf16Lines::gather_rows;
  static constexpr auto softmax = Bf16Lines::softmax;
  static constexpr auto cross_entropy_stats = Bf16Lines::cross_entropy_stats;
  static constexpr auto cross_entropy_pull = Bf16Lines::cross_entropy_pull;
  static constexpr auto attention = Bf16Attention::attention;
  static constexpr auto attention_pull = Bf16Attention::attention_pull;

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
    if constexpr (std::is_same_v<X, float> && std::is_same_v<Y, float>)
      SimdKernels::add(n, x, y, z);
    else
      Bf16Lines::add(n, x, y, z);
  }
  template <class X, class Y> static void axpy(std::int64_t n, float a, X const* x, Y* y) {
    if constexpr (std::is_same_v<X, float> && std::is_same_v<Y, float>)
      SimdKernels::axpy(n, a, x, y);
    else
      Bf16Lines::axpy(n, a, x, y);
  }
  static void scatter_add_rows(Rows const& s, std::int32_t const* ids, bf16 const* dout,
                               auto* table) {
    Bf16Lines::scatter_add_rows(s, ids, dout, table);
  }
  template <class X> static void scale(std::int64_t n, float a, X const* x, X* z) {
    if constexpr (std::is_same_v<X, float>)
      SimdKernels::scale(n, a, x, z);
    else
      Bf16Lines::scale(n, a, x, z);
  }
  template <class X>
  static void transpose_blocks(std::int64_t rows, std::int64_t columns, std::int64_t block,
                               X const* x, X* y) {
    PlainElementwise<X>::transpose_blocks(rows, columns, block, x, y);
  }
};

}  // namespace nxd
