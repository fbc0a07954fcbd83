// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include <nxd/core/dtype.hpp>
#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/simd_lines.hpp>
#include <nxd/tensor/kernels/simd_loss.hpp>

namespace nxd {

namespace detail {

/// out = in, exactly.
inline void widen_line(std::int64_t n, bf16 const* in, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = to_float(in[i]);
}
/// out = the nearest bf16 of in, ties to even.
inline void narrow_line(std::int64_t n, float const* in, bf16* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = to_bf16(in[i]);
}

/// Room for floats of the calling thread's own, `slot` by `slot`, which grows and stays.
inline float* float_space(std::size_t slot, std::int64_t n) {
  thread_local std::array<std::vector<float>, 6> space;
  auto& mine = space[slot];
  if (std::ssize(mine) < n) mine.resize(static_cast<std::size_t>(n));
  return mine.data();
}

/// Likewise, with `n` elements widened into it.
inline float* widened(std::size_t slot, std::int64_t n, bf16 const* in) {
  auto* const out = float_space(slot, n);
  widen_line(n, in, out);
  return out;
}

}  // namespace detail

/// Element by element, and line by line, of bf16: each line is widened into a thread's cache, the
/// arithmetic is that of floats, and what comes of it is rounded once. See `SimdKernels`.
struct Bf16Lines {
  static void cast(std::int64_t n, bf16 const* x, float* y) {
    SimdLines::in_pieces(
        n, [&](std::int64_t i, std::int64_t m) { detail::widen_line(m, x + i, y + i); });
  }
  static void cast(std::int64_t n, float const* x, bf16* y) {
    SimdLines::in_pieces(
        n, [&](std::int64_t i, std::int64_t m) { detail::narrow_line(m, x + i, y + i); });
  }
  /// y = one of the two bf16 around x, by the noise of the element's number in its tensor.
  static void cast_stochastic(std::span<Run const> runs, Noise const& noise, float const* x,
                              bf16* y) {
    for (auto const& run : runs) {
      auto const mine = noise.of(run.tensor);
      SimdLines::in_pieces(run.count, [&](std::int64_t from, std::int64_t m) {
        auto const at = run.offset + from;
        mine.for_each(static_cast<std::uint64_t>(run.first + from), m,
                      [&](std::int64_t k, std::uint16_t bits) {
                        y[at + k] = to_bf16_stochastic(x[at + k], bits);
                      });
      });
    }
  }
  /// z = x + y, of bf16 or floats each
  template <class X, class Y, class Z>
  static void add(std::int64_t n, X const* x, Y const* y, Z* z) {
    SimdLines::in_pieces(n, [&](std::int64_t from, std::int64_t m) {
      for (std::int64_t i = from; i < from + m; ++i) z[i] = narrow<Z>(widen(x[i]) + widen(y[i]));
    });
  }
  /// y += a x
  template <class X, class Y> static void axpy(std::int64_t n, float a, X const* x, Y* y) {
    SimdLines::in_pieces(n, [&](std::int64_t from, std::int64_t m) {
      for (std::int64_t i = from; i < from + m; ++i)
        y[i] = narrow<Y>(widen(y[i]) + a * widen(x[i]));
    });
  }
  /// z = a x
  static void scale(std::int64_t n, float a, bf16 const* x, bf16* z) {
    SimdLines::in_pieces(n, [&](std::int64_t from, std::int64_t m) {
      for (std::int64_t i = from; i < from + m; ++i) z[i] = to_bf16(a * to_float(x[i]));
    });
  }

  static void rms_norm(std::int64_t rows, std::int64_t columns, double epsilon, bf16 const* x,
                       bf16 const* weight, bf16* y, float* inverse_rms) {
    std::vector<float> scales(static_cast<std::size_t>(columns));
    detail::widen_line(columns, weight, scales.data());
    detail::for_each_index(rows, rows * columns, [&](std::int64_t r) {
      auto* const line = detail::widened(0, columns, x + r * columns);
      SimdLines::rms_norm(1, columns, epsilon, line, scales.data(), line, inverse_rms + r);
      detail::narrow_line(columns, line, y + r * columns);
    });
  }

  /// dweight is a sum over all lines, and stays in floats.
  static void rms_norm_pull(std::int64_t rows, std::int64_t columns, bf16 const* x,
                            bf16 const* weight, float const* inverse_rms, bf16 const* dy, bf16* dx,
                            float* dweight) {
    std::vector<float> scales(static_cast<std::size_t>(columns));
    detail::widen_line(columns, weight, scales.data());
    detail::for_each_index(rows, rows * columns, [&](std::int64_t r) {
      auto const* const in = detail::widened(0, columns, x + r * columns);
      auto const* const up = detail::widened(1, columns, dy + r * columns);
      auto* const out = detail::float_space(2, columns);
      SimdLines::rms_norm_pull(1, columns, in, scales.data(), inverse_rms + r, up, out,
                               detail::float_space(3, columns));
      detail::narrow_line(columns, out, dx + r * columns);
    });
    // Column by column, each over all rows in order: the same on any number of threads.
    constexpr std::int64_t strip = 256;
    detail::for_each_index((columns + strip - 1) / strip, rows * columns, [&](std::int64_t s) {
      auto const from = s * strip, to = std::min(columns, from + strip);
      std::fill(dweight + from, dweight + to, 0.f);
      for (std::int64_t r = 0; r < rows; ++r) {
        auto const* const in = x + r * columns;
        auto const* const up = dy + r * columns;
        auto const inverse = inverse_rms[r];
        for (auto c = from; c < to; ++c) dweight[c] += to_float(up[c]) * to_float(in[c]) * inverse;
      }
    });
  }

