// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <cblas.h>

#include <nxd/tensor/kernels/amx_bf16_block.hpp>
#include <nxd/tensor/kernels/avx512_bf16_block.hpp>
#include <nxd/tensor/kernels/bf16_tile_product.hpp>
#include <nxd/tensor/kernels/packed_operand.hpp>
#include <nxd/tensor/kernels/product_table.hpp>

namespace nxd {

/// So many products, one after another in memory: from one to the next, operands and results are
/// that many elements apart.
struct ProductBatch {
  std::int64_t count;
  std::int64_t x, y, z;
};

/// Matrix products of bf16 in memory, sums in fp32. A linear layer y[T, N] = x[T, K] w[N, K]^T is
///
///     Bf16Product::multiply(T, N, K, by_rows(x, K), by_rows(w, K), StoreProduct{y, N});
///     Bf16Product::multiply(T, K, N, by_rows(dy, N), by_columns(w, K), StoreProduct{dx, K});
///     Bf16Product::multiply(N, K, T, by_columns(dy, N), by_columns(x, K), accumulate_into(dw, K));
///
/// On AMX, and on AVX-512 with bf16, each operand is packed into tiles, results depend neither on
/// the number of threads nor on how operands lie, and what is below 1.2e-38 counts as zero. A
/// `PackedOperand` takes an operand's place where it is used more than once: `weight.forward` and
/// `weight.backward` of a `PackedWeight` for by_rows(w, K) and by_columns(w, K). Without AMX
/// products are made by whom `product_table()` says: AVX-512, oneDNN, or OpenBLAS, for which
/// operands become floats block by block.
struct Bf16Product {
  /// store(z[m, n]), z = sum over k of x[m, k] y[n, k]: what is written where, and what is done on
  /// the way, is the store's matter (see product_store.hpp). If k is 0, z is zero. 2 m n k FLOPs.
  template <ProductStore S>
  static void multiply(std::int64_t m, std::int64_t n, std::int64_t k, Bf16Source const& x,
                       Bf16Source const& y, S const& store) {
    NXD_EXPECTS(x.fits(OperandSide::left, m, k) && y.fits(OperandSide::right, n, k));
    multiply_with(m, n, k, x, y, detail::part_store(store), detail::product_threads(m * n * k));
  }

  /// Each thread makes whole products. The store is `moved` from one to the next.
  template <ProductStore S>
  static void multiply_batch(ProductBatch const& batch, std::int64_t m, std::int64_t n,
                             std::int64_t k, Bf16Operand x, Bf16Operand y, S const& store) {
    auto const threads = detail::product_threads(batch.count * m * n * k);
#pragma omp parallel for schedule(dynamic) if (threads > 1)
    for (std::int64_t i = 0; i < batch.count; ++i) {
      auto a = x, b = y;
      a.at += i * batch.x, b.at += i * batch.y;
      auto const to = store.moved(i * batch.z);
      multiply_with(m, n, k, a, b, detail::part_store(to), 1);
    }
  }

  /// The same without AMX, by whoever is to.
  template <ProductStore S>
  static void multiply_by(ProductMaker maker, std::int64_t m, std::int64_t n, std::int64_t k,
                          Bf16Source const& x, Bf16Source const& y, S const& store) {
    without_amx(maker, m, n, k, x, y, detail::part_store(store),
                detail::product_threads(m * n * k));
  }

  /// Whether such a product is one by tiles, each sum of which is taken in one order.
  static bool is_by_tiles(std::int64_t m, std::int64_t n, std::int64_t k, Bf16Operand x,
                          Bf16Operand y) {
    return has_amx() || product_maker(product_class(m, n, k, x, y)) == ProductMaker::avx512;
  }

 private:
  static void multiply_with(std::int64_t m, std::int64_t n, std::int64_t k, Bf16Source const& x,
                            Bf16Source const& y, detail::PartStore store, int threads) {
#if defined(__x86_64__)
    if (has_amx()) return by_tiles<detail::AmxBlocks>(m, n, k, x, y, store, threads);
#endif
    without_amx(product_maker(product_class(m, n, k, x.from, y.from)), m, n, k, x, y, store,
                threads);
  }

