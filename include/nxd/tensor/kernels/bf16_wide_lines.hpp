// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/bf16_lines.hpp>
#include <nxd/tensor/kernels/wide_lines.hpp>
#include <nxd/tensor/kernels/wide_loss.hpp>

#if defined(__x86_64__)
namespace nxd {

/// `Bf16Lines` by vectors of 512 bits, for processors that `has_avx512_bf16()` knows. Results
/// differ from those by what rounding allows, but for rounding by chance: that is the same bit for
/// bit.
struct Bf16WideLines : Bf16Lines {
  template <class X, class Y> static void cast(std::int64_t n, X const* x, Y* y) {
    SimdLines::in_pieces(n,
                         [&](std::int64_t i, std::int64_t m) { Wide::scale(m, 1, x + i, y + i); });
  }
  static void cast_stochastic(std::span<Run const> runs, Noise const& noise, float const* x,
                              bf16* y) {
    for (auto const& run : runs) {
      auto const mine = noise.of(run.tensor);
      SimdLines::in_pieces(run.count, [&](std::int64_t from, std::int64_t m) {
        detail::WideLoss::round_by(mine, static_cast<std::uint64_t>(run.first + from), m,
                                   x + run.offset + from, y + run.offset + from);
      });
    }
  }
  template <class X, class Y, class Z>
  static void add(std::int64_t n, X const* x, Y const* y, Z* z) {
    SimdLines::in_pieces(
        n, [&](std::int64_t i, std::int64_t m) { Wide::add(m, 1, x + i, y + i, z + i); });
  }
  template <class X, class Y> static void axpy(std::int64_t n, float a, X const* x, Y* y) {
    SimdLines::in_pieces(
        n, [&](std::int64_t i, std::int64_t m) { Wide::add(m, a, x + i, y + i, y + i); });
  }
  static void scale(std::int64_t n, float a, bf16 const* x, bf16* z) {
    SimdLines::in_pieces(n,
                         [&](std::int64_t i, std::int64_t m) { Wide::scale(m, a, x + i, z + i); });
  }

  static void rms_norm(std::int64_t rows, std::int64_t columns, double epsilon, bf16 const* x,
                       bf16 const* weight, bf16* y, float* inverse_rms) {
    detail::for_each_index(rows, rows * columns, [&](std::int64_t r) {
      inverse_rms[r] = Wide::rms_norm(columns, static_cast<float>(epsilon), x + r * columns, weight,
                                      y + r * columns);
    });
  }
  /// In one pass over the lines, some at a time; each part has sums of its own for the weights.
  static void rms_norm_pull(std::int64_t rows, std::int64_t columns, bf16 const* x,
                            bf16 const* weight, float const* inverse_rms, bf16 const* dy, bf16* dx,
                            float* dweight) {
    constexpr std::int64_t most_parts = 32;  // as many on any number of threads
    auto const part = (rows + most_parts - 1) / most_parts, parts = (rows + part - 1) / part;
    auto const width = Wide::sums_of(columns);
    auto* const sums = detail::float_space(0, parts * width);
    detail::for_each_index(parts, rows * columns, [&](std::int64_t p) {
      std::fill_n(sums + p * width, width, 0.f);
      for (auto r = p * part; r < std::min(rows, (p + 1) * part); ++r)
        Wide::rms_norm_pull(columns, x + r * columns, weight, inverse_rms[r], dy + r * columns,
                            dx + r * columns, sums + p * width);
    });
    Wide::add_up(columns, parts, sums, dweight);
  }

  static void swiglu(std::int64_t rows, std::int64_t columns, bf16 const* x, bf16* y) {
    detail::for_each_index(rows, 2 * rows * columns, [&](std::int64_t r) {
      Wide::swiglu(columns, x + 2 * r * columns, y + r * columns);
    });
  }
  static void swiglu_pull(std::int64_t rows, std::int64_t columns, bf16 const* x, bf16 const* dy,
                          bf16* dx) {
    detail::for_each_index(rows, 2 * rows * columns, [&](std::int64_t r) {
      Wide::swiglu_pull(columns, x + 2 * r * columns, dy + r * columns, dx + 2 * r * columns);
    });
  }

  static void rotate(Rotary const& s, bf16 const* x, float const* cosines, float const* sines,
                     bf16* y, int direction) {
    auto const line = s.heads * s.head_dim, half = s.head_dim / 2;
    detail::for_each_index(s.batch * s.positions, s.batch * s.positions * line,
                           [&](std::int64_t t) {
                             auto const at = t % s.positions * half;
                             Wide::rotate(s.heads, half, x + t * line, cosines + at, sines + at,
                                          static_cast<float>(direction), y + t * line);
                           });
  }

  template <class T>
  static void scatter_add_rows(Rows const& s, std::int32_t const* ids, bf16 const* dout, T* table) {
    for (std::int64_t i = 0; i < s.count; ++i, dout += s.columns)
      if (auto const row = ids[i] - s.first; row >= 0 && row < s.rows) {
        auto* const to = table + row * s.columns;
        Wide::add(s.columns, 1, dout, to, to);
      }
  }

  static void cross_entropy_stats(CrossEntropy const& s, bf16 const* logits,
                                  std::int32_t const* labels, float* stats) {
    detail::for_each_index(s.rows, 2 * s.rows * s.columns, [&](std::int64_t r) {
      auto const* const x = logits + r * s.columns;
      auto const line = detail::WideLoss::stats(s.valid, x);
      auto const label = labels[r] - s.first;
      auto* const out = stats + 4 * r;
      out[0] = line.top;
      out[1] = line.powers;
      out[2] = label >= 0 && label < s.valid ? to_float(x[label]) : 0;
      out[3] = line.sum;
    });
  }
  static void cross_entropy_pull(CrossEntropy const& s, bf16 const* logits,
                                 std::int32_t const* labels, float const* log_sum_exp,
                                 float const* scale, CrossEntropyOptions const& options,
                                 bf16* dlogits) {
    auto const smooth = static_cast<float>(options.label_smoothing);
    auto const share =
        static_cast<float>(options.label_smoothing / static_cast<double>(options.vocabulary));
    auto const z = static_cast<float>(2 * options.z_loss);
    detail::for_each_index(s.rows, 2 * s.rows * s.columns, [&](std::int64_t r) {
      auto const* const x = logits + r * s.columns;
      auto* const d = dlogits + r * s.columns;
      if (labels[r] == s.ignore_index) return std::fill_n(d, s.columns, bf16{}), void();
      auto const sum = log_sum_exp[r];
      auto const factor = scale[r] * (1 + z * sum), less = scale[r] * share;
      auto const label = labels[r] - s.first;
      bool const here = label >= 0 && label < s.valid;
      auto const slope = here ? factor * std::exp(to_float(x[label]) - sum) - less : 0;
      detail::WideLoss::slopes(s.valid, x, sum, factor, less, d);
      if (here) d[label] = to_bf16(slope - scale[r] * (1 - smooth));
      std::fill_n(d + s.valid, s.columns - s.valid, bf16{});
    });
  }

 private:
  using Wide = detail::WideLines;
};

}  // namespace nxd
#endif
