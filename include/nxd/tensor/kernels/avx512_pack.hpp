// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/avx512_tile.hpp>

namespace nxd {

/// An operand of a product of floats: some vectors, its lines, along which is summed. One of the
/// strides is 1.
struct FloatOperand {
  float const* at;
  std::int64_t line_stride;  ///< from a line to the next
  std::int64_t k_stride;     ///< from an element of a line to the next

  /// What begins `line` lines and `k` elements later.
  constexpr FloatOperand from(std::int64_t line, std::int64_t k) const {
    return {at + line * line_stride + k * k_stride, line_stride, k_stride};
  }
};

}  // namespace nxd

#if defined(__x86_64__)
namespace nxd::detail {

/// Rows of memory that are asked for while others are packed: hardware does not see the next ones.
inline constexpr std::int64_t rows_ahead = 6;

/// `lines` lines of an operand, `steps` long, that are soon to be read.
inline Ahead ahead_of(FloatOperand const& x, std::int64_t lines, std::int64_t steps) {
  if (x.k_stride == 1) return {x.at, x.line_stride, lines, steps};
  return {x.at, x.k_stride, steps, lines};
}

/// Turns `lines` rows of memory, at most 16, `steps` long: a row of `out` for each step, `stride`
/// apart.
[[gnu::target("avx512f")]] inline void turn_rows(FloatOperand const& x, std::int64_t lines,
                                                 std::int64_t steps, float* out,
                                                 std::int64_t stride) {
  for (std::int64_t step = 0; step < steps; step += 16) {
    auto const lanes = first_lanes(steps - step);
    __m512i square[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) __builtin_prefetch(x.at + (i + 16) * x.line_stride + step);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      square[i] = _mm512_maskz_loadu_epi32(i < lines ? lanes : __mmask16{0},
                                           x.at + i * x.line_stride + step);
    turn(square);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      if (step + i < steps) _mm512_store_si512(out + (step + i) * stride, square[i]);
  }
}

/// Right panels whose lines are columns of memory, one after another, `panel` floats apart.
[[gnu::target("avx512f")]] inline void copy_right_columns(FloatOperand const& y, std::int64_t lines,
                                                          std::int64_t steps, float* out,
                                                          std::int64_t panel) {
  for (std::int64_t step = 0; step < steps; ++step) {
    auto const* const row = y.at + step * y.k_stride;
    auto* at = out + step * sum_columns;
    for (std::int64_t line = 0; line < lines; line += sum_columns, at += panel) {
      __builtin_prefetch(row + line + rows_ahead * y.k_stride);
      __builtin_prefetch(row + line + 16 + rows_ahead * y.k_stride);
      _mm512_store_ps(at, _mm512_maskz_loadu_ps(first_lanes(lines - line), row + line));
      _mm512_store_ps(at + 16,
                      _mm512_maskz_loadu_ps(first_lanes(lines - line - 16), row + line + 16));
    }
  }
}

/// Packs panels of the right operand y, `steps` deep: `lines` lines, panel by panel from `out` on.
/// What a panel has beyond them is anything.
inline void pack_right(FloatOperand const& y, std::int64_t lines, std::int64_t steps, float* out) {
  auto const panel = steps * sum_columns;
  if (y.k_stride != 1) return copy_right_columns(y, lines, steps, out, panel);
  for (std::int64_t line = 0; line < lines; line += 16)
    turn_rows(y.from(line, 0), std::min<std::int64_t>(lines - line, 16), steps,
              out + line / sum_columns * panel + line % sum_columns, sum_columns);
}

/// Left panels whose lines are columns of memory, likewise.
[[gnu::target("avx512f")]] inline void copy_left_columns(FloatOperand const& x, std::int64_t lines,
                                                         std::int64_t steps, float* out,
                                                         std::int64_t panel) {
  for (std::int64_t step = 0; step < steps; ++step) {
    auto const* const row = x.at + step * x.k_stride;
    auto* at = out + step * left_step;
    for (std::int64_t line = 0; line < lines; line += sum_rows, at += panel) {
      __builtin_prefetch(row + line + rows_ahead * x.k_stride);
      _mm512_store_ps(
          at, _mm512_maskz_loadu_ps(first_lanes(std::min(lines - line, sum_rows)), row + line));
    }
  }
}

/// Packs panels of the left operand x likewise.
inline void pack_left(FloatOperand const& x, std::int64_t lines, std::int64_t steps, float* out) {
  auto const panel = left_panel_floats(steps);
  if (x.k_stride != 1) return copy_left_columns(x, lines, steps, out, panel);
  for (std::int64_t line = 0; line < lines; line += sum_rows, out += panel)
    turn_rows(x.from(line, 0), std::min(lines - line, sum_rows), steps, out, left_step);
}

}  // namespace nxd::detail
#endif
