// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include <nxd/tensor/kernels/wide.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// Lines of bf16 by vectors of 512 bits, one line at a time: see `Bf16Lines`. Needs
/// `has_avx512_bf16()`.
struct WideLines {
  /// y = x / sqrt(mean(x^2) + epsilon) * weight. @return what x is multiplied by
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static float rms_norm(
      std::int64_t n, float epsilon, bf16 const* x, bf16 const* weight, bf16* y) {
    auto const inverse = 1 / std::sqrt(sum_of_squares(n, x) / static_cast<float>(n) + epsilon);
    auto const factor = _mm512_set1_ps(inverse);
    for (std::int64_t i = 0; i < n; i += 32) {
      auto const some = first_halves(n - i);
      auto const v = read_pairs(x + i, some), w = read_pairs(weight + i, some);
      write_pairs({_mm512_mul_ps(_mm512_mul_ps(v.even, factor), w.even),
                   _mm512_mul_ps(_mm512_mul_ps(v.odd, factor), w.odd)},
                  y + i, some);
    }
    return inverse;
  }

  /// Numbers that `rms_norm_pull` adds up for each weight: whole vectors, in an order of their own.
  static std::int64_t sums_of(std::int64_t n) { return (n + 31) / 32 * 32; }
  /// dx, and what the line adds to the gradient of the weights.
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void rms_norm_pull(
      std::int64_t n, bf16 const* x, bf16 const* weight, float inverse, bf16 const* dy, bf16* dx,
      float* sums) {
    auto const factor = _mm512_set1_ps(inverse);
    auto even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (std::int64_t i = 0; i < n; i += 32) {
      auto const some = first_halves(n - i);
      auto const v = read_pairs(x + i, some), w = read_pairs(weight + i, some),
                 up = read_pairs(dy + i, some);
      auto const e = _mm512_mul_ps(v.even, up.even), o = _mm512_mul_ps(v.odd, up.odd);
      even = _mm512_fmadd_ps(e, w.even, even);
      odd = _mm512_fmadd_ps(o, w.odd, odd);
      _mm512_storeu_ps(sums + i, _mm512_fmadd_ps(e, factor, _mm512_loadu_ps(sums + i)));
      _mm512_storeu_ps(sums + i + 16, _mm512_fmadd_ps(o, factor, _mm512_loadu_ps(sums + i + 16)));
    }
    auto const shared = _mm512_set1_ps(sum_of(_mm512_add_ps(even, odd)) * inverse * inverse /
                                       static_cast<float>(n));
    for (std::int64_t i = 0; i < n; i += 32) {
      auto const some = first_halves(n - i);
      auto const v = read_pairs(x + i, some), w = read_pairs(weight + i, some),
                 up = read_pairs(dy + i, some);
      auto const e = _mm512_fnmadd_ps(v.even, shared, _mm512_mul_ps(up.even, w.even));
      auto const o = _mm512_fnmadd_ps(v.odd, shared, _mm512_mul_ps(up.odd, w.odd));
      write_pairs({_mm512_mul_ps(factor, e), _mm512_mul_ps(factor, o)}, dx + i, some);
    }
  }
  /// dweight = such sums of several lines, `of` of them.
  static void add_up(std::int64_t n, std::int64_t of, float const* sums, float* dweight) {
    for (std::int64_t c = 0; c < n; ++c) {
      auto const at = c / 32 * 32 + c % 2 * 16 + c % 32 / 2;
      float sum = 0;
      for (std::int64_t s = 0; s < of; ++s) sum += sums[s * sums_of(n) + at];
      dweight[c] = sum;
    }
  }

