// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <nxd/tensor/kernels/plain_attention.hpp>
#include <nxd/tensor/kernels/plain_loss.hpp>
#include <nxd/tensor/kernels/plain_product.hpp>
#include <nxd/tensor/kernels/plain_update.hpp>

namespace nxd {

/// Element by element, and line by line: see `PlainKernels`.
template <class T> struct PlainElementwise {
  /// z = x + y
  static void add(std::int64_t n, T const* x, T const* y, T* z) {
    for (std::int64_t i = 0; i < n; ++i) z[i] = x[i] + y[i];
  }
  /// y += a x
  static void axpy(std::int64_t n, T a, T const* x, T* y) {
    for (std::int64_t i = 0; i < n; ++i) y[i] += a * x[i];
  }
  /// z = a x
  static void scale(std::int64_t n, T a, T const* x, T* z) {
    for (std::int64_t i = 0; i < n; ++i) z[i] = a * x[i];
  }
  /// y[columns][rows][block] = x[rows][columns][block]
  static void transpose_blocks(std::int64_t rows, std::int64_t columns, std::int64_t block,
                               T const* x, T* y) {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < columns; ++c)
        std::copy_n(x + (r * columns + c) * block, block, y + (c * rows + r) * block);
  }
  /// The sum of squares, in double.
  static double sum_of_squares(std::int64_t n, T const* x) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i)
      sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return sum;
  }
  /// The largest magnitude; NaN if there is one.
  static double max_abs(std::int64_t n, T const* x) {
    double most = 0;
    for (std::int64_t i = 0; i < n; ++i)
      if (auto const a = std::abs(static_cast<double>(x[i])); !(a <= most)) {
        if (std::isnan(a)) return a;
        most = a;
      }
    return most;
  }

  /// y[rows, columns] = x / sqrt(mean(x^2) + epsilon) * weight[columns]
  static void rms_norm(std::int64_t rows, std::int64_t columns, double epsilon, T const* x,
                       T const* weight, T* y, T* inverse_rms) {
    for (std::int64_t r = 0; r < rows; ++r) {
      auto const* const line = x + r * columns;
      T squares{};
      for (std::int64_t c = 0; c < columns; ++c) squares += line[c] * line[c];
      auto const inverse =
          1 / std::sqrt(squares / static_cast<T>(columns) + static_cast<T>(epsilon));
      inverse_rms[r] = inverse;
      for (std::int64_t c = 0; c < columns; ++c) y[r * columns + c] = line[c] * inverse * weight[c];
    }
  }
  /// Likewise backward: dx of every line, dweight summed over the lines.
  static void rms_norm_pull(std::int64_t rows, std::int64_t columns, T const* x, T const* weight,
                            T const* inverse_rms, T const* dy, T* dx, T* dweight) {
    std::fill_n(dweight, columns, T{});
    for (std::int64_t r = 0; r < rows; ++r) {
      auto const at = r * columns;
      auto const inverse = inverse_rms[r];
      T shared{};
      for (std::int64_t c = 0; c < columns; ++c) {
        shared += dy[at + c] * weight[c] * x[at + c];
        dweight[c] += dy[at + c] * x[at + c] * inverse;
      }
      shared *= inverse * inverse / static_cast<T>(columns);
      for (std::int64_t c = 0; c < columns; ++c)
        dx[at + c] = inverse * (dy[at + c] * weight[c] - x[at + c] * shared);
    }
  }

  /// y = exp(factor x) / sum(exp(factor x)) of every line
  static void softmax(std::int64_t rows, std::int64_t columns, double factor, T const* x, T* y) {
    auto const f = static_cast<T>(factor);
    for (std::int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
      auto const top = *std::max_element(x, x + columns);
      T sum{};
      for (std::int64_t c = 0; c < columns; ++c) sum += y[c] = std::exp(f * (x[c] - top));
      for (std::int64_t c = 0; c < columns; ++c) y[c] /= sum;
    }
  }
  /// Likewise backward.
  static void softmax_pull(std::int64_t rows, std::int64_t columns, double factor, T const* y,
                           T const* dy, T* dx) {
    auto const f = static_cast<T>(factor);
    for (std::int64_t r = 0; r < rows; ++r, y += columns, dy += columns, dx += columns) {
      T mean{};
      for (std::int64_t c = 0; c < columns; ++c) mean += y[c] * dy[c];
      for (std::int64_t c = 0; c < columns; ++c) dx[c] = f * y[c] * (dy[c] - mean);
    }
  }

  /// y[rows, columns] = silu(gate) up, of x[rows, 2, columns]: gate, then up
  static void swiglu(std::int64_t rows, std::int64_t columns, T const* x, T* y) {
    for (std::int64_t r = 0; r < rows; ++r, x += 2 * columns, y += columns)
      for (std::int64_t c = 0; c < columns; ++c)
        y[c] = x[c] / (1 + std::exp(-x[c])) * x[columns + c];
  }
  /// Likewise backward.
  static void swiglu_pull(std::int64_t rows, std::int64_t columns, T const* x, T const* dy, T* dx) {
    for (std::int64_t r = 0; r < rows; ++r, x += 2 * columns, dx += 2 * columns, dy += columns)
      for (std::int64_t c = 0; c < columns; ++c) {
        auto const share = 1 / (1 + std::exp(-x[c]));
        dx[c] = dy[c] * x[columns + c] * share * (1 + x[c] * (1 - share));
        dx[columns + c] = dy[c] * x[c] * share;
      }
  }

  /// y = x with its pairs (i, i + half) turned; direction -1 turns back
  static void rotate(Rotary const& s, T const* x, T const* cosines, T const* sines, T* y,
                     int direction) {
    auto const half = s.head_dim / 2;
    auto const sign = static_cast<T>(direction);
    for (std::int64_t token = 0; token < s.batch * s.positions; ++token) {
      auto const* const c = cosines + token % s.positions * half;
      auto const* const n = sines + token % s.positions * half;
      for (std::int64_t h = 0; h < s.heads; ++h, x += s.head_dim, y += s.head_dim)
        for (std::int64_t i = 0; i < half; ++i) {
          auto const a = x[i], b = x[half + i];
          y[i] = a * c[i] - sign * b * n[i];
          y[half + i] = b * c[i] + sign * a * n[i];
        }
    }
  }

  /// out[i] = table[ids[i] - first], or zeros where that row is not here
  static void gather_rows(Rows const& s, std::int32_t const* ids, T const* table, T* out) {
    for (std::int64_t i = 0; i < s.count; ++i, out += s.columns) {
      auto const row = ids[i] - s.first;
      if (row >= 0 && row < s.rows)
        std::copy_n(table + row * s.columns, s.columns, out);
      else
        std::fill_n(out, s.columns, T{});
    }
  }
  /// table[ids[i] - first] += dout[i], where that row is here
  static void scatter_add_rows(Rows const& s, std::int32_t const* ids, T const* dout, T* table) {
    for (std::int64_t i = 0; i < s.count; ++i, dout += s.columns) {
      auto const row = ids[i] - s.first;
      if (row >= 0 && row < s.rows) axpy(s.columns, 1, dout, table + row * s.columns);
    }
  }
};

/// Kernels that anyone can check by reading: plain loops over elements of type T. What other
/// kernels are tested against, and what a backend of one's own inherits.
template <class T>
struct PlainKernels : PlainElementwise<T>,
                      PlainProduct<T>,
                      PlainAttention<T>,
                      PlainLoss<T>,
                      PlainUpdate<T> {};

}  // namespace nxd
