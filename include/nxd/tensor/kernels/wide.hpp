// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/dtype.hpp>
#include <nxd/tensor/kernels/amx_pack.hpp>
#include <nxd/tensor/kernels/avx512.hpp>

#if defined(__x86_64__)
// Vectors of 16 floats, in which arithmetic is done, and of 32 bf16, in which numbers lie. Every
// operation names its mask, if it has one: see `every_lane`.

namespace nxd::detail {

inline constexpr __mmask32 every_half = 0xffffffff;
inline constexpr double log2_of_e = 1.4426950408889634;

/// 32 numbers: those at even places, and those at odd ones.
struct Pairs {
  __m512 even, odd;
};

[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline Pairs pairs_of(
    __m512i halves) {
  auto const upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_maskz_slli_epi32(every_lane, halves, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(halves, upper))};
}
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline Pairs read_pairs(
    bf16 const* at, __mmask32 which = every_half) {
  return pairs_of(_mm512_maskz_loadu_epi16(which, at));
}

/// Numbers 0 to 15, and 16 to 31, one of each in turn.
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512i in_turn(
    __m512i halves) {
  alignas(64) static constexpr std::array<std::uint16_t, 32> order{
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_maskz_permutexvar_epi16(every_half, _mm512_load_si512(order.data()), halves);
}
/// The nearest bf16 of 16 numbers, then of 16 more.
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512i rounded(
    __m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline void write_pairs(
    Pairs const& x, bf16* at, __mmask32 which = every_half) {
  _mm512_mask_storeu_epi16(at, which, in_turn(rounded(x.even, x.odd)));
}

[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 read16(
    float const* at, __mmask16 which = every_lane) {
  return _mm512_maskz_loadu_ps(which, at);
}
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 read16(
    bf16 const* at, __mmask16 which = every_lane) {
  auto const words = _mm512_maskz_cvtepu16_epi32(every_lane, _mm256_maskz_loadu_epi16(which, at));
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(every_lane, words, 16));
}
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline void write16(
    __m512 x, float* at, __mmask16 which = every_lane) {
  _mm512_mask_storeu_ps(at, which, x);
}
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline void write16(
    __m512 x, bf16* at, __mmask16 which = every_lane) {
  _mm256_mask_storeu_epi16(at, which, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
}

[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 larger(__m512 x,
                                                                                         __m512 y) {
  return _mm512_maskz_max_ps(every_lane, x, y);
}

/// Eight of 16 numbers: the first ones, or those after them.
template <int half>
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m256 half_of(
    __m512 x) {
  return _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(every_pair, _mm512_castps_pd(x), half));
}
/// The sum of 16 numbers.
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline float sum_of(__m512 x) {
  auto const eight = _mm256_add_ps(half_of<0>(x), half_of<1>(x));
  auto const four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  auto const two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
/// The largest of 16 numbers.
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline float top_of(__m512 x) {
  auto const eight = _mm256_max_ps(half_of<0>(x), half_of<1>(x));
  auto const four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  auto const two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/// How near a power comes: relative errors are below 2.3e-7, or below 2.7e-6 if bf16 is made of it.
enum class Near { as_float, as_bf16 };

/// 2^(n + r), n being whole and |r| at most 1/2.
template <Near near>
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 exp2_of(
    __m512 n, __m512 r) {
  // Of least relative error in these r.
  static constexpr auto factors = [] {
    if constexpr (near == Near::as_float)
      return std::array{1.327647245e-3f, 9.675540961e-3f, 5.550713092e-2f,
                        2.402212024e-1f, 6.931469440e-1f, 1.000000119f};
    else
      return std::array{9.570102207e-3f, 5.591785908e-2f, 2.402474433e-1f, 6.931217909e-1f,
                        9.999992847e-1f};
  }();
  auto p = _mm512_set1_ps(factors[0]);
#pragma GCC unroll 5
  for (std::size_t i = 1; i < factors.size(); ++i)
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(factors[i]));
  return _mm512_maskz_scalef_ps(every_lane, p, n);
}
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 whole_part(
    __m512 x) {
  return _mm512_maskz_roundscale_ps(every_lane, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// 2^x of a finite x
template <Near near>
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 exp2_of(
    __m512 x) {
  auto const n = whole_part(x);
  return exp2_of<near>(n, _mm512_sub_ps(x, n));
}
/// e^x
template <Near near>
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 exp_of(__m512 y) {
  auto const factor = _mm512_set1_ps(static_cast<float>(log2_of_e));
  auto const x = larger(_mm512_set1_ps(-110.f), y);  // below, and at minus infinity, it is zero
  auto const n = whole_part(_mm512_mul_ps(x, factor));
  return exp2_of<near>(n, _mm512_fmsub_ps(x, factor, n));
}

/// The natural logarithm of positive numbers. Error below 2e-7, or that relative error.
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 log_of(__m512 x) {
  auto const one = _mm512_set1_ps(1.f);
  auto const m = _mm512_maskz_getmant_ps(every_lane, x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
  auto const exponent =
      _mm512_sub_ps(_mm512_maskz_getexp_ps(every_lane, x), _mm512_maskz_getexp_ps(every_lane, m));
  auto const s = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one));
  auto const z = _mm512_mul_ps(s, s);
  auto p = _mm512_set1_ps(2.f / 9);
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.f / 7));
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.f / 5));
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.f / 3));
  p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.f));
  return _mm512_fmadd_ps(exponent, _mm512_set1_ps(0.693147181f), _mm512_mul_ps(p, s));
}

/// 1 / (1 + e^-x), near enough for bf16
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline __m512 sigmoid_of(
    __m512 x) {
  auto const one = _mm512_set1_ps(1.f);
  auto const power = _mm512_mul_ps(x, _mm512_set1_ps(static_cast<float>(-log2_of_e)));
  // Not so large that its inverse has no step to be corrected by.
  auto const bounded = _mm512_maskz_min_ps(every_lane, _mm512_set1_ps(100.f), power);
  auto const below = _mm512_add_ps(one, exp2_of<Near::as_bf16>(bounded));
  auto const guess = _mm512_maskz_rcp14_ps(every_lane, below);
  return _mm512_mul_ps(guess, _mm512_fnmadd_ps(below, guess, _mm512_set1_ps(2.f)));
}

}  // namespace nxd::detail
#endif
