// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/simd_vectors.hpp>

namespace nxd {

/// Element by element, and line by line: see `SimdKernels`.
struct SimdLines {
  /// Pieces of 64 KiB of floats: several streams of them fit a second-level cache.
  static void in_pieces(std::int64_t n, auto const& work) {
    constexpr std::int64_t piece = std::int64_t{1} << 14;
    detail::for_each_index((n + piece - 1) / piece, n, [&](std::int64_t p) {
      work(p * piece, std::min(piece, n - p * piece));
    });
  }
  static void add(std::int64_t n, float const* x, float const* y, float* z) {
    using namespace detail;
    vectorize_over_threads(
        n, [&](std::int64_t i) { store(z + i, load(x + i) + load(y + i)); },
        [&](std::int64_t i) { z[i] = x[i] + y[i]; });
  }
  static void axpy(std::int64_t n, float a, float const* x, float* y) {
    using namespace detail;
    vectorize_over_threads(
        n, [&](std::int64_t i) { store(y + i, load(y + i) + Lanes(a) * load(x + i)); },
        [&](std::int64_t i) { y[i] += a * x[i]; });
  }
  static void scale(std::int64_t n, float a, float const* x, float* z) {
    using namespace detail;
    vectorize_over_threads(
        n, [&](std::int64_t i) { store(z + i, Lanes(a) * load(x + i)); },
        [&](std::int64_t i) { z[i] = a * x[i]; });
  }

  /// In pieces that are as they are on any number of threads, each in float, their sum in double.
  static double sum_of_squares(std::int64_t n, float const* x) {
    constexpr std::int64_t piece = 4096, at_a_time = 512;
    auto const pieces = (n + piece - 1) / piece;
    double total = 0;
    std::array<float, at_a_time> sums;
    for (std::int64_t from = 0; from < pieces; from += at_a_time) {
      auto const some = std::min(at_a_time, pieces - from);
      detail::for_each_index(some, some * piece, [&](std::int64_t p) {
        auto const at = (from + p) * piece, count = std::min(piece, n - at);
        sums[static_cast<std::size_t>(p)] = detail::dot(count, x + at, x + at);
      });
      for (std::int64_t p = 0; p < some; ++p)
        total += static_cast<double>(sums[static_cast<std::size_t>(p)]);
    }
    return total;
  }

  static void rms_norm(std::int64_t rows, std::int64_t columns, double epsilon, float const* x,
                       float const* weight, float* y, float* inverse_rms) {
    using namespace detail;
    for_each_index(rows, rows * columns, [&](std::int64_t r) {
      auto const* const line = x + r * columns;
      auto* const out = y + r * columns;
      auto const mean = dot(columns, line, line) / static_cast<float>(columns);
      auto const inverse = 1 / std::sqrt(mean + static_cast<float>(epsilon));
      inverse_rms[r] = inverse;
      vectorize(
          columns,
          [&](std::int64_t i) {
            store(out + i, load(line + i) * Lanes(inverse) * load(weight + i));
          },
          [&](std::int64_t i) { out[i] = line[i] * inverse * weight[i]; });
    });
  }

  static void rms_norm_pull(std::int64_t rows, std::int64_t columns, float const* x,
                            float const* weight, float const* inverse_rms, float const* dy,
                            float* dx, float* dweight) {
    using namespace detail;
    for_each_index(rows, rows * columns, [&](std::int64_t r) {
      auto const* const in = x + r * columns;
      auto const* const up = dy + r * columns;
      auto* const out = dx + r * columns;
      auto const inverse = inverse_rms[r];
      auto shared = sum_over(
          columns, [&](std::int64_t i) { return load(up + i) * load(weight + i) * load(in + i); },
          [&](std::int64_t i) { return up[i] * weight[i] * in[i]; });
      shared *= inverse * inverse / static_cast<float>(columns);
      vectorize(
          columns,
          [&](std::int64_t i) {
            store(out + i, Lanes(inverse) *
                               (load(up + i) * load(weight + i) - load(in + i) * Lanes(shared)));
          },
          [&](std::int64_t i) { out[i] = inverse * (up[i] * weight[i] - in[i] * shared); });
    });
    // Column by column, each over all rows in order: the same on any number of threads.
    constexpr std::int64_t strip = 256;
    for_each_index((columns + strip - 1) / strip, rows * columns, [&](std::int64_t s) {
      auto const from = s * strip, count = std::min(strip, columns - from);
      std::fill_n(dweight + from, count, 0.f);
      for (std::int64_t r = 0; r < rows; ++r) {
        auto const* const in = x + r * columns + from;
        auto const* const up = dy + r * columns + from;
        auto* const sum = dweight + from;
        auto const inverse = inverse_rms[r];
        vectorize(
            count,
            [&](std::int64_t i) {
              store(sum + i, load(sum + i) + load(up + i) * load(in + i) * Lanes(inverse));
            },
            [&](std::int64_t i) { sum[i] += up[i] * in[i] * inverse; });
      }
    });
  }

  static void swiglu(std::int64_t rows, std::int64_t columns, float const* x, float* y) {
    using namespace detail;
    for_each_index(rows, 8 * rows * columns, [&](std::int64_t r) {
      auto const* const gate = x + 2 * r * columns;
      auto const* const up = gate + columns;
      auto* const out = y + r * columns;
      vectorize(
          columns,
          [&](std::int64_t i) {
            auto const g = load(gate + i);
            store(out + i, g * sigmoid(g) * load(up + i));
          },
          [&](std::int64_t i) { out[i] = gate[i] * sigmoid(gate[i]) * up[i]; });
    });
  }

  static void swiglu_pull(std::int64_t rows, std::int64_t columns, float const* x, float const* dy,
                          float* dx) {
    using namespace detail;
    for_each_index(rows, 8 * rows * columns, [&](std::int64_t r) {
      auto const* const gate = x + 2 * r * columns;
      auto const* const up = gate + columns;
      auto const* const d = dy + r * columns;
      auto* const dgate = dx + 2 * r * columns;
      auto* const dup = dgate + columns;
      auto const pull = [](auto g, auto u, auto slope, auto one) {
        auto const s = sigmoid(g);
        return std::pair{slope * u * s * (one + g * (one - s)), slope * g * s};
      };
      vectorize(
          columns,
          [&](std::int64_t i) {
            auto const both = pull(load(gate + i), load(up + i), load(d + i), Lanes(1.f));
            store(dgate + i, both.first);
            store(dup + i, both.second);
          },
          [&](std::int64_t i) {
            auto const both = pull(gate[i], up[i], d[i], 1.f);
            dgate[i] = both.first;
            dup[i] = both.second;
          });
    });
  }

  static void rotate(Rotary const& s, float const* x, float const* cosines, float const* sines,
                     float* y, int direction) {
    auto const line = s.heads * s.head_dim;
    detail::for_each_index(
        s.batch * s.positions, s.batch * s.positions * line, [&](std::int64_t t) {
          auto const at = t % s.positions * (s.head_dim / 2);
          PlainElementwise<float>::rotate({1, 1, s.heads, s.head_dim}, x + t * line, cosines + at,
                                          sines + at, y + t * line, direction);
        });
  }

  static void gather_rows(Rows const& s, std::int32_t const* ids, float const* table, float* out) {
    detail::for_each_index(s.count, s.count * s.columns, [&](std::int64_t i) {
      PlainElementwise<float>::gather_rows({1, s.first, s.rows, s.columns}, ids + i, table,
                                           out + i * s.columns);
    });
  }
};

}  // namespace nxd
