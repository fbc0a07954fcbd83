// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstring>
#include <utility>

#include <nxd/tensor/kernels/bf16_block.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// Rows of a left panel: of three in a row two are reached from the first one, or their addresses
/// would take more registers than there are.
template <int rows> struct PairRows {
  std::array<std::byte const*, static_cast<std::size_t>((rows + 2) / 3)> thirds;
  std::int64_t stride;

  explicit PairRows(LeftTiles const& from) : stride(from.row_bytes) {
    for (std::size_t i = 0; i < thirds.size(); ++i)
      thirds[i] = from.at + static_cast<std::int64_t>(3 * i) * stride;
  }
  int operator()(int row, int pair) const {
    int both;
    std::memcpy(&both, thirds[static_cast<std::size_t>(row / 3)] + row % 3 * stride + pair * 4, 4);
    return both;
  }
  void advance(std::int64_t bytes) {
    for (auto& third : thirds) third += bytes;
  }
};

/// Some rows of a block (+)= rows of a left panel times a right one, `steps` deep. All sums stay in
/// registers.
template <int rows>
[[gnu::target("avx512bf16")]] inline void multiply_rows(LeftTiles const& x, std::byte const* right,
                                                        std::int64_t steps,
                                                        BlockSums const& block) {
  __m512 sums[static_cast<std::size_t>(rows)][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half)
      sums[i][half] = block.adds ? _mm512_load_ps(block.at + i * panel_lines + half * tile_lines)
                                 : _mm512_setzero_ps();
  PairRows<rows> left(x);
  for (std::int64_t step = 0; step < steps; ++step, left.advance(x.step), right += step_bytes)
#pragma GCC unroll 4
    for (int pair = 0; pair < tile_lines; ++pair) {
      auto const low = reinterpret_cast<__m512bh>(_mm512_load_si512(right + pair * 64));
      auto const high =
          reinterpret_cast<__m512bh>(_mm512_load_si512(right + tile_bytes + pair * 64));
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        auto const both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(left(i, pair)));
        sums[i][0] = _mm512_dpbf16_ps(sums[i][0], both, low);
        sums[i][1] = _mm512_dpbf16_ps(sums[i][1], both, high);
      }
    }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half)
      _mm512_store_ps(block.at + i * panel_lines + half * tile_lines, sums[i][half]);
}

using PairKernel = void (*)(LeftTiles const&, std::byte const*, std::int64_t, BlockSums const&);

/// For each number of rows, from one on.
inline constexpr auto pair_kernels = []<int... i>(std::integer_sequence<int, i...>) {
  return std::array<PairKernel, sizeof...(i)>{multiply_rows<i + 1>...};
}
(std::make_integer_sequence<int, 8>{});

/// Blocks of a product of bf16 by AVX-512, some rows at a time.
struct Avx512Blocks {
  struct Unit {};
  /// What stays in a cache of 1 MiB: a strip of the right operand, sums that wait for more.
  static constexpr std::int64_t strip_bytes = std::int64_t{512} << 10;
  static constexpr std::int64_t sums_bytes = std::int64_t{256} << 10;

  /// block[32, 32] (+)= a panel times a panel, `steps` deep.
  static void multiply(LeftTiles const& x, std::byte const* right, std::int64_t steps,
                       BlockSums const& sums, Meanwhile const& meanwhile) {
    meanwhile.last.now();
    multiply_parts(x, right, steps, sums, [&](std::int64_t count) {
      for (std::int64_t step = 0; step < count; ++step) meanwhile.ask();
    });
  }

  /// The same of panels that are both packed.
  static void multiply(std::byte const* left, std::byte const* right, std::int64_t steps,
                       BlockSums const& sums) {
    multiply_parts({left}, right, steps, sums, [](std::int64_t) {});
  }

 private:
  static constexpr std::int64_t most_rows = std::ssize(pair_kernels);
  /// Of which 16 KiB of the right panel, and as much of the left one.
  static constexpr std::int64_t near_steps = 8;

  /// As many steps at a time as stay in a first-level cache. Calls `done(steps)` after each part.
  static void multiply_parts(LeftTiles x, std::byte const* right, std::int64_t steps,
                             BlockSums sums, auto const& done) {
    do {
      auto const count = std::min(steps, near_steps);
      for (std::int64_t row = 0; row < sums.rows; row += most_rows) {
        auto const rows = std::min(most_rows, sums.rows - row);
        pair_kernels[static_cast<std::size_t>(rows - 1)](
            {x.at + row * x.row_bytes, x.row_bytes, x.step}, right, count,
            {sums.at + row * panel_lines, rows, sums.columns, sums.adds});
      }
      done(count);
      x.at += count * x.step, right += count * step_bytes;
      sums.adds = true;
      steps -= count;
    } while (steps > 0);
  }
};

}  // namespace nxd::detail
#endif
