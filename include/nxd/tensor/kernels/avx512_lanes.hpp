// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>

namespace nxd::detail {

/// g++ 12 warns of what it leaves undefined under a mask, but for these.
inline constexpr __mmask16 every_lane = 0xffff;
inline constexpr __mmask8 every_pair = 0xff;

/// A square of 16 rows of 16 words: its rows become its columns.
[[gnu::target("avx512f"), gnu::always_inline]] inline void turn(__m512i (&rows)[16]) {
  __m512i t[16], u[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_epi32(every_lane, rows[i], rows[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_epi32(every_lane, rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    u[i] = _mm512_maskz_unpacklo_epi64(every_pair, t[i], t[i + 2]);
    u[i + 1] = _mm512_maskz_unpackhi_epi64(every_pair, t[i], t[i + 2]);
    u[i + 2] = _mm512_maskz_unpacklo_epi64(every_pair, t[i + 1], t[i + 3]);
    u[i + 3] = _mm512_maskz_unpackhi_epi64(every_pair, t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    auto const even = _mm512_maskz_shuffle_i32x4(every_lane, u[i], u[4 + i], 0x88);
    auto const odd = _mm512_maskz_shuffle_i32x4(every_lane, u[i], u[4 + i], 0xdd);
    auto const even_after = _mm512_maskz_shuffle_i32x4(every_lane, u[8 + i], u[12 + i], 0x88);
    auto const odd_after = _mm512_maskz_shuffle_i32x4(every_lane, u[8 + i], u[12 + i], 0xdd);
    rows[i] = _mm512_maskz_shuffle_i32x4(every_lane, even, even_after, 0x88);
    rows[4 + i] = _mm512_maskz_shuffle_i32x4(every_lane, odd, odd_after, 0x88);
    rows[8 + i] = _mm512_maskz_shuffle_i32x4(every_lane, even, even_after, 0xdd);
    rows[12 + i] = _mm512_maskz_shuffle_i32x4(every_lane, odd, odd_after, 0xdd);
  }
}

/// The first so many of 16 lanes, none and all included.
inline __mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>((1u << std::clamp<std::int64_t>(count, 0, 16)) - 1);
}
/// The same of 32 halves of lanes.
inline __mmask32 first_halves(std::int64_t count) {
  return static_cast<__mmask32>((std::uint64_t{1} << std::clamp<std::int64_t>(count, 0, 32)) - 1);
}

}  // namespace nxd::detail
#endif
