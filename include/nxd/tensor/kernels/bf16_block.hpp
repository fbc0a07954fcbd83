// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/bf16_pack.hpp>
#include <nxd/tensor/kernels/product_store.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

inline constexpr std::int64_t block_floats = panel_lines * panel_lines;

/// Stores a finished block while the next one is made: by then it has come from the tiles of AMX,
/// and the vector units are idle.
class LateStore {
 public:
  explicit LateStore(PartStore store) : store_(store) {}

  void later(ProductPart const& part) { part_ = part, waiting_ = true; }
  void now() {
    if (waiting_) store_.wide(store_.store, part_);
    waiting_ = false;
  }

 private:
  PartStore store_;
  ProductPart part_{};
  bool waiting_ = false;
};

/// Where the left tiles of a panel are: packed, or where the matrix lies.
struct LeftTiles {
  std::byte const* at;
  std::int64_t row_bytes = 64, step = step_bytes;  ///< bytes to the next one
};

/// Where a block is summed, 32 floats a row; how many rows and columns are wanted, others are
/// there; and whether there are sums already.
struct BlockSums {
  float* at;
  std::int64_t rows, columns;
  bool adds;
};

/// Tiles of a left panel that lie in memory and are wanted soon. They are asked for line by line
/// while others are multiplied: hardware sees no order in 32 rows at a time.
class TilesAhead {
 public:
  TilesAhead() = default;
  TilesAhead(LeftTiles const& x, std::int64_t steps)
      : at_(x.at), row_bytes_(x.row_bytes), lines_(steps * panel_lines) {}

  /// The next `count` cache lines.
  void ask(std::int64_t count) {
    if (line_ >= lines_) return;
    for (auto last = std::min(lines_, line_ + count); line_ < last; ++line_)
      __builtin_prefetch(at_ + line_ % panel_lines * row_bytes_ + line_ / panel_lines * 64, 0, 2);
  }

 private:
  std::byte const* at_ = nullptr;
  std::int64_t row_bytes_ = 0, lines_ = 0, line_ = 0;
};

/// A part of an operand that is packed soon: its memory is asked for, line by line, while another
/// part is multiplied.
class PartAhead {
 public:
  PartAhead() = default;
  /// @param steps of the tiles, until it is wanted
  PartAhead(Bf16Lines const& x, PackPart const& part, std::int64_t steps) {
    auto const panels = part.last_panel - part.first_panel,
               depth = part.last_step - part.first_step;
    at_ = reinterpret_cast<std::byte const*>(
        x.from.from(part.first_panel * panel_lines, part.first_step * step_depth).at);
    row_bytes_ = 2 * (x.by_rows() ? x.from.line_stride : x.from.k_stride);
    width_ = x.by_rows() ? depth : panels;
    left_ = panel_lines * panels * depth;
    at_a_time_ = parts_of(left_, steps);
  }

  /// So many cache lines that all are asked for in time.
  void ask() {
    auto const count = std::min(left_, at_a_time_);
    left_ -= count;
    for (std::int64_t i = 0; i < count; ++i) {
      __builtin_prefetch(at_ + column_ * 64, 0, 2);
      if (++column_ == width_) column_ = 0, at_ += row_bytes_;
    }
  }

 private:
  std::byte const* at_ = nullptr;
  std::int64_t row_bytes_ = 0, width_ = 0, column_ = 0, left_ = 0, at_a_time_ = 0;
};

/// What goes on while a block is made: the last one is stored, memory is asked for.
struct Meanwhile {
  LateStore& last;
  TilesAhead& tiles;
  PartAhead& part;

  void ask() const { tiles.ask(4), part.ask(); }
};

}  // namespace nxd::detail
#endif
