// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <utility>

#include <nxd/tensor/kernels/bf16_block.hpp>
#include <nxd/tensor/kernels/scratch.hpp>
#include <nxd/tensor/kernels/sizes.hpp>
#include <nxd/tensor/kernels/wide.hpp>

#if defined(__x86_64__)
// What attention does between its products: blocks are [32 keys, 32 queries] of fp32, row by row.

namespace nxd::detail {

/// The calling thread's room for one call, cut into pieces.
class Cut {
 public:
  explicit Cut(std::int64_t bytes) {
    thread_local Scratch one;
    at_ = one.at_least(static_cast<std::size_t>(bytes));
  }
  /// `count` is a multiple of 64.
  std::byte* bytes(std::int64_t count) { return std::exchange(at_, at_ + count); }
  float* floats(std::int64_t count) { return reinterpret_cast<float*>(bytes(4 * count)); }

 private:
  std::byte* at_;
};

/// Which keys the queries of a panel see, both counted from some place on.
struct Sight {
  bool causal;
  std::int64_t last;  ///< the last key that query 0 sees

  /// How many keys query i sees.
  std::int64_t of(std::int64_t i) const {
    return causal ? last + i + 1 : std::numeric_limits<std::int64_t>::max();
  }
  /// The same, keys counted from `key` on.
  Sight from(std::int64_t key) const { return {causal, last - key}; }
  /// The queries among 16, from the `first` on, that see that key.
  __mmask16 queries(std::int64_t key, std::int64_t first) const {
    return static_cast<__mmask16>(causal ? ~unsigned{first_lanes(key - last - first)} : ~0u);
  }
};

/// Rows of 32 numbers: those of queries 0 to 15, and of 16 to 31.
struct Queries {
  __m512 low, high;
};
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline Queries read_queries(
    float const* at) {
  return {_mm512_loadu_ps(at), _mm512_loadu_ps(at + 16)};
}

/// Weights of two keys, as a row of the tiles of a right operand: [step of 32 keys][queries]
[[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] inline void write_key_pair(
    Queries const& one, Queries const& two, std::int64_t key, std::byte* out) {
  auto* const at = out + key / step_depth * step_bytes + key % step_depth / 2 * 64;
  _mm512_store_si512(at, in_turn(rounded(one.low, two.low)));
  _mm512_store_si512(at + tile_bytes, in_turn(rounded(one.high, two.high)));
}

/// The softmax of 32 queries, some keys at a time.
class Softmax {
 public:
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] explicit Softmax(double scale)
      : power_(static_cast<float>(scale * log2_of_e)), scale_(static_cast<float>(scale)) {
    top_.fill(-1e30f);  // what is infinite has no distance
  }

  /// Makes weights of the scores of `count` more keys, relative to the largest score so far.
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] void weigh(Sight const& sight, std::int64_t count,
                                                             float const* scores,
                                                             std::byte* weights) {
    auto const old = read_queries(top_.data());
    auto top = old;
    auto const plain = std::clamp<std::int64_t>(sight.of(0), 0, count);
    for (std::int64_t key = 0; key < count; ++key) {
      auto const s = read_queries(scores + key * 32);
      auto const low = key < plain ? every_lane : sight.queries(key, 0),
                 high = key < plain ? every_lane : sight.queries(key, 16);
      top.low = _mm512_mask_max_ps(top.low, low, top.low, s.low);
      top.high = _mm512_mask_max_ps(top.high, high, top.high, s.high);
    }
    auto const power = _mm512_set1_ps(power_);
    Queries const zero{_mm512_mul_ps(top.low, power), _mm512_mul_ps(top.high, power)};
    Queries sum{_mm512_setzero_ps(), _mm512_setzero_ps()};
    auto const weights_of = [&](std::int64_t key)
        __attribute__((target("avx512bf16,avx512bw,avx512vl"), always_inline)) {
      auto const s = read_queries(scores + key * 32);
      Queries w{exp2_of<Near::as_bf16>(_mm512_fmsub_ps(s.low, power, zero.low)),
                exp2_of<Near::as_bf16>(_mm512_fmsub_ps(s.high, power, zero.high))};
      if (key >= plain) {
        auto const here = key < count ? every_lane : __mmask16{0};
        w.low = _mm512_maskz_mov_ps(here & sight.queries(key, 0), w.low);
        w.high = _mm512_maskz_mov_ps(here & sight.queries(key, 16), w.high);
      }
      sum.low = _mm512_add_ps(sum.low, w.low);
      sum.high = _mm512_add_ps(sum.high, w.high);
      return w;
    };
    for (std::int64_t key = 0; key < count; key += 2) {
      auto const one = weights_of(key), two = weights_of(key + 1);
      write_key_pair(one, two, key, weights);
    }
    auto const nothing = Queries{_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (auto key = (count + 1) / 2 * 2; key % step_depth != 0; key += 2)
      write_key_pair(nothing, nothing, key, weights);
    auto const faded =
        Queries{exp2_of<Near::as_float>(_mm512_mul_ps(power, _mm512_sub_ps(old.low, top.low))),
                exp2_of<Near::as_float>(_mm512_mul_ps(power, _mm512_sub_ps(old.high, top.high)))};
    auto const before = read_queries(sum_.data());
    store(_mm512_fmadd_ps(before.low, faded.low, sum.low),
          _mm512_fmadd_ps(before.high, faded.high, sum.high), sum_);
    store(faded.low, faded.high, faded_);
    store(top.low, top.high, top_);
  }

  /// What was summed with the weights before the last `weigh`, relative to the new largest score.
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] void fade(std::int64_t rows, float* sums) const {
    auto const factor = read_queries(faded_.data());
    for (std::int64_t i = 0; i < rows; ++i, sums += 32) {
      _mm512_storeu_ps(sums, _mm512_mul_ps(_mm512_loadu_ps(sums), factor.low));
      _mm512_storeu_ps(sums + 16, _mm512_mul_ps(_mm512_loadu_ps(sums + 16), factor.high));
    }
  }