  static void swiglu(std::int64_t rows, std::int64_t columns, bf16 const* x, bf16* y) {
    detail::for_each_index(rows, 8 * rows * columns, [&](std::int64_t r) {
      auto const* const in = detail::widened(0, 2 * columns, x + 2 * r * columns);
      auto* const out = detail::float_space(1, columns);
      SimdLines::swiglu(1, columns, in, out);
      detail::narrow_line(columns, out, y + r * columns);
    });
  }
  static void swiglu_pull(std::int64_t rows, std::int64_t columns, bf16 const* x, bf16 const* dy,
                          bf16* dx) {
    detail::for_each_index(rows, 8 * rows * columns, [&](std::int64_t r) {
      auto const* const in = detail::widened(0, 2 * columns, x + 2 * r * columns);
      auto const* const up = detail::widened(1, columns, dy + r * columns);
      auto* const out = detail::float_space(2, 2 * columns);
      SimdLines::swiglu_pull(1, columns, in, up, out);
      detail::narrow_line(2 * columns, out, dx + 2 * r * columns);
    });
  }

  static void rotate(Rotary const& s, bf16 const* x, float const* cosines, float const* sines,
                     bf16* y, int direction) {
    auto const line = s.heads * s.head_dim;
    detail::for_each_index(s.batch * s.positions, s.batch * s.positions * line,
                           [&](std::int64_t t) {
                             auto const at = t % s.positions * (s.head_dim / 2);
                             auto const* const in = detail::widened(0, line, x + t * line);
                             auto* const out = detail::float_space(1, line);
                             SimdLines::rotate({1, 1, s.heads, s.head_dim}, in, cosines + at,
                                               sines + at, out, direction);
                             detail::narrow_line(line, out, y + t * line);
                           });
  }

  static void gather_rows(Rows const& s, std::int32_t const* ids, bf16 const* table, bf16* out) {
    detail::for_each_index(s.count, s.count * s.columns, [&](std::int64_t i) {
      PlainElementwise<bf16>::gather_rows({1, s.first, s.rows, s.columns}, ids + i, table,
                                          out + i * s.columns);
    });
  }
  template <class T>
  static void scatter_add_rows(Rows const& s, std::int32_t const* ids, bf16 const* dout, T* table) {
    for (std::int64_t i = 0; i < s.count; ++i, dout += s.columns) {
      auto const row = ids[i] - s.first;
      if (row >= 0 && row < s.rows) axpy(s.columns, 1, dout, table + row * s.columns);
    }
  }

  static void softmax(std::int64_t rows, std::int64_t columns, double factor, bf16 const* x,
                      bf16* y) {
    detail::for_each_index(rows, 8 * rows * columns, [&](std::int64_t r) {
      auto* const line = detail::widened(0, columns, x + r * columns);
      SimdLoss::softmax(1, columns, factor, line, line);
      detail::narrow_line(columns, line, y + r * columns);
    });
  }

  static void cross_entropy_stats(CrossEntropy const& s, bf16 const* logits,
                                  std::int32_t const* labels, float* stats) {
    detail::for_each_index(s.rows, 8 * s.rows * s.columns, [&](std::int64_t r) {
      auto const* const line = detail::widened(0, s.columns, logits + r * s.columns);
      SimdLoss::cross_entropy_stats(row_of(s), line, labels + r, stats + 4 * r);
    });
  }
  static void cross_entropy_pull(CrossEntropy const& s, bf16 const* logits,
                                 std::int32_t const* labels, float const* log_sum_exp,
                                 float const* scale, CrossEntropyOptions const& options,
                                 bf16* dlogits) {
    detail::for_each_index(s.rows, 8 * s.rows * s.columns, [&](std::int64_t r) {
      auto* const line = detail::widened(0, s.columns, logits + r * s.columns);
      SimdLoss::cross_entropy_pull(row_of(s), line, labels + r, log_sum_exp + r, scale + r, options,
                                   line);
      detail::narrow_line(s.columns, line, dlogits + r * s.columns);
    });
  }

 private:
  static CrossEntropy row_of(CrossEntropy s) {
    s.rows = 1;
    return s;
  }
};

}  // namespace nxd
