// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx_bf16_block.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// An operand of a product by tiles: packed whole, or as it lies.
struct AmxBf16Side {
  Bf16Lines lines;
  std::byte const* packed;  ///< null if it is not
};

/// Products of bf16 by tiles, sums in fp32. A strip of columns of the right operand is packed and
/// stays in a second-level cache; all panels of the left one pass by, as they lie in memory where
/// its rows can be tiles. The order of sums depends on k alone.
class AmxBf16Product {
 public:
  AmxBf16Product(AmxBf16Side const& left, AmxBf16Side const& right, PartStore store,
                 std::int64_t threads)
      : left_(left), right_(right), store_(store), threads_(threads), steps_(left.lines.steps()) {
    depth_ = even_length(steps_, deepest);
    auto const most = std::max<std::int64_t>(1, strip_bytes / (depth_ * step_bytes));
    auto const panels = right_.lines.panels();
    strip_ = even_length(panels, most);
    // Threads pack a strip each, if there are enough and their sums need not wait for more.
    own_strips_ = right_.packed == nullptr && whole() && parts_of(panels, strip_) >= threads_;
    if (own_strips_)
      strip_ = even_length(panels, parts_of(panels, round_up(parts_of(panels, strip_), threads_)));
    auto const most_rows =
        whole() ? rows_a_job : std::max<std::int64_t>(1, sums_bytes / (strip_ * block_bytes));
    rows_ = own_strips_ ? left_.lines.panels() : even_length(left_.lines.panels(), most_rows);
  }

  void run() {
    auto const row_parts = left_.lines.panels() == 0 ? 0 : parts_of(left_.lines.panels(), rows_);
    auto const strips = parts_of(right_.lines.panels(), strip_);
    if (right_.packed == nullptr && !own_strips_)
      right_.packed = packed_whole<0, OperandSide::right>(right_.lines);
    if (left_.packed == nullptr && !left_.lines.by_rows())
      left_.packed = packed_whole<3, OperandSide::left>(left_.lines);
#pragma omp parallel num_threads(static_cast <int>(threads_)) if (threads_ > 1)
    {
      AmxTiles const tiles;
#pragma omp for schedule(dynamic)
      for (std::int64_t job = 0; job < row_parts * strips; ++job)
        multiply(job % row_parts * rows_, job / row_parts * strip_);
    }
  }

 private:
  static constexpr std::int64_t block_bytes = block_floats * 4;
  /// Steps that are summed at a time. More is better than to write sums and to read them again.
  static constexpr std::int64_t deepest = 64;
  /// What stays in a cache of 2 MiB: a strip of the right operand, sums that wait for more.
  static constexpr std::int64_t strip_bytes = std::int64_t{1280} << 10;
  static constexpr std::int64_t sums_bytes = std::int64_t{512} << 10;
  static constexpr std::int64_t rows_a_job = 16;

  static std::size_t size(std::int64_t bytes) { return static_cast<std::size_t>(bytes); }
  static std::int64_t round_up(std::int64_t n, std::int64_t unit) {
    return parts_of(n, unit) * unit;
  }
  template <int> static AmxScratch& scratch() {
    thread_local AmxScratch one;
    return one;
  }

  template <int which, OperandSide side> std::byte const* packed_whole(Bf16Lines const& x) const {
    auto* const room = scratch<which>().at_least(size(x.packed_bytes()));
    pack_all(x, side, room, threads_);
    return room;
  }

  bool whole() const { return depth_ >= steps_; }

  /// Part of one job: rows and columns in panels, and steps [first, last).
  struct Piece {
    std::int64_t row, row_end, column, column_end;
    std::int64_t first, last;
    std::byte const* right;  ///< step 0 of the first column

    std::int64_t steps() const { return last - first; }
  };

  void multiply(std::int64_t row, std::int64_t column) const {
    Piece piece{row,
                std::min(row + rows_, left_.lines.panels()),
                column,
                std::min(column + strip_, right_.lines.panels()),
                0,
                0,
                right_.packed + column * steps_ * step_bytes};
    if (own_strips_) {
      auto* const room = scratch<0>().at_least(size(strip_ * steps_ * step_bytes));
      pack_panels<OperandSide::right>(right_.lines, column, piece.column_end, room);
      piece.right = room;
    }
    auto* const sums = reinterpret_cast<float*>(
        scratch<2>().at_least(size((whole() ? 2 : rows_ * strip_) * block_bytes)));
    LateStore last(store_);
    do {
      piece.last = std::min(piece.first + depth_, steps_);
      std::int64_t blocks = 0;
      for (auto panel = piece.row; panel < piece.row_end; ++panel) {
        multiply_row(piece, panel, last, [&] {
          auto const block = whole() ? blocks % 2 : blocks;
          ++blocks;
          return sums + block * block_floats;
        });
      }
      piece.first = piece.last;
    } while (piece.first < steps_);
    last.now();
  }

  void multiply_row(Piece const& p, std::int64_t row, LateStore& last,
                    auto const& next_block) const {
    auto const left = left_panel(p, row);
    for (auto column = p.column; column < p.column_end; ++column) {
      auto* const block = next_block();
      multiply_block(left, p.right + ((column - p.column) * steps_ + p.first) * step_bytes,
                     p.steps(), block, p.first > 0, last);
      last.now();
      if (p.last == steps_) last.later(part(row, column, block));
    }
  }

  LeftTiles left_panel(Piece const& p, std::int64_t row) const {
    if (left_.packed != nullptr) return {left_.packed + (row * steps_ + p.first) * step_bytes};
    if (as_it_lies(row)) {
      auto const bytes = 2 * left_.lines.from.line_stride;
      auto const from = left_.lines.from.from(row * panel_lines, p.first * step_depth);
      return {reinterpret_cast<std::byte const*>(from.at), bytes, tile_lines * bytes, 64};
    }
    auto* const room = scratch<1>().at_least(size(depth_ * step_bytes));
    for (auto step = p.first; step < p.last; ++step)
      pack_step<OperandSide::left>(left_.lines, row, step, room + (step - p.first) * step_bytes);
    return {room};
  }

  /// Whether the tiles of a panel lie in memory as they are loaded, in whole cache lines.
  bool as_it_lies(std::int64_t row) const {
    auto const& x = left_.lines;
    return x.by_rows() && x.k % step_depth == 0 && (row + 1) * panel_lines <= x.lines &&
           x.from.line_stride % 32 == 0 && reinterpret_cast<std::uintptr_t>(x.from.at) % 64 == 0;
  }

  ProductPart part(std::int64_t row, std::int64_t column, float const* block) const {
    auto const i = row * panel_lines, j = column * panel_lines;
    return {i,
            j,
            std::min(panel_lines, left_.lines.lines - i),
            std::min(panel_lines, right_.lines.lines - j),
            block,
            panel_lines};
  }

  AmxBf16Side left_, right_;
  PartStore store_;
  std::int64_t threads_, steps_, depth_ = 1, strip_ = 1, rows_ = 1;
  bool own_strips_ = false;
};

}  // namespace nxd::detail
#endif