  static void without_amx(ProductMaker maker, std::int64_t m, std::int64_t n, std::int64_t k,
                          Bf16Source const& x, Bf16Source const& y, detail::PartStore store,
                          int threads) {
    switch (maker) {
      case ProductMaker::avx512:
#if defined(__x86_64__)
        return by_tiles<detail::Avx512Blocks>(m, n, k, x, y, store, threads);
#endif
      case ProductMaker::openblas: return by_blas(m, n, k, x.from, y.from, store, threads);
      case ProductMaker::onednn: return by_onednn(m, n, k, x.from, y.from, store, threads);
    }
  }

#if defined(__x86_64__)
  template <class Blocks>
  static void by_tiles(std::int64_t m, std::int64_t n, std::int64_t k, Bf16Source const& x,
                       Bf16Source const& y, detail::PartStore store, int threads) {
    detail::Bf16TileProduct<Blocks>({{x.from, m, k}, x.tiles()}, {{y.from, n, k}, y.tiles()}, store,
                                    threads)
        .run();
  }
#endif

  /// Blocks of so many rows, columns, and elements of the sums are floats at a time: 14 MiB.
  static constexpr std::int64_t block_rows = 512, block_columns = 1024, block_depth = 2048;

  static std::vector<float>& room(int which) {
    thread_local std::vector<float> all[3];
    return all[which];
  }

  /// Has `multiply(row, column, rows, columns, z)` make each block of the result, and stores it.
  static void in_blocks(std::int64_t m, std::int64_t n, detail::PartStore store, int threads,
                        auto const& multiply) {
    auto& z = room(2);
    z.resize(static_cast<std::size_t>(std::min(m, block_rows) * std::min(n, block_columns)));
    for (std::int64_t column = 0; column < n; column += block_columns)
      for (std::int64_t row = 0; row < m; row += block_rows) {
        auto const rows = std::min(block_rows, m - row);
        auto const columns = std::min(block_columns, n - column);
        multiply(row, column, rows, columns, z.data());
        store_block({row, column, rows, columns, z.data(), columns}, store, threads);
      }
  }

  static void by_onednn(std::int64_t m, std::int64_t n, std::int64_t k, Bf16Operand x,
                        Bf16Operand y, detail::PartStore store, int threads) {
    in_blocks(m, n, store, threads, [&](auto row, auto column, auto rows, auto columns, float* z) {
      OneDnnProduct::multiply(rows, columns, k, x.from(row, 0), y.from(column, 0),
                              FloatResult{z, columns});
    });
  }

  static void by_blas(std::int64_t m, std::int64_t n, std::int64_t k, Bf16Operand x, Bf16Operand y,
                      detail::PartStore store, int threads) {
    in_blocks(m, n, store, threads, [&](auto row, auto column, auto rows, auto columns, float* z) {
      if (k == 0) std::fill_n(z, rows * columns, 0.f);
      for (std::int64_t from = 0; from < k; from += block_depth) {
        auto const depth = std::min(block_depth, k - from);
        auto const a = floats(x.from(row, from), rows, depth, room(0), threads);
        auto const b = floats(y.from(column, from), columns, depth, room(1), threads);
        cblas_sgemm(CblasRowMajor, x.k_stride == 1 ? CblasNoTrans : CblasTrans,
                    y.k_stride == 1 ? CblasTrans : CblasNoTrans, static_cast<int>(rows),
                    static_cast<int>(columns), static_cast<int>(depth), 1, a.at, a.stride, b.at,
                    b.stride, from > 0 ? 1 : 0, z, static_cast<int>(columns));
      }
    });
  }

  struct Floats {
    float const* at;
    int stride;
  };

  /// The block as floats, its rows of memory as rows.
  static Floats floats(Bf16Operand x, std::int64_t lines, std::int64_t depth,
                       std::vector<float>& to, int threads) {
    bool const by_rows = x.k_stride == 1;
    auto const count = by_rows ? lines : depth, length = by_rows ? depth : lines;
    auto const stride = by_rows ? x.line_stride : x.k_stride;
    if (std::ssize(to) < count * length) to.resize(static_cast<std::size_t>(count * length));
    auto* const at = to.data();
#pragma omp parallel for if (threads > 1)
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = 0; j < length; ++j) at[i * length + j] = to_float(x.at[i * stride + j]);
    return {at, static_cast<int>(length)};
  }

  static void store_block(ProductPart const& all, detail::PartStore store, int threads) {
    constexpr std::int64_t part = 32;
#pragma omp parallel for if (threads > 1)
    for (std::int64_t i = 0; i < all.rows; i += part)
      for (std::int64_t j = 0; j < all.columns; j += part)
        store.plain(store.store,
                    {all.row + i, all.column + j, std::min(part, all.rows - i),
                     std::min(part, all.columns - j), all.at + i * all.stride + j, all.stride});
  }
};

}  // namespace nxd