  /// Logarithms of the sums of `count` queries. @return what their sums of values are multiplied by
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] std::array<float, 32> finish(
      std::int64_t count, float* log_sum_exp) const {
    std::array<float, 32> inverse;
    for (std::int64_t i = 0; i < 32; i += 16) {
      auto const sum = _mm512_loadu_ps(sum_.data() + i), top = _mm512_loadu_ps(top_.data() + i);
      _mm512_storeu_ps(inverse.data() + i, _mm512_div_ps(_mm512_set1_ps(1.f), sum));
      write16(_mm512_fmadd_ps(top, _mm512_set1_ps(scale_), log_of(sum)), log_sum_exp + i,
              first_lanes(count - i));
    }
    return inverse;
  }

 private:
  using Lanes = std::array<float, 32>;
  [[gnu::target("avx512bf16,avx512bw,avx512vl"), gnu::always_inline]] static void store(__m512 low,
                                                                                        __m512 high,
                                                                                        Lanes& to) {
    _mm512_storeu_ps(to.data(), low);
    _mm512_storeu_ps(to.data() + 16, high);
  }

  float power_, scale_;
  Lanes top_, sum_{}, faded_{};
};

/// Of every query: log2 of the sum of its weights, and the mean slope of its weights.
struct QueryStatistics {
  float *log_sums, *means;

  QueryStatistics from(std::int64_t query) const { return {log_sums + query, means + query}; }
};

/// The statistics of one head; those of queries that are not there are zero.
[[gnu::target("avx512bf16,avx512bw,avx512vl")]] inline void measure_queries(
    Attention const& s, bf16 const* out, bf16 const* dout, float const* log_sum_exp,
    QueryStatistics const& to) {
  auto const stride = s.heads * s.head_dim;
  auto const padded = parts_of(s.queries, panel_lines) * panel_lines;
  for (std::int64_t i = 0; i < padded; ++i) {
    auto sum = _mm512_setzero_ps();
    for (std::int64_t d = 0; d < s.head_dim && i < s.queries; d += 32) {
      auto const some = first_halves(s.head_dim - d);
      auto const x = _mm512_maskz_loadu_epi16(some, out + i * stride + d);
      auto const y = _mm512_maskz_loadu_epi16(some, dout + i * stride + d);
      sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(y));
    }
    to.means[i] = sum_of(sum);
    to.log_sums[i] = i < s.queries ? log_sum_exp[i] * static_cast<float>(log2_of_e) : 0;
  }
}

