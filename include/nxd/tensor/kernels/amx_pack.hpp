// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx.hpp>
#include <nxd/tensor/kernels/avx512_lanes.hpp>

#if defined(__x86_64__)
#include <algorithm>
#include <array>

#include <immintrin.h>

// A tile is 16 rows of 16 pairs of bf16. A step is 32 numbers deep: pair p of a line is its numbers
// p and p + 16. A panel is 32 lines: two tiles a step. An operand is packed panel by panel, in it
// step by step, in it part by part (nearest, remainder), in it tile by tile.

namespace nxd::detail {

inline constexpr std::int64_t tile_lines = 16, panel_lines = 32, step_depth = 32, tile_bytes = 1024;

/// Left: a tile's rows are lines. Right: a tile's rows are pairs, lines go along them.
enum class AmxSide { left, right };

/// One operand of a product: `lines` vectors, `depth` long; neighbours along one of both are
/// neighbours in memory.
struct AmxOperand {
  float const* at;
  std::int64_t lines, depth, line_stride, depth_stride;
  AmxSide side;

  AmxOperand part(std::int64_t line, std::int64_t most_lines, std::int64_t from,
                  std::int64_t most_depth) const {
    return {at + line * line_stride + from * depth_stride,
            std::min(most_lines, lines - line),
            std::min(most_depth, depth - from),
            line_stride,
            depth_stride,
            side};
  }
  std::int64_t panels() const { return (lines + panel_lines - 1) / panel_lines; }
  std::int64_t steps() const { return (depth + step_depth - 1) / step_depth; }
  bool deep() const { return depth_stride == 1; }
};

/// The same where the tile lies in memory.
[[gnu::target("avx512bf16")]] inline void turn(std::byte* tile) {
  __m512i rows[16];
  auto* const at = reinterpret_cast<__m512i*>(tile);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = at[i];
  turn(rows);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) at[i] = rows[i];
}

/// 16 pairs of bf16 of low and high, stored; if split in two, their remainders a panel's two tiles
/// on.
template <Bf16Terms split>
[[gnu::target("avx512bf16")]] inline void store_pairs(__m512 low, __m512 high, std::byte* out) {
  alignas(64) static constexpr std::array<std::uint16_t, 32> order{
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  auto const pairs = _mm512_load_si512(order.data());
  auto const nearest =
      _mm512_permutexvar_epi16(pairs, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
  _mm512_store_si512(out, nearest);
  if constexpr (split == Bf16Terms::two) {
    auto const upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    auto const low_nearest = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(every_lane, nearest, 16));
    auto const high_nearest = _mm512_castsi512_ps(_mm512_and_si512(nearest, upper));
    auto const rest =
        _mm512_cvtne2ps_pbh(_mm512_sub_ps(high, high_nearest), _mm512_sub_ps(low, low_nearest));
    _mm512_store_si512(out + 2 * tile_bytes,
                       _mm512_permutexvar_epi16(pairs, reinterpret_cast<__m512i>(rest)));
  }
}

/// A tile of x[16 lines, 32 deep]. What x lacks is zero.
template <Bf16Terms split>
[[gnu::target("avx512bf16")]] inline void pack_tile(AmxOperand const& x, std::byte* out) {
  bool const deep = x.deep();
  auto const low = first_lanes(deep ? x.depth : x.lines);
  auto const high = deep ? first_lanes(x.depth - 16) : low;
  auto const count = deep ? x.lines : x.depth, high_count = deep ? x.lines : x.depth - 16;
  auto const stride = deep ? x.line_stride : x.depth_stride;
  for (std::int64_t i = 0; i < tile_lines; ++i) {
    auto const* const at = x.at + i * stride;
    store_pairs<split>(
        _mm512_maskz_loadu_ps(i < count ? low : __mmask16{0}, at),
        _mm512_maskz_loadu_ps(i < high_count ? high : __mmask16{0}, at + 16 * x.depth_stride),
        out + i * 64);
  }
  if (deep == (x.side == AmxSide::left)) return;
  turn(out);
  if constexpr (split == Bf16Terms::two) turn(out + 2 * tile_bytes);
}

/// Packs panels [first, last) of all of x's steps; `out` is where panel 0 goes.
template <Bf16Terms split>
inline void pack(AmxOperand const& x, std::int64_t first, std::int64_t last, std::byte* out) {
  constexpr auto step_bytes = 2 * static_cast<std::int64_t>(split) * tile_bytes;
  auto const steps = x.steps();
  auto const pack_step = [&](std::int64_t panel, std::int64_t step) {
    for (std::int64_t half = 0; half < 2; ++half)
      if (auto const line = panel * panel_lines + half * tile_lines; line < x.lines)
        pack_tile<split>(x.part(line, tile_lines, step * step_depth, step_depth),
                         out + (panel * steps + step) * step_bytes + half * tile_bytes);
  };
  // Along the rows of memory, whichever way they go.
  if (x.deep())
    for (auto panel = first; panel < last; ++panel)
      for (std::int64_t step = 0; step < steps; ++step) pack_step(panel, step);
  else
    for (std::int64_t step = 0; step < steps; ++step)
      for (auto panel = first; panel < last; ++panel) pack_step(panel, step);
}

}  // namespace nxd::detail
#endif
