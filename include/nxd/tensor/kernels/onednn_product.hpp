// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <nxd/core/expects.hpp>
#include <nxd/tensor/kernels/avx512_product.hpp>
#include <nxd/tensor/kernels/bf16_operand.hpp>

#if defined(NXD_WITH_ONEDNN)
#include <nxd/tensor/kernels/onednn_matmul.hpp>
#endif

namespace nxd {

/// Products of floats or of bf16, sums in fp32, by oneDNN, in programs that are built with the
/// component nxd::onednn. The first of a shape takes about a millisecond; a thread keeps what
/// oneDNN has prepared for `Matmuls::most` shapes. On the same number of threads, results are the
/// same.
struct OneDnnProduct {
#if defined(NXD_WITH_ONEDNN)
  static constexpr bool is_built_in = true;

  /// z[m, n] = alpha x[m, k] y[n, k], or z += it; x and y are FloatOperand or Bf16Operand. 2 m n k
  /// FLOPs.
  template <class Operand>
  static void multiply(std::int64_t m, std::int64_t n, std::int64_t k, Operand const& x,
                       Operand const& y, FloatResult const& z) {
    if (m == 0 || n == 0) return;
    if (k == 0) return clear(m, n, z);
    bool const x_rows = x.k_stride == 1, y_rows = y.k_stride == 1;
    detail::Matmuls::of_this_thread().multiply(
        {.type = std::is_same_v<Operand, Bf16Operand> ? dnnl_bf16 : dnnl_f32,
         .m = m,
         .n = n,
         .k = k,
         .x_row = x_rows ? std::max(x.line_stride, k) : 1,
         .x_column = x_rows ? 1 : std::max(x.k_stride, m),
         .y_row = y_rows ? 1 : std::max(y.k_stride, n),
         .y_column = y_rows ? std::max(y.line_stride, k) : 1,
         .z_row = std::max(z.stride, n),
         .alpha = z.alpha,
         .accumulate = z.accumulate,
         .threads = threads()},
        x.at, y.at, z.at);
  }

 private:
  static void clear(std::int64_t m, std::int64_t n, FloatResult const& z) {
    if (z.accumulate) return;
    for (std::int64_t i = 0; i < m; ++i) std::fill_n(z.at + i * z.stride, n, 0.f);
  }

  static int threads() {
#ifdef _OPENMP
    if (!omp_in_parallel()) return omp_get_max_threads();
#endif
    return 1;
  }
#else
  static constexpr bool is_built_in = false;

  static void multiply(auto const&...) { NXD_EXPECTS(is_built_in); }
#endif
};

}  // namespace nxd