  /// y = silu(x) up; x is `n` gates, then `n` that they let up
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void swiglu(std::int64_t n, bf16 const* x,
                                                                     bf16* y) {
    for (std::int64_t i = 0; i < n; i += 32) {
      auto const some = first_halves(n - i);
      auto const gate = read_pairs(x + i, some), up = read_pairs(x + n + i, some);
      write_pairs({gated(gate.even, up.even), gated(gate.odd, up.odd)}, y + i, some);
    }
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void swiglu_pull(std::int64_t n,
                                                                          bf16 const* x,
                                                                          bf16 const* dy,
                                                                          bf16* dx) {
    for (std::int64_t i = 0; i < n; i += 32) {
      auto const some = first_halves(n - i);
      auto const gate = read_pairs(x + i, some), up = read_pairs(x + n + i, some),
                 slope = read_pairs(dy + i, some);
      auto const even = ungated(gate.even, up.even, slope.even);
      auto const odd = ungated(gate.odd, up.odd, slope.odd);
      write_pairs({even.gate, odd.gate}, dx + i, some);
      write_pairs({even.up, odd.up}, dx + n + i, some);
    }
  }

  /// Heads of a token, `n` pairs (i, i + n) each, turned; sines are multiplied by `sign`.
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void rotate(std::int64_t heads,
                                                                     std::int64_t n, bf16 const* x,
                                                                     float const* cosines,
                                                                     float const* sines, float sign,
                                                                     bf16* y) {
    for (std::int64_t i = 0; i < n; i += 16) {
      auto const some = first_lanes(n - i);
      auto const c = read16(cosines + i, some);
      auto const s = _mm512_mul_ps(_mm512_set1_ps(sign), read16(sines + i, some));
      for (std::int64_t h = 0; h < heads; ++h) {
        auto const at = 2 * n * h + i;
        auto const a = read16(x + at, some), b = read16(x + at + n, some);
        write16(_mm512_fnmadd_ps(b, s, _mm512_mul_ps(a, c)), y + at, some);
        write16(_mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)), y + at + n, some);
      }
    }
  }

  /// z = a x
  template <class X, class Z>
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void scale(std::int64_t n, float a,
                                                                    X const* x, Z* z) {
    auto const factor = _mm512_set1_ps(a);
    for (std::int64_t i = 0; i < n; i += 16) {
      auto const some = first_lanes(n - i);
      write16(_mm512_mul_ps(factor, read16(x + i, some)), z + i, some);
    }
  }
  /// z = y + a x
  template <class X, class Y, class Z>
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void add(std::int64_t n, float a,
                                                                  X const* x, Y const* y, Z* z) {
    auto const factor = _mm512_set1_ps(a);
    for (std::int64_t i = 0; i < n; i += 16) {
      auto const some = first_lanes(n - i);
      write16(_mm512_fmadd_ps(factor, read16(x + i, some), read16(y + i, some)), z + i, some);
    }
  }

 private:
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static float sum_of_squares(std::int64_t n,
                                                                              bf16 const* x) {
    auto first = _mm512_setzero_ps(), second = first;
    for (std::int64_t i = 0; i < n; i += 64) {
      auto const a = _mm512_maskz_loadu_epi16(first_halves(n - i), x + i);
      auto const b = _mm512_maskz_loadu_epi16(first_halves(n - i - 32), x + i + 32);
      first = _mm512_dpbf16_ps(first, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(a));
      second =
          _mm512_dpbf16_ps(second, reinterpret_cast<__m512bh>(b), reinterpret_cast<__m512bh>(b));
    }
    return sum_of(_mm512_add_ps(first, second));
  }

  [[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] static __m512 gated(
      __m512 gate, __m512 up) {
    return _mm512_mul_ps(_mm512_mul_ps(gate, sigmoid_of(gate)), up);
  }
  struct Slopes {
    __m512 gate, up;
  };
  [[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] static Slopes ungated(
      __m512 gate, __m512 up, __m512 slope) {
    auto const one = _mm512_set1_ps(1.f);
    auto const share = sigmoid_of(gate);
    auto const part = _mm512_mul_ps(slope, share);
    auto const steep = _mm512_fmadd_ps(gate, _mm512_sub_ps(one, share), one);
    return {_mm512_mul_ps(_mm512_mul_ps(part, up), steep), _mm512_mul_ps(part, gate)};
  }
};

}  // namespace nxd::detail
#endif