/// A block of scores and of slopes of weights, and what becomes of it: weights and slopes of scores
/// (but for the scale), as left operands [keys, step of queries], and those slopes as a right
/// operand [step of keys, queries].
struct ScoreBlock {
  float const *scores, *dweights;
  std::byte *weights, *dscores, *dscores_turned;
};

/// 32 keys, of which there are `count`, and 32 queries.
[[gnu::target("avx512bf16,avx512bw,avx512vl")]] inline void pull_scores(
    Sight const& sight, std::int64_t count, QueryStatistics const& queries, double scale,
    ScoreBlock const& at) {
  auto const power = _mm512_set1_ps(static_cast<float>(scale * log2_of_e));
  auto const zero = read_queries(queries.log_sums), mean = read_queries(queries.means);
  bool const plain = sight.of(0) >= 32 && count >= 32;
  auto const slopes_of = [&](std::int64_t key)
      __attribute__((target("avx512bf16,avx512bw,avx512vl"), always_inline)) {
    auto const s = read_queries(at.scores + key * 32), d = read_queries(at.dweights + key * 32);
    Queries w{exp2_of<Near::as_bf16>(_mm512_fmsub_ps(s.low, power, zero.low)),
              exp2_of<Near::as_bf16>(_mm512_fmsub_ps(s.high, power, zero.high))};
    if (!plain) {
      auto const here = key < count ? every_lane : __mmask16{0};
      w.low = _mm512_maskz_mov_ps(here & sight.queries(key, 0), w.low);
      w.high = _mm512_maskz_mov_ps(here & sight.queries(key, 16), w.high);
    }
    Queries const slopes{_mm512_mul_ps(w.low, _mm512_sub_ps(d.low, mean.low)),
                         _mm512_mul_ps(w.high, _mm512_sub_ps(d.high, mean.high))};
    _mm512_store_si512(at.weights + key * 64, rounded(w.low, w.high));
    _mm512_store_si512(at.dscores + key * 64, rounded(slopes.low, slopes.high));
    return slopes;
  };
  for (std::int64_t key = 0; key < 32; key += 2) {
    auto const one = slopes_of(key), two = slopes_of(key + 1);
    write_key_pair(one, two, key, at.dscores_turned);
  }
}

/// Rows and columns that there are.
struct Extent {
  std::int64_t rows, columns;
};

/// out[rows, columns] = factor times a block of sums.
[[gnu::target("avx512bf16,avx512bw,avx512vl")]] inline void write_block(float const* sums,
                                                                        Extent const& there,
                                                                        float factor, bf16* out,
                                                                        std::int64_t stride) {
  auto const times = _mm512_set1_ps(factor);
  auto const some = first_halves(there.columns);
  for (std::int64_t i = 0; i < std::min(panel_lines, there.rows); ++i) {
    auto const row = read_queries(sums + i * 32);
    _mm512_mask_storeu_epi16(
        out + i * stride, some,
        rounded(_mm512_mul_ps(row.low, times), _mm512_mul_ps(row.high, times)));
  }
}

/// out[columns, rows] = factor, and one for each column unless they are null, times sums[rows, 32]:
/// blocks of 32 rows lie one after another.
[[gnu::target("avx512bf16,avx512bw,avx512vl")]] inline void write_turned(
    float const* sums, Extent const& there, float factor, float const* factors, bf16* out,
    std::int64_t stride) {
  for (std::int64_t column = 0; column < std::min(panel_lines, there.columns); column += 16) {
    auto times = _mm512_set1_ps(factor);
    if (factors != nullptr) times = _mm512_mul_ps(times, _mm512_loadu_ps(factors + column));
    for (std::int64_t row = 0; row < there.rows; row += 16) {
      auto const some = first_lanes(there.rows - row);
      __m512i block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        block[i] = _mm512_castps_si512(
            _mm512_mul_ps(times, _mm512_loadu_ps(sums + (row + i) * 32 + column)));
      turn(block);
      auto const count = std::min<std::int64_t>(16, there.columns - column);
      for (std::int64_t i = 0; i < count; ++i)
        write16(_mm512_castsi512_ps(block[i]), out + (column + i) * stride + row, some);
    }
  }
}

}  // namespace nxd::detail
#endif
