// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>

#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/wide.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// Cross-entropy and rounding by vectors of 512 bits, one line at a time: see `Bf16Lines`, and for
/// floats `SimdLoss`. Needs `has_avx512_bf16()`.
struct WideLoss {
  /// Of a line: the largest, the sum of e^(x - the largest), the sum.
  struct Stats {
    float top, powers, sum;
  };
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static Stats stats(std::int64_t n,
                                                                     bf16 const* x) {
    auto const ones = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
    auto even = _mm512_set1_ps(-std::numeric_limits<float>::infinity()), odd = even;
    auto sum = _mm512_setzero_ps();
    auto const whole = n / 32 * 32;
    for (std::int64_t i = 0; i < whole; i += 32) {
      auto const halves = _mm512_loadu_si512(x + i);
      auto const v = pairs_of(halves);
      even = larger(even, v.even);
      odd = larger(odd, v.odd);
      sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(halves), ones);
    }
    auto top = top_of(larger(even, odd)), left = 0.f;
    for (auto i = whole; i < n; ++i) {
      top = std::max(top, to_float(x[i]));
      left += to_float(x[i]);
    }
    return {top, powers(n, x, top), sum_of(sum) + left};
  }

  /// d = factor e^(x - sum) - less
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void slopes(std::int64_t n, bf16 const* x,
                                                                     float sum, float factor,
                                                                     float less, bf16* d) {
    auto const zero = _mm512_set1_ps(sum), times = _mm512_set1_ps(factor),
               minus = _mm512_set1_ps(less);
    for (std::int64_t i = 0; i < n; i += 32) {
      auto const some = first_halves(n - i);
      auto const v = read_pairs(x + i, some);
      auto const even = exp_of<Near::as_bf16>(_mm512_sub_ps(v.even, zero)),
                 odd = exp_of<Near::as_bf16>(_mm512_sub_ps(v.odd, zero));
      write_pairs({_mm512_fmsub_ps(times, even, minus), _mm512_fmsub_ps(times, odd, minus)}, d + i,
                  some);
    }
  }

  /// Of a line of floats: piece by piece, each of which stays in a first-level cache.
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static Stats stats(std::int64_t n,
                                                                     float const* x) {
    constexpr std::int64_t piece = 4096;
    Stats all{-std::numeric_limits<float>::infinity(), 0, 0};
    for (std::int64_t i = 0; i < n; i += piece) {
      auto const count = std::min(piece, n - i);
      auto const [top, sum] = top_and_sum(count, x + i);
      if (top > all.top) {
        all.powers *= std::exp(all.top - top);
        all.top = top;
      }
      all.powers += powers(count, x + i, all.top);
      all.sum += sum;
    }
    return all;
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void slopes(std::int64_t n, float const* x,
                                                                     float sum, float factor,
                                                                     float less, float* d) {
    auto const zero = _mm512_set1_ps(sum), times = _mm512_set1_ps(factor),
               minus = _mm512_set1_ps(less);
    for (std::int64_t i = 0; i < n; i += 16) {
      auto const some = first_lanes(n - i);
      auto const power = exp_of<Near::as_float>(_mm512_sub_ps(read16(x + i, some), zero));
      write16(_mm512_fmsub_ps(times, power, minus), d + i, some);
    }
  }

  /// y = one of the two bf16 around x, by the noise of numbers `first`, `first` + 1, ...: what
  /// `to_bf16_stochastic` makes of it, bit for bit.
  static void round_by(Noise const& noise, std::uint64_t first, std::int64_t n, float const* x,
                       bf16* y) {
    auto const one_by_one = [&](std::int64_t from, std::int64_t count) {
      noise.for_each(first + static_cast<std::uint64_t>(from), count,
                     [&](std::int64_t k, std::uint16_t bits) {
                       y[from + k] = to_bf16_stochastic(x[from + k], bits);
                     });
    };
    auto i = std::min(n, static_cast<std::int64_t>(-first % 8));
    one_by_one(0, i);
    for (; i + 64 <= n; i += 64)
      round_64(noise, first + static_cast<std::uint64_t>(i), x + i, y + i);
    one_by_one(i, n - i);
  }

 private:
  /// The sum of e^(x - top).
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static float powers(std::int64_t n, bf16 const* x,
                                                                      float top) {
    auto const zero = _mm512_set1_ps(top);
    auto even = _mm512_setzero_ps(), odd = even;
    auto const whole = n / 32 * 32;
    for (std::int64_t i = 0; i < whole; i += 32) {
      auto const v = read_pairs(x + i);
      even = _mm512_add_ps(even, exp_of<Near::as_float>(_mm512_sub_ps(v.even, zero)));
      odd = _mm512_add_ps(odd, exp_of<Near::as_float>(_mm512_sub_ps(v.odd, zero)));
    }
    auto total = sum_of(_mm512_add_ps(even, odd));
    for (auto i = whole; i < n; ++i) total += std::exp(to_float(x[i]) - top);
    return total;
  }

  struct TopAndSum {
    float top, sum;
  };
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static TopAndSum top_and_sum(std::int64_t n,
                                                                               float const* x) {
    __m512 tops[4], sums[4];
    for (int j = 0; j < 4; ++j) {
      tops[j] = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
      sums[j] = _mm512_setzero_ps();
    }
    auto const whole = n / 64 * 64;
    for (std::int64_t i = 0; i < whole; i += 64)
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        auto const v = read16(x + i + 16 * j);
        tops[j] = larger(tops[j], v);
        sums[j] = _mm512_add_ps(sums[j], v);
      }
    auto top = top_of(larger(larger(tops[0], tops[1]), larger(tops[2], tops[3])));
    auto sum =
        sum_of(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
    for (auto i = whole; i < n; ++i) {
      top = std::max(top, x[i]);
      sum += x[i];
    }
    return {top, sum};
  }

  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static float powers(std::int64_t n,
                                                                      float const* x, float top) {
    auto const zero = _mm512_set1_ps(top);
    auto even = _mm512_setzero_ps(), odd = even;
    auto const whole = n / 32 * 32;
    for (std::int64_t i = 0; i < whole; i += 32) {
      even = _mm512_add_ps(even, exp_of<Near::as_float>(_mm512_sub_ps(read16(x + i), zero)));
      odd = _mm512_add_ps(odd, exp_of<Near::as_float>(_mm512_sub_ps(read16(x + i + 16), zero)));
    }
    auto total = sum_of(_mm512_add_ps(even, odd));
    for (auto i = whole; i < n; ++i) total += std::exp(x[i] - top);
    return total;
  }

  /// 16 random bits for each of 64 numbers, `first` being a multiple of 8: eight draws of Philox.
  struct Bits {
    __m512i low, high;
  };
  [[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] static Bits draw(
      Noise const& noise, std::uint64_t first) {
    // Draws 0 to 3 in lanes of even place: their words come together without crossing.
    auto const counter = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(first / 8)),
                                          _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
    auto const m0 = _mm512_set1_epi64(0xd2511f53), m1 = _mm512_set1_epi64(0xcd9e8d57);
    auto const high = noise.stream.high;
    // Of each lane the lower half counts. What is above it does no harm.
    auto c0 = counter, c1 = _mm512_maskz_srli_epi64(every_pair, counter, 32);
    auto c2 = _mm512_set1_epi64(static_cast<long long>(high)),
         c3 = _mm512_set1_epi64(static_cast<long long>(high >> 32));
    auto const key = noise.stream.bits.key;
    auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      auto const p0 = _mm512_maskz_mul_epu32(every_pair, m0, c0),
                 p1 = _mm512_maskz_mul_epu32(every_pair, m1, c2);
      c0 = _mm512_xor_si512(_mm512_xor_si512(_mm512_maskz_srli_epi64(every_pair, p1, 32), c1),
                            _mm512_set1_epi64(k0));
      c2 = _mm512_xor_si512(_mm512_xor_si512(_mm512_maskz_srli_epi64(every_pair, p0, 32), c3),
                            _mm512_set1_epi64(k1));
      c1 = p1, c3 = p0;
      k0 += 0x9e3779b9, k1 += 0xbb67ae85;
    }
    auto const lower = _mm512_set1_epi64(0xffffffff);
    auto const first_words =
        _mm512_or_si512(_mm512_and_si512(c0, lower), _mm512_maskz_slli_epi64(every_pair, c1, 32));
    auto const last_words =
        _mm512_or_si512(_mm512_and_si512(c2, lower), _mm512_maskz_slli_epi64(every_pair, c3, 32));
    return {_mm512_maskz_unpacklo_epi64(every_pair, first_words, last_words),
            _mm512_maskz_unpackhi_epi64(every_pair, first_words, last_words)};
  }

  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void round_64(Noise const& noise,
                                                                       std::uint64_t first,
                                                                       float const* x, bf16* y) {
    auto const bits = draw(noise, first);
    round_32(bits.low, x, y);
    round_32(bits.high, x + 32, y + 32);
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] static void round_32(
      __m512i bits, float const* x, bf16* y) {
    round_16(_mm512_maskz_extracti64x4_epi64(every_pair, bits, 0), x, y);
    round_16(_mm512_maskz_extracti64x4_epi64(every_pair, bits, 1), x + 16, y + 16);
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] static void round_16(
      __m256i noise, float const* x, bf16* y) {
    auto const v = _mm512_loadu_si512(x);
    auto const exponent = _mm512_set1_epi32(0x7f800000);
    auto const finite = _mm512_cmpneq_epi32_mask(_mm512_and_si512(v, exponent), exponent);
    auto const sum = _mm512_add_epi32(v, _mm512_maskz_cvtepu16_epi32(finite, noise));
    // A NaN stays one.
    auto const nan =
        _mm512_cmp_ps_mask(_mm512_castsi512_ps(v), _mm512_castsi512_ps(v), _CMP_UNORD_Q);
    auto const kept = _mm512_mask_or_epi32(sum, nan, sum, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(y),
        _mm512_maskz_cvtepi32_epi16(every_lane, _mm512_maskz_srli_epi32(every_lane, kept, 16)));
  }
};

}  // namespace nxd::detail
#endif
