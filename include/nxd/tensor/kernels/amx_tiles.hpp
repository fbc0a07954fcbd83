// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx_pack.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// All eight tiles whole, while this lives.
class AmxTiles {
 public:
  [[gnu::target("amx-tile")]] AmxTiles() {
    alignas(64) struct {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const config;
    asm volatile("" ::"r"(&config) : "memory");  // compilers take the intrinsic to read one word
    _tile_loadconfig(&config);
  }
  [[gnu::target("amx-tile")]] ~AmxTiles() { _tile_release(); }
  AmxTiles(AmxTiles const&) = delete;
  AmxTiles& operator=(AmxTiles const&) = delete;
};

/// z[16 Rows, 16 Columns] (+)= a panel times a panel, `steps` deep.
template <Bf16Terms split, int Rows, int Columns>
[[gnu::target("amx-bf16,avx512bf16")]] inline void multiply_panels(std::byte const* left,
                                                                   std::byte const* right,
                                                                   std::int64_t steps, float* z,
                                                                   std::int64_t z_stride,
                                                                   bool accumulate) {
  auto const bytes = z_stride * 4;
  auto* const lower = z + tile_lines * z_stride;
  for (int i = 0; i < Rows * tile_lines; ++i) {
    __builtin_prefetch(z + i * z_stride, 1);
    if constexpr (Columns == 2) __builtin_prefetch(z + i * z_stride + tile_lines, 1);
  }
  asm volatile("" ::: "memory");
  if (accumulate) {
    _tile_loadd(0, z, bytes);
    if constexpr (Columns == 2) _tile_loadd(1, z + tile_lines, bytes);
    if constexpr (Rows == 2) _tile_loadd(2, lower, bytes);
    if constexpr (Rows == 2 && Columns == 2) _tile_loadd(3, lower + tile_lines, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::int64_t step = 0; step < steps; ++step) {
    // Each tile is loaded just before its first product: loads and products overlap.
    if constexpr (split == Bf16Terms::two) {
      _tile_loadd(6, right + 2 * tile_bytes, 64);
      _tile_loadd(4, left, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (Columns == 2) _tile_loadd(7, right + 3 * tile_bytes, 64);
      if constexpr (Columns == 2) _tile_dpbf16ps(1, 4, 7);
      if constexpr (Rows == 2) _tile_loadd(5, left + tile_bytes, 64);
      if constexpr (Rows == 2) _tile_dpbf16ps(2, 5, 6);
      if constexpr (Rows == 2 && Columns == 2) _tile_dpbf16ps(3, 5, 7);
      _tile_loadd(6, right, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (Columns == 2) _tile_loadd(7, right + tile_bytes, 64);
      if constexpr (Columns == 2) _tile_dpbf16ps(1, 4, 7);
      if constexpr (Rows == 2) _tile_dpbf16ps(2, 5, 6);
      if constexpr (Rows == 2 && Columns == 2) _tile_dpbf16ps(3, 5, 7);
      _tile_loadd(4, left + 2 * tile_bytes, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (Columns == 2) _tile_dpbf16ps(1, 4, 7);
      if constexpr (Rows == 2) _tile_loadd(5, left + 3 * tile_bytes, 64);
    } else {
      _tile_loadd(6, right, 64);
      _tile_loadd(4, left, 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (Columns == 2) _tile_loadd(7, right + tile_bytes, 64);
      if constexpr (Columns == 2) _tile_dpbf16ps(1, 4, 7);
      if constexpr (Rows == 2) _tile_loadd(5, left + tile_bytes, 64);
    }
    if constexpr (Rows == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (Rows == 2 && Columns == 2) _tile_dpbf16ps(3, 5, 7);
    left += 2 * static_cast<int>(split) * tile_bytes;
    right += 2 * static_cast<int>(split) * tile_bytes;
  }
  _tile_stored(0, z, bytes);
  if constexpr (Columns == 2) _tile_stored(1, z + tile_lines, bytes);
  if constexpr (Rows == 2) _tile_stored(2, lower, bytes);
  if constexpr (Rows == 2 && Columns == 2) _tile_stored(3, lower + tile_lines, bytes);
  asm volatile("" ::: "memory");
}

/// The same where z has only some rows and columns of the panels.
template <Bf16Terms split>
inline void multiply_edge(std::byte const* left, std::byte const* right, std::int64_t steps,
                          std::int64_t rows, std::int64_t columns, float* z, std::int64_t z_stride,
                          bool accumulate) {
  alignas(64) std::array<float, panel_lines * panel_lines> whole;
  if (accumulate)
    for (std::int64_t i = 0; i < rows; ++i)
      std::copy_n(z + i * z_stride, columns, whole.data() + i * panel_lines);
  bool const low = rows <= tile_lines, narrow = columns <= tile_lines;
  auto const multiply = low ? narrow ? multiply_panels<split, 1, 1> : multiply_panels<split, 1, 2>
                        : narrow ? multiply_panels<split, 2, 1>
                                 : multiply_panels<split, 2, 2>;
  multiply(left, right, steps, whole.data(), panel_lines, accumulate);
  for (std::int64_t i = 0; i < rows; ++i)
    std::copy_n(whole.data() + i * panel_lines, columns, z + i * z_stride);
}

}  // namespace nxd::detail
#endif
