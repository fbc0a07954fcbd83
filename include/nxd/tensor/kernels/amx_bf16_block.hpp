// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx_tiles.hpp>
#include <nxd/tensor/kernels/bf16_block.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// Blocks of a product of bf16 by AMX.
struct AmxBlocks {
  using Unit = AmxTiles;
  /// What stays in a cache of 2 MiB: a strip of the right operand, sums that wait for more.
  static constexpr std::int64_t strip_bytes = std::int64_t{1280} << 10;
  static constexpr std::int64_t sums_bytes = std::int64_t{512} << 10;

  /// block[32, 32] (+)= a panel times a panel, `steps` deep.
  [[gnu::target("amx-bf16,avx512bf16")]] static void multiply(LeftTiles const& x,
                                                              std::byte const* right,
                                                              std::int64_t steps,
                                                              BlockSums const& sums,
                                                              Meanwhile const& meanwhile) {
    constexpr auto bytes = panel_lines * 4;
    auto* const lower = sums.at + tile_lines * panel_lines;
    asm volatile("" ::: "memory");
    if (sums.adds) {
      _tile_loadd(0, sums.at, bytes);
      _tile_loadd(1, sums.at + tile_lines, bytes);
      _tile_loadd(2, lower, bytes);
      _tile_loadd(3, lower + tile_lines, bytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    auto const* left = x.at;
    auto const second = tile_lines * x.row_bytes;
    for (std::int64_t step = 0; step < steps; ++step, left += x.step, right += step_bytes) {
      // Each tile is loaded just before its first product: loads and products overlap.
      _tile_loadd(6, right, 64);
      _tile_loadd(4, left, x.row_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, right + tile_bytes, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, left + second, x.row_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      if (step == 1) meanwhile.last.now();
      meanwhile.ask();
    }
    _tile_stored(0, sums.at, bytes);
    _tile_stored(1, sums.at + tile_lines, bytes);
    _tile_stored(2, lower, bytes);
    _tile_stored(3, lower + tile_lines, bytes);
    asm volatile("" ::: "memory");
  }

  /// The same of panels that are both packed, by as many tiles as are wanted.
  static void multiply(std::byte const* left, std::byte const* right, std::int64_t steps,
                       BlockSums const& sums) {
    constexpr auto one = Bf16Terms::one;
    auto const multiply = sums.rows <= tile_lines      ? multiply_panels<one, 1, 2>
                          : sums.columns <= tile_lines ? multiply_panels<one, 2, 1>
                                                       : multiply_panels<one, 2, 2>;
    multiply(left, right, steps, sums.at, panel_lines, sums.adds);
  }
};

}  // namespace nxd::detail
#endif
