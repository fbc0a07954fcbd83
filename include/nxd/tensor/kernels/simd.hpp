// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/simd_attention.hpp>
#include <nxd/tensor/kernels/simd_loss.hpp>
#include <nxd/tensor/kernels/simd_product.hpp>

namespace nxd {

/// Kernels for training in fp32: matrix products by AVX-512 or by BLAS, the rest by vectors of
/// xsimd over the threads of OpenMP. What is not here is plain. Results do not depend on the number
/// of threads, but for the BLAS's own.
struct SimdKernels : PlainKernels<float> {
  static constexpr auto attention = SimdAttention::attention;
  static constexpr auto attention_pull = SimdAttention::attention_pull;
  static constexpr auto multiply = SimdProduct::multiply;
  static bool has_alike_pieces(Product const& p, float const*) {
    return SimdProduct::has_alike_pieces(p);
  }
  static void in_pieces(std::int64_t n, auto const& work) { SimdLines::in_pieces(n, work); }
  static constexpr auto add = SimdLines::add;
  static constexpr auto axpy = SimdLines::axpy;
  static constexpr auto scale = SimdLines::scale;
  static constexpr auto sum_of_squares = SimdLines::sum_of_squares;
  static constexpr auto rms_norm = SimdLines::rms_norm;
  static constexpr auto rms_norm_pull = SimdLines::rms_norm_pull;
  static constexpr auto swiglu = SimdLines::swiglu;
  static constexpr auto swiglu_pull = SimdLines::swiglu_pull;
  static constexpr auto rotate = SimdLines::rotate;
  static constexpr auto gather_rows = SimdLines::gather_rows;
  static constexpr auto softmax = SimdLoss::softmax;
  static constexpr auto cross_entropy_stats = SimdLoss::cross_entropy_stats;
  static constexpr auto cross_entropy_pull = SimdLoss::cross_entropy_pull;
  static constexpr auto adamw = SimdLoss::adamw;
};

}  // namespace nxd
