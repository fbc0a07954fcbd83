// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/bf16_block.hpp>
#include <nxd/tensor/kernels/scratch.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// An operand of a product by tiles: packed whole, or as it lies.
struct Bf16Side {
  Bf16Lines lines;
  std::byte const* packed;  ///< null if it is not
};

/// Products of bf16 by tiles, sums in fp32. A strip of columns of the right operand is packed and
/// stays in a second-level cache; all panels of the left one pass by, as they lie in memory where
/// its rows can be tiles. `Blocks`, `AmxBlocks` or `Avx512Blocks`, makes a block of 32 by 32 of two
/// panels. The order of sums depends on k alone.
template <class Blocks> class Bf16TileProduct {
 public:
  Bf16TileProduct(Bf16Side const& left, Bf16Side const& right, PartStore store, int threads)
      : left_(left), right_(right), store_(store), threads_(threads), steps_(left.lines.steps()) {
    own_left_ = left_.packed == nullptr && !left_.lines.by_rows();
    auto const rows = left_.lines.panels(), columns = right_.lines.panels();
    asks_ = rows > 0 && rows <= few_panels && steps_ > 0 &&
            (right_.lines.by_rows() || steps_ > deepest);
    choose_parts(rows);
    // Each thread its rows, the same in every product of so many. Or its columns, if there are too
    // few rows, or if it can pack them by itself: sums that wait for more would have it done again.
    own_strips_ = right_.packed == nullptr && !own_left_ && (whole() || asks_) &&
                  (rows < threads_ || parts_of(columns, strip_) >= threads_);
    by_columns_ = own_strips_ || rows < threads_;
    if (own_strips_ || !asks_) return;
    asks_ = false;
    choose_parts(rows);
  }

  void run() {
    auto* const right = right_.packed == nullptr && !own_strips_ ? room<0>(right_) : nullptr;
#pragma omp parallel if (threads_ > 1)
    {
      if (right != nullptr) pack_all(right_.lines, OperandSide::right, right, threads_);
      if (right != nullptr) {
#pragma omp barrier
      }
#pragma omp for schedule(static) nowait
      for (int thread = 0; thread < threads_; ++thread) multiply_share(thread);
    }
  }

 private:
  static constexpr std::int64_t block_bytes = block_floats * 4;
  /// Steps that are summed at a time. More is better than to write sums and to read them again.
  static constexpr std::int64_t deepest = 64;
  static constexpr auto strip_bytes = Blocks::strip_bytes, sums_bytes = Blocks::sums_bytes;
  /// Of no more rows than these, parts of the right operand are asked for ahead.
  static constexpr std::int64_t few_panels = 16, shallow = 12;
  static constexpr std::int64_t asked_bytes = std::int64_t{512} << 10;
  /// What of the left operand is packed at a time, if it has to be.
  static constexpr std::int64_t left_bytes = std::int64_t{1} << 20;
  /// A left operand that is longer does not stay in that cache: it is asked for ahead.
  static constexpr std::int64_t long_bytes = std::int64_t{1} << 20;

  /// How wide and how deep a part of the right operand is. Of few rows sums can wait, and parts are
  /// smaller: while one is multiplied, the memory of the next is asked for. Columns of memory are
  /// packed along its rows, so their parts are rather wide than deep.
  void choose_parts(std::int64_t rows) {
    auto const part = right_.lines.by_rows() ? deepest / 2 : shallow;
    depth_ = even_length(steps_, asks_ && steps_ > deepest ? part : deepest);
    strip_ = (asks_ ? asked_bytes : strip_bytes) / (depth_ * step_bytes);
    if (asks_ && !whole()) strip_ = std::min(strip_, sums_bytes / (rows * block_bytes));
    strip_ = std::max<std::int64_t>(1, strip_);
  }

  static std::size_t size(std::int64_t bytes) { return static_cast<std::size_t>(bytes); }
  template <int> static Scratch& scratch() {
    thread_local Scratch one;
    return one;
  }

  /// Where an operand is packed whole.
  template <int which> static std::byte* room(Bf16Side& x) {
    auto* const at = scratch<which>().at_least(size(x.lines.packed_bytes()));
    x.packed = at;
    return at;
  }

  bool whole() const { return depth_ >= steps_; }

  void multiply_share(std::int64_t thread) const {
    Panels rows{0, left_.lines.panels()}, columns{0, right_.lines.panels()};
    (by_columns_ ? columns : rows) = (by_columns_ ? columns : rows).share(thread, threads_);
    if (rows.count() == 0 || columns.count() == 0) return;
    [[maybe_unused]] typename Blocks::Unit const unit;
    auto const strip = even_length(columns.count(), strip_);
    auto const most = std::max<std::int64_t>(1, sums_bytes / (strip * block_bytes));
    auto height = whole() ? rows.count() : even_length(rows.count(), most);
    if (own_left_)
      height = std::min(height, std::max<std::int64_t>(1, left_bytes / (depth_ * step_bytes)));
    auto* const sums = reinterpret_cast<float*>(
        scratch<2>().at_least(size((whole() ? 2 : height * strip) * block_bytes)));
    // What a thread packs for itself is the outer loop.
    auto const multiply_part = [&](std::int64_t row, std::int64_t column) {
      auto const strip_columns = columns.part(column, strip);
      auto const next = columns.part(std::min(column + strip, columns.last), strip);
      multiply({rows.part(row, height), strip_columns, next}, sums, column > columns.first);
    };
    if (own_left_)
      for (auto row = rows.first; row < rows.last; row += height)
        for (auto column = columns.first; column < columns.last; column += strip)
          multiply_part(row, column);
    else
      for (auto column = columns.first; column < columns.last; column += strip)
        for (auto row = rows.first; row < rows.last; row += height) multiply_part(row, column);
    _mm_sfence();  // what stores have sent past the caches is there for other threads too
  }

  /// A part of a thread's work, and its steps [first, last).
  struct Piece {
    Panels rows, columns, next;  ///< and the columns that come next
    std::int64_t first = 0, last = 0;
    std::byte const* right = nullptr;  ///< of the first column
    std::int64_t right_bytes = 0;      ///< from a column to the next

    std::int64_t steps() const { return last - first; }
  };

  /// @param again these rows have been multiplied just before
  void multiply(Piece piece, float* sums, bool again) const {
    LateStore last(store_);
    do {
      piece.last = std::min(piece.first + depth_, steps_);
      take_right(piece);
      auto soon = part_after(piece);
      if (own_left_ && !(again && whole())) pack_left(piece);
      std::int64_t blocks = 0;
      for (auto row = piece.rows.first; row < piece.rows.last; ++row)
        multiply_row(piece, row, last, soon, [&] {
          auto const block = whole() ? blocks % 2 : blocks;
          ++blocks;
          return sums + block * block_floats;
        });
      piece.first = piece.last;
    } while (piece.first < steps_);
    last.now();
  }

  void multiply_row(Piece const& p, std::int64_t row, LateStore& last, PartAhead& soon,
                    auto const& next_block) const {
    auto const left = left_panel(p, row);
    auto ahead = tiles_after(p, row);
    for (auto column = p.columns.first; column < p.columns.last; ++column) {
      auto* const block = next_block();
      auto const stored = part(row, column, block);
      bool const ends = p.last == steps_;
      if (ends && store_.ask != nullptr) store_.ask(store_.store, stored);
      Blocks::multiply(left, p.right + (column - p.columns.first) * p.right_bytes, p.steps(),
                       {block, stored.rows, stored.columns, p.first > 0}, {last, ahead, soon});
      last.now();
      if (ends) last.later(stored);
    }
  }

  /// What the thread packs next.
  PartAhead part_after(Piece const& p) const {
    if (!asks_) return {};
    auto const first = p.last < steps_ ? p.last : 0;
    auto const& columns = p.last < steps_ ? p.columns : p.next;
    return {right_.lines,
            {columns.first, columns.last, first, std::min(first + depth_, steps_)},
            p.rows.count() * p.columns.count() * p.steps()};
  }

  /// Where the right operand of a piece lies packed; now, if that is its thread's matter.
  void take_right(Piece& p) const {
    if (!own_strips_) {
      p.right = right_.packed + (p.columns.first * steps_ + p.first) * step_bytes;
      p.right_bytes = steps_ * step_bytes;
      return;
    }
    p.right_bytes = p.steps() * step_bytes;
    auto* const at = scratch<0>().at_least(size(p.columns.count() * p.right_bytes));
    pack_part<OperandSide::right>(right_.lines, {p.columns.first, p.columns.last, p.first, p.last},
                                  at);
    p.right = at;
  }

  void pack_left(Piece const& p) const {
    auto* const at = scratch<1>().at_least(size(p.rows.count() * p.steps() * step_bytes));
    pack_part<OperandSide::left>(left_.lines, {p.rows.first, p.rows.last, p.first, p.last}, at);
  }

  LeftTiles left_panel(Piece const& p, std::int64_t row) const {
    if (left_.packed != nullptr) return {left_.packed + (row * steps_ + p.first) * step_bytes};
    if (own_left_)
      return {scratch<1>().at_least(0) + (row - p.rows.first) * p.steps() * step_bytes};
    if (as_it_lies(row)) return tiles_in_memory(p, row);
    auto* const room = scratch<1>().at_least(size(depth_ * step_bytes));
    pack_part<OperandSide::left>(left_.lines, {row, row + 1, p.first, p.last}, room);
    return {room};
  }

  LeftTiles tiles_in_memory(Piece const& p, std::int64_t row) const {
    auto const bytes = 2 * left_.lines.from.line_stride;
    auto const from = left_.lines.from.from(row * panel_lines, p.first * step_depth);
    return {reinterpret_cast<std::byte const*>(from.at), bytes, 64};
  }

  /// What comes after a row of blocks, if it comes from far.
  TilesAhead tiles_after(Piece const& p, std::int64_t row) const {
    auto const& x = left_.lines;
    if (left_.packed != nullptr || own_left_ || row + 1 >= p.rows.last || !as_it_lies(row + 1) ||
        2 * x.lines * x.k <= long_bytes)
      return {};
    return {tiles_in_memory(p, row + 1), p.steps()};
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

  Bf16Side left_, right_;
  PartStore store_;
  int threads_;
  std::int64_t steps_, depth_ = 1, strip_ = 1;
  bool asks_ = false, by_columns_ = false, own_strips_ = false, own_left_ = false;
};

}  // namespace nxd::detail
#endif
