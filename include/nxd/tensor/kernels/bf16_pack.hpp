// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx_pack.hpp>
#include <nxd/tensor/kernels/bf16_operand.hpp>

#if defined(__x86_64__)
// Packs operands that are bf16 in memory. A panel is 32 lines, a step 32 elements deep; pair p of a
// step is its elements 2 p and 2 p + 1. A panel lies step by step, two tiles each: on the left a
// tile's rows are 16 lines, on the right they are 16 pairs. What an operand lacks of a panel or of
// a step is zero.

namespace nxd::detail {

inline constexpr std::int64_t step_bytes = 2 * tile_bytes;

/// A step of a panel, of which the operand has `lines` lines and `depth` elements; and where a step
/// begins that is packed soon.
struct Bf16Step {
  Bf16Operand from;
  std::int64_t lines, depth;
  bf16 const* soon;
};

/// Row i of memory: a line if `deep`, else an element of each line; 32 long, nothing if i >= count.
[[gnu::target("avx512bf16,avx512bw"), gnu::always_inline]] inline __m512i load_row(
    bf16 const* at, std::int64_t stride, std::int64_t i, std::int64_t count, __mmask32 halves) {
  return _mm512_maskz_loadu_epi16(i < count ? halves : __mmask32{0}, at + i * stride);
}

/// The rows of memory of what comes soon. Hardware sees no order in 32 rows at a time.
inline void ask_for(Bf16Step const& s, std::int64_t stride) {
  for (std::int64_t i = 0; i < panel_lines; ++i) __builtin_prefetch(s.soon + i * stride);
}

/// Lines are rows of memory and of the tiles.
[[gnu::target("avx512bf16,avx512bw")]] inline void pack_left_rows(Bf16Step const& s,
                                                                  std::byte* out) {
  auto const halves = first_halves(s.depth);
  ask_for(s, s.from.line_stride);
  for (std::int64_t i = 0; i < panel_lines; ++i)
    _mm512_store_si512(out + i * 64, load_row(s.from.at, s.from.line_stride, i, s.lines, halves));
}

/// Lines are columns of memory and rows of the tiles: even lines, then odd ones.
[[gnu::target("avx512bf16,avx512bw")]] inline void pack_left_columns(Bf16Step const& s,
                                                                     std::byte* out) {
  auto const halves = first_halves(s.lines);
  constexpr __mmask32 odd = 0xaaaaaaaa;
  ask_for(s, s.from.k_stride);
  for (int parity = 0; parity < 2; ++parity) {
    __m512i rows[16];
#pragma GCC unroll 16
    for (int p = 0; p < 16; ++p) {
      auto const a = load_row(s.from.at, s.from.k_stride, 2 * p, s.depth, halves);
      auto const b = load_row(s.from.at, s.from.k_stride, 2 * p + 1, s.depth, halves);
      rows[p] = parity == 0
                    ? _mm512_mask_blend_epi16(odd, a, _mm512_maskz_slli_epi32(every_lane, b, 16))
                    : _mm512_mask_blend_epi16(odd, _mm512_maskz_srli_epi32(every_lane, a, 16), b);
    }
    turn(rows);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) _mm512_store_si512(out + (2 * i + parity) * 64, rows[i]);
  }
}

