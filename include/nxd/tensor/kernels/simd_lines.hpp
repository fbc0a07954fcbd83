// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>

#include <xsimd/xsimd.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <nxd/tensor/kernels/plain.hpp>

namespace nxd {

/// Threads that the kernels of a rank run on.
inline std::int64_t thread_count() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

namespace detail {

using Lanes = xsimd::batch<float>;
inline constexpr auto lane_count = static_cast<std::int64_t>(Lanes::size);

/// Work on fewer elements than this is not worth waking threads for.
inline constexpr std::int64_t grain = std::int64_t{1} << 15;

/// Calls `work(i)` for i in [0, n), over threads if `elements` in all are many. Each i is
/// independent, so results do not depend on the threads.
void for_each_index(std::int64_t n, std::int64_t elements, auto const& work) {
#pragma omp parallel for schedule(static) if (elements > grain)
  for (std::int64_t i = 0; i < n; ++i) work(i);
}

/// Calls `lanes(i)` for whole vectors of [0, n) and `one(i)` for the elements that are left.
inline void vectorize(std::int64_t n, auto const& lanes, auto const& one) {
  std::int64_t i = 0;
  for (; i + lane_count <= n; i += lane_count) lanes(i);
  for (; i < n; ++i) one(i);
}

/// Likewise, in even pieces over threads.
inline void vectorize_over_threads(std::int64_t n, auto const& lanes, auto const& one) {
  auto const piece = std::int64_t{1} << 14;
  for_each_index((n + piece - 1) / piece, n, [&](std::int64_t p) {
    auto const from = p * piece, count = std::min(piece, n - from);
    vectorize(
        count, [&](std::int64_t i) { lanes(from + i); }, [&](std::int64_t i) { one(from + i); });
  });
}

inline Lanes load(float const* p) { return xsimd::load_unaligned(p); }
inline void store(float* p, Lanes v) { xsimd::store_unaligned(p, v); }

/// The sum of `term(i)` over [0, n): four running sums of vectors, joined in one order.
inline float sum_over(std::int64_t n, auto const& lanes, auto const& one) {
  std::array<Lanes, 4> sums{Lanes(0.f), Lanes(0.f), Lanes(0.f), Lanes(0.f)};
  std::int64_t i = 0;
  for (; i + 4 * lane_count <= n; i += 4 * lane_count)
    for (std::size_t s = 0; s < 4; ++s)
      sums[s] += lanes(i + static_cast<std::int64_t>(s) * lane_count);
  for (; i + lane_count <= n; i += lane_count) sums[0] += lanes(i);
  auto total = xsimd::hadd((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < n; ++i) total += one(i);
  return total;
}

inline float dot(std::int64_t n, float const* x, float const* y) {
  return sum_over(
      n, [&](std::int64_t i) { return load(x + i) * load(y + i); },
      [&](std::int64_t i) { return x[i] * y[i]; });
}

inline float largest(std::int64_t n, float const* x) {
  Lanes top(-std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + lane_count <= n; i += lane_count) top = xsimd::max(top, load(x + i));
  auto most = -std::numeric_limits<float>::infinity();
  alignas(64) std::array<float, static_cast<std::size_t>(lane_count)> parts;
  top.store_aligned(parts.data());
  for (auto const part : parts) most = std::max(most, part);
  for (; i < n; ++i) most = std::max(most, x[i]);
  return most;
}

inline Lanes sigmoid(Lanes x) { return Lanes(1.f) / (Lanes(1.f) + xsimd::exp(-x)); }
inline float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

}  // namespace detail

/// Element by element, and line by line: see `SimdKernels`.
struct SimdLines {
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
    constexpr std::int64_t piece = 4096;
    auto const pieces = (n + piece - 1) / piece;
    double total = 0;
    for (std::int64_t p = 0; p < pieces; ++p) {
      auto const count = std::min(piece, n - p * piece);
      total += static_cast<double>(detail::dot(count, x + p * piece, x + p * piece));
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
