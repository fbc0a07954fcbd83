// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <utility>

#include <nxd/tensor/kernels/avx512_lanes.hpp>

#if defined(__x86_64__)
// Sums of products of floats that stay in registers: 14 rows of 32 columns take 28 of the 32
// registers, a step of the right panel two, a number of the left one another. Both panels are
// packed step by step: 32 columns on the right, on the left 14 rows in a cache line.

namespace nxd::detail {

/// Of a tile of sums.
inline constexpr std::int64_t sum_rows = 14, sum_columns = 32;

/// Steps that are summed in registers at most, before z is added to.
inline constexpr std::int64_t deepest_sum = 384;

/// From a step of a left panel to the next.
inline constexpr std::int64_t left_step = 16;

/// From a left panel to the next: a little more than it takes, or panels would meet in a cache.
constexpr std::int64_t left_panel_floats(std::int64_t steps) { return steps * left_step + 16; }

/// Memory that is soon to be read: `rows` rows, `stride` floats apart, that begin at `at`; `lines`
/// cache lines in all, a line of each row first.
class Ahead {
 public:
  Ahead() = default;
  Ahead(float const* at, std::int64_t stride, std::int64_t rows, std::int64_t floats)
      : at_(at), stride_(stride), rows_(rows), lines_(rows * ((floats + 15) / 16)) {}

  bool done() const { return lines_ == 0; }

  /// Asks for a line, which is to wait in the second-level cache.
  void ask() {
    if (done()) return;
    __builtin_prefetch(at_ + row_ * stride_, 0, 2);
    --lines_;
    if (++row_ < rows_) return;
    row_ = 0;
    at_ += 16;
  }

 private:
  float const* at_ = nullptr;
  std::int64_t stride_ = 0, rows_ = 0, lines_ = 0, row_ = 0;
};

/// Where a tile of sums goes: z = alpha sums, or z += alpha sums; and what is asked for meanwhile.
struct SumTarget {
  float* at;
  std::int64_t stride, columns;
  float alpha;
  bool adds;
  Ahead* ahead;
};

/// Left numbers that lie step by step: packed, or as columns of memory.
struct LeftSteps {
  float const* at;
  std::int64_t stride;  ///< from a step to the next

  float operator()(int row, int step) const { return at[step * stride + row]; }
  void advance(std::int64_t steps) { at += steps * stride; }
};

/// Left numbers that lie row by row. Of three rows in a row two are reached from the first one, or
/// their addresses would take more registers than there are.
template <int rows> struct LeftRows {
  std::array<float const*, static_cast<std::size_t>((rows + 2) / 3)> thirds;
  std::int64_t stride;  ///< from a row to the next

  explicit LeftRows(LeftSteps const& from) : stride(from.stride) {
    for (std::size_t i = 0; i < thirds.size(); ++i)
      thirds[i] = from.at + static_cast<std::int64_t>(3 * i) * stride;
  }
  float operator()(int row, int step) const {
    return thirds[static_cast<std::size_t>(row / 3)][row % 3 * stride + step];
  }
  void advance(std::int64_t steps) {
    for (auto& third : thirds) third += steps;
  }
};

template <int rows> using Sums = __m512[static_cast<std::size_t>(rows)][2];

template <int rows>
[[gnu::target("avx512f"), gnu::always_inline]] inline void add_step(Sums<rows>& sums,
                                                                    auto const& left, int step,
                                                                    float const* right) {
  auto const low = _mm512_load_ps(right), high = _mm512_load_ps(right + 16);
#pragma GCC unroll 14
  for (int i = 0; i < rows; ++i) {
    auto const x = _mm512_set1_ps(left(i, step));
    sums[i][0] = _mm512_fmadd_ps(x, low, sums[i][0]);
    sums[i][1] = _mm512_fmadd_ps(x, high, sums[i][1]);
  }
}

template <bool adds, int rows>
[[gnu::target("avx512f"), gnu::always_inline]] inline void store_sums(Sums<rows> const& sums,
                                                                      SumTarget const& z) {
  auto const alpha = _mm512_set1_ps(z.alpha), zero = _mm512_setzero_ps();
  __mmask16 const lanes[] = {first_lanes(z.columns), first_lanes(z.columns - 16)};
  auto* at = z.at;
#pragma GCC unroll 14
  for (int i = 0; i < rows; ++i, at += z.stride)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      auto const was = adds ? _mm512_maskz_loadu_ps(lanes[j], at + 16 * j) : zero;
      _mm512_mask_storeu_ps(at + 16 * j, lanes[j], _mm512_fmadd_ps(alpha, sums[i][j], was));
    }
}

/// The sums of `rows` rows over `steps` steps, stored. What they are stored to is asked for on the
/// way, a row at a time: all at once, they would hold up the panels.
template <int rows, class Left>
[[gnu::target("avx512f")]] inline void multiply_tile(std::int64_t steps, LeftSteps from,
                                                     float const* right, SumTarget const& z) {
  Sums<rows> sums;
#pragma GCC unroll 14
  for (int i = 0; i < rows; ++i) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
  Left left(from);
  auto const* soon = z.at;
  std::int64_t step = 0;
  for (; step + 4 <= steps; step += 4, left.advance(4), right += 4 * sum_columns) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) add_step<rows>(sums, left, i, right + i * sum_columns);
    if (step >= 4 * rows) {
      z.ahead->ask();
      continue;
    }
    __builtin_prefetch(soon, 1);
    __builtin_prefetch(soon + 16, 1);
    soon += z.stride;
  }
  for (; step < steps; ++step, left.advance(1), right += sum_columns)
    add_step<rows>(sums, left, 0, right);
  z.adds ? store_sums<true, rows>(sums, z) : store_sums<false, rows>(sums, z);
}

using TileKernel = void (*)(std::int64_t, LeftSteps, float const*, SumTarget const&);

/// For each number of rows, from one on.
inline constexpr auto tile_kernels = []<int... i>(std::integer_sequence<int, i...>) {
  return std::array<TileKernel, sizeof...(i)>{multiply_tile<i + 1, LeftSteps>...};
}
(std::make_integer_sequence<int, static_cast<int>(sum_rows)>{});

/// For `sum_rows` rows that lie row by row.
inline constexpr TileKernel row_kernel = multiply_tile<sum_rows, LeftRows<sum_rows>>;

}  // namespace nxd::detail
#endif