/// Lines are rows of memory and columns of the tiles.
[[gnu::target("avx512bf16,avx512bw")]] inline void pack_right_rows(Bf16Step const& s,
                                                                   std::byte* out) {
  auto const halves = first_halves(s.depth);
  ask_for(s, s.from.line_stride);
  for (int tile = 0; tile < 2; ++tile) {
    __m512i rows[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      rows[i] = load_row(s.from.at, s.from.line_stride, tile * 16 + i, s.lines, halves);
    turn(rows);
#pragma GCC unroll 16
    for (int p = 0; p < 16; ++p) _mm512_store_si512(out + tile * tile_bytes + p * 64, rows[p]);
  }
}

/// Lines are columns of memory and of the tiles.
[[gnu::target("avx512bf16,avx512bw")]] inline void pack_right_columns(Bf16Step const& s,
                                                                      std::byte* out) {
  auto const halves = first_halves(s.lines);
  auto const order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  ask_for(s, s.from.k_stride);
  for (std::int64_t p = 0; p < tile_lines; ++p) {
    auto const a = _mm512_maskz_permutexvar_epi64(
        every_pair, order, load_row(s.from.at, s.from.k_stride, 2 * p, s.depth, halves));
    auto const b = _mm512_maskz_permutexvar_epi64(
        every_pair, order, load_row(s.from.at, s.from.k_stride, 2 * p + 1, s.depth, halves));
    _mm512_store_si512(out + p * 64, _mm512_maskz_unpacklo_epi16(~__mmask32{0}, a, b));
    _mm512_store_si512(out + tile_bytes + p * 64, _mm512_maskz_unpackhi_epi16(~__mmask32{0}, a, b));
  }
}

/// One operand whole: `lines` vectors, `k` long.
struct Bf16Lines {
  Bf16Operand from;
  std::int64_t lines, k;

  std::int64_t panels() const { return parts_of(lines, panel_lines); }
  std::int64_t steps() const { return parts_of(k, step_depth); }
  std::int64_t packed_bytes() const { return panels() * steps() * step_bytes; }
  bool by_rows() const { return from.k_stride == 1; }
};

/// Which step of an operand.
struct StepPlace {
  std::int64_t panel, step;
};

/// A step on one side.
template <OperandSide side>
inline void pack_step(Bf16Lines const& x, StepPlace const& at, StepPlace const& soon,
                      std::byte* out) {
  auto const line = at.panel * panel_lines, k = at.step * step_depth;
  Bf16Step const one{x.from.from(line, k), x.lines - line, x.k - k,
                     x.from.from(soon.panel * panel_lines, soon.step * step_depth).at};
  if constexpr (side == OperandSide::left)
    (x.by_rows() ? pack_left_rows : pack_left_columns)(one, out);
  else
    (x.by_rows() ? pack_right_rows : pack_right_columns)(one, out);
}

/// Panels and steps [first, last) of an operand.
struct PackPart {
  std::int64_t first_panel, last_panel, first_step, last_step;
};

/// Packs a part, along the rows of memory whichever way they go; its panels lie one after another
/// from `out` on.
template <OperandSide side>
inline void pack_part(Bf16Lines const& x, PackPart const& part, std::byte* out) {
  auto const panels = part.last_panel - part.first_panel, steps = part.last_step - part.first_step;
  auto const inner = x.by_rows() ? steps : panels;
  auto const place = [&](std::int64_t i) {
    auto const outer = i / inner, at = i % inner;
    return x.by_rows() ? StepPlace{part.first_panel + outer, part.first_step + at}
                       : StepPlace{part.first_panel + at, part.first_step + outer};
  };
  auto const room = [&](StepPlace const& p) {
    return out + ((p.panel - part.first_panel) * steps + p.step - part.first_step) * step_bytes;
  };
  constexpr std::int64_t ahead = 3;
  for (std::int64_t i = 0; i < panels * steps; ++i) {
    auto* const next = room(place(i + 1));
    for (std::int64_t line = 0; line < step_bytes; line += 64) __builtin_prefetch(next + line, 1);
    pack_step<side>(x, place(i), place(i + ahead), room(place(i)));
  }
}

/// Panels [first, last).
struct Panels {
  std::int64_t first, last;

  std::int64_t count() const { return last - first; }
  Panels share(std::int64_t i, std::int64_t of) const {
    return {first + count() * i / of, first + count() * (i + 1) / of};
  }
  Panels part(std::int64_t from, std::int64_t most) const {
    return {from, std::min(from + most, last)};
  }
};

/// Packs panels [first, last), all steps of them.
template <OperandSide side>
inline void pack_panels(Bf16Lines const& x, std::int64_t first, std::int64_t last, std::byte* out) {
  pack_part<side>(x, {first, last, 0, x.steps()}, out);
}

/// Packs all panels, shared out among the threads of the team that calls it; nobody waits.
inline void pack_all(Bf16Lines const& x, OperandSide side, std::byte* out, int threads) {
  auto const panels = x.panels(), share = std::max<std::int64_t>(1, parts_of(panels, 4 * threads));
#pragma omp for schedule(dynamic) nowait
  for (std::int64_t first = 0; first < panels; first += share) {
    auto const last = std::min(first + share, panels);
    auto* const to = out + first * x.steps() * step_bytes;
    side == OperandSide::left ? pack_panels<OperandSide::left>(x, first, last, to)
                              : pack_panels<OperandSide::right>(x, first, last, to);
  }
}

}  // namespace nxd::detail
#endif
