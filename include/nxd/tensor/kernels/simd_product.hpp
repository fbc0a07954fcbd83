// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include <cblas.h>

#include <nxd/tensor/kernels/amx_product.hpp>
#include <nxd/tensor/kernels/product_loops.hpp>
#include <nxd/tensor/kernels/product_table.hpp>
#include <nxd/tensor/kernels/simd_lines.hpp>

namespace nxd {

/// How matrix products of floats are made. `fp32`: by whom
/// `product_table()` says. `bf16x3`: each number split into two of
/// bf16, three products for one, at a relative error (root mean square) of 4.5e-6 where fp32 has
/// about 3e-7; as fp32 where they are small, and everywhere on a machine without AMX.
enum class ProductMode { fp32, bf16x3 };

/// The process's mode, fp32 at first: to be set before training starts.
inline std::atomic<ProductMode>& product_mode() {
  static std::atomic<ProductMode> mode{ProductMode::fp32};
  return mode;
}

/// Products by whom the table says where they are matrix products, through vectors where they
/// scale: see `SimdKernels`.
struct SimdProduct {
  static void multiply(Product const& p, float const* x, float const* y, float* z,
                       bool accumulate) {
    if (p.rows.extent == 1 && p.columns.extent == 1) return multiply_lines(p, x, y, z, accumulate);
    if (p.columns.z != 1 && p.columns.extent != 1)
      return multiply(detail::turned(p), y, x, z, accumulate);
    if (!detail::is_matrix_product(p)) return PlainProduct<float>::multiply(p, x, y, z, accumulate);
    bool const sums_outside = detail::sums_outside(p);
    if (sums_outside && !accumulate) {
      auto nothing = p;
      nothing.summed.extent = 0;
      PlainProduct<float>::multiply(nothing, x, y, z, false);
    }
    detail::for_each_product(p, 0, x, y, z, [&](float const* a, float const* b, float* c) {
      gemm(p, a, b, c, accumulate || sums_outside);
    });
  }

  /// Whether pieces of a product have the bits of the whole: see `in_pieces`. OpenBLAS sums some
  /// lines in another order than others, by where they lie among all of them.
  static bool has_alike_pieces(Product p) {
    if (p.columns.z != 1 && p.columns.extent != 1) p = detail::turned(p);
    if (!detail::is_matrix_product(p)) return false;
    auto const m = p.rows.extent, n = p.columns.extent, k = p.summed.extent;
    auto const left = operand(nullptr, p.rows.x, p.summed.x, k);
    auto const right = operand(nullptr, p.columns.y, p.summed.y, k);
    return by_tiles(m, n, k) ||
           product_maker(product_class(m, n, k, left, right)) == ProductMaker::avx512;
  }

  /// z[m, n] = alpha x[m, k] y[n, k], or z += it, by whoever is to.
  static void multiply_by(ProductMaker maker, std::int64_t m, std::int64_t n, std::int64_t k,
                          FloatOperand const& x, FloatOperand const& y, FloatResult const& z) {
#if defined(__x86_64__)
    if (maker == ProductMaker::avx512) return Avx512Product::multiply(m, n, k, x, y, z);
#endif
    if (maker == ProductMaker::onednn) return OneDnnProduct::multiply(m, n, k, x, y, z);
    bool const x_rows = x.k_stride == 1, y_rows = y.k_stride == 1;
    auto const at_least = [](std::int64_t stride, std::int64_t least) {
      return static_cast<int>(stride > least ? stride : least);
    };
    cblas_sgemm(CblasRowMajor, x_rows ? CblasNoTrans : CblasTrans,
                y_rows ? CblasTrans : CblasNoTrans, static_cast<int>(m), static_cast<int>(n),
                static_cast<int>(k), z.alpha, x.at,
                x_rows ? at_least(x.line_stride, k) : at_least(x.k_stride, m), y.at,
                y_rows ? at_least(y.line_stride, k) : at_least(y.k_stride, n), z.accumulate ? 1 : 0,
                z.at, at_least(z.stride, n));
  }

 private:
  /// An operand as it lies: from a line to the next, and along the sum.
  static FloatOperand operand(float const* at, std::int64_t line, std::int64_t summed,
                              std::int64_t k) {
    return summed == 1 || k == 1 ? FloatOperand{at, line, 1} : FloatOperand{at, 1, summed};
  }

  static void gemm(Product const& p, float const* x, float const* y, float* z, bool accumulate) {
    auto const m = p.rows.extent, n = p.columns.extent, k = p.summed.extent;
    auto const left = operand(x, p.rows.x, p.summed.x, k);
    auto const right = operand(y, p.columns.y, p.summed.y, k);
    if (by_tiles(m, n, k))
      return AmxProduct::multiply<Bf16Terms::two>(
          m, n, k, {left.at, left.line_stride, left.k_stride},
          {right.at, right.line_stride, right.k_stride}, z, p.rows.z, accumulate);
    multiply_by(product_maker(product_class(m, n, k, left, right)), m, n, k, left, right,
                {z, p.rows.z, 1, accumulate});
  }

  /// Whether a product is one for tiles: below that, packing costs more than they gain.
  static bool by_tiles(std::int64_t m, std::int64_t n, std::int64_t k) {
    constexpr std::int64_t least = 8, enough = 64 * 64 * 64;
    return product_mode().load(std::memory_order_relaxed) == ProductMode::bf16x3 &&
           std::min({m, n, k}) >= least && m * n * k >= enough && has_amx();
  }

  /// No matrix: each z is a sum of products, and the innermost loop moves all that it moves by one.
  static void multiply_lines(Product const& p, float const* x, float const* y, float* z,
                             bool accumulate) {
    auto const last = p.batches - 1;
    auto const inner = last >= 0 ? p.batch[static_cast<std::size_t>(last)] : Loop{1, 0, 0, 0};
    if (inner.x == 1 && inner.y == 1 && inner.z == 1) {
      auto lines = p;
      lines.batches = last;
      detail::for_each_product(lines, 0, x, y, z, [&](float const* a, float const* b, float* c) {
        if (!accumulate) std::fill_n(c, inner.extent, 0.f);
        for (std::int64_t k = 0; k < p.summed.extent; ++k)
          add_products(inner.extent, a + k * p.summed.x, b + k * p.summed.y, c);
      });
    } else if (p.summed.x == 1 && p.summed.y == 1 && p.batches == 0) {
      auto const sum = detail::dot(p.summed.extent, x, y);
      *z = accumulate ? *z + sum : sum;
    } else {
      PlainProduct<float>::multiply(p, x, y, z, accumulate);
    }
  }

  static void add_products(std::int64_t n, float const* x, float const* y, float* z) {
    using namespace detail;
    vectorize(
        n, [&](std::int64_t i) { store(z + i, load(z + i) + load(x + i) * load(y + i)); },
        [&](std::int64_t i) { z[i] += x[i] * y[i]; });
  }
};

}  // namespace nxd
