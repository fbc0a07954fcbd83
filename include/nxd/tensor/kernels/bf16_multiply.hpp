// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/bf16_lines.hpp>
#include <nxd/tensor/kernels/product_loops.hpp>
#include <nxd/tensor/kernels/simd_bf16_product.hpp>
#include <nxd/tensor/kernels/simd_product.hpp>

namespace nxd {

/// Products of bf16 inside loops, summed in floats, and rounded once if they are stored as bf16:
/// by `Bf16Product` where they are of matrices. What scales, or sums along no matrix, is widened.
struct Bf16Multiply {
  template <class Z>
  static void multiply(Product const& p, bf16 const* x, bf16 const* y, Z* z, bool accumulate) {
    if (p.rows.extent == 1 && p.columns.extent == 1) return multiply_lines(p, x, y, z, accumulate);
    if (p.columns.z != 1 && p.columns.extent != 1)
      return multiply(detail::turned(p), y, x, z, accumulate);
    if (!detail::is_matrix_product(p) || detail::sums_outside(p))
      return multiply_lines(p, x, y, z, accumulate);
    auto const m = p.rows.extent, n = p.columns.extent, k = p.summed.extent, stride = p.rows.z;
    detail::for_each_product(p, 0, x, y, z, [&](bf16 const* a, bf16 const* b, Z* c) {
      auto const left = operand(a, p.rows.x, p.summed.x),
                 right = operand(b, p.columns.y, p.summed.y);
      if (accumulate)
        Bf16Product::multiply(m, n, k, left, right, StoreSum<Z>{c, stride, c, stride});
      else
        Bf16Product::multiply(m, n, k, left, right, StoreProduct{c, stride});
    });
  }

  /// See `SimdProduct::has_alike_pieces`.
  static bool has_alike_pieces(Product p) {
    if (p.columns.z != 1 && p.columns.extent != 1) p = detail::turned(p);
    if (!detail::is_matrix_product(p) || detail::sums_outside(p)) return false;
    auto const left = operand(nullptr, p.rows.x, p.summed.x),
               right = operand(nullptr, p.columns.y, p.summed.y);
    return Bf16Product::is_by_tiles(p.rows.extent, p.columns.extent, p.summed.extent, left, right);
  }

 private:
  static Bf16Operand operand(bf16 const* at, std::int64_t line, std::int64_t k) {
    return k == 1 ? by_rows(at, line) : by_columns(at, k);
  }

  template <class Z>
  static void multiply_lines(Product const& p, bf16 const* x, bf16 const* y, Z* z,
                             bool accumulate) {
    auto const* const wide_x = detail::widened(0, span_of(p, &Loop::x), x);
    auto const* const wide_y = detail::widened(1, span_of(p, &Loop::y), y);
    if constexpr (std::is_same_v<Z, float>) {
      SimdProduct::multiply(p, wide_x, wide_y, z, accumulate);
    } else {
      auto const n = span_of(p, &Loop::z);
      auto* const wide_z = detail::widened(2, n, z);  // what the loops leave out stays as it is
      SimdProduct::multiply(p, wide_x, wide_y, wide_z, accumulate);
      detail::narrow_line(n, wide_z, z);
    }
  }

  /// Elements from the first to the last that the loops touch.
  static std::int64_t span_of(Product const& p, std::int64_t Loop::*stride) {
    std::int64_t span = 1;
    auto const reach = [&](Loop const& l) { span += (l.extent - 1) * (l.*stride); };
    reach(p.rows), reach(p.columns), reach(p.summed);
    for (int i = 0; i < p.batches; ++i) reach(p.batch[static_cast<std::size_t>(i)]);
    return span;
  }
};

}  // namespace nxd
