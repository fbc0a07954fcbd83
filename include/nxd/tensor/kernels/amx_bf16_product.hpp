// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx_bf16_pack.hpp>
#include <nxd/tensor/kernels/amx_tiles.hpp>
#include <nxd/tensor/kernels/product_store.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// An operand of a product by tiles: packed whole, or as it lies.
struct AmxBf16Side {
  Bf16Lines lines;
  std::byte const* packed;  ///< null if it is not
};

/// Products of bf16 by tiles, sums in fp32. The right operand is packed whole; panels of the left
/// one meet it in strips that stay in a second-level cache. The order of sums depends on k alone.
class AmxBf16Product {
 public:
  AmxBf16Product(AmxBf16Side const& left, AmxBf16Side const& right, PartStore store)
      : left_(left), right_(right), store_(store), steps_(left.lines.steps()) {
    depth_ = even_length(steps_, deepest_steps);
    auto const panel_bytes = depth_ * step_bytes;
    strip_ =
        even_length(right_.lines.panels(), std::max<std::int64_t>(1, strip_bytes / panel_bytes));
    // Sums that wait for the next steps stay in the cache too.
    auto const most_rows =
        depth_ < steps_ ? std::max<std::int64_t>(1, sums_bytes / (strip_ * block_bytes)) : 16;
    rows_ = even_length(left_.lines.panels(), most_rows);
  }

  void run(std::int64_t threads) {
    auto const row_parts = parts_of(left_.lines.panels(), rows_);
    auto const strips = parts_of(right_.lines.panels(), strip_);
    if (right_.packed == nullptr) {
      auto* const room =
          scratch<0>().at_least(static_cast<std::size_t>(right_.lines.packed_bytes()));
      pack_all(right_.lines, OperandSide::right, room, threads);
      right_.packed = room;
    }
#pragma omp parallel num_threads(static_cast <int>(threads)) if (threads > 1)
    {
      AmxTiles const tiles;
#pragma omp for schedule(dynamic)
      for (std::int64_t job = 0; job < row_parts * strips; ++job)
        multiply(job % row_parts, job / row_parts);
    }
  }

 private:
  static constexpr std::int64_t block_bytes = panel_lines * panel_lines * 4;
  static inline std::int64_t deepest_steps = 32;
  static inline std::int64_t strip_bytes = std::int64_t{1} << 20;
  static inline std::int64_t sums_bytes = std::int64_t{512} << 10;

  template <int> static AmxScratch& scratch() {
    thread_local AmxScratch one;
    return one;
  }

  void multiply(std::int64_t row_part, std::int64_t strip) const {
    auto const row_end = std::min((row_part + 1) * rows_, left_.lines.panels());
    auto const column_end = std::min((strip + 1) * strip_, right_.lines.panels());
    auto* const piece = scratch<1>().at_least(static_cast<std::size_t>(depth_ * step_bytes));
    bool const whole = depth_ >= steps_;
    auto* sums = reinterpret_cast<float*>(scratch<2>().at_least(
        static_cast<std::size_t>((whole ? 1 : rows_ * strip_) * block_bytes)));
    for (std::int64_t first = 0; first == 0 || first < steps_; first += depth_) {
      auto const last = std::min(first + depth_, steps_);
      auto* block = sums;
      for (auto row = row_part * rows_; row < row_end; ++row) {
        auto const* left = left_.packed + (row * steps_ + first) * step_bytes;
        if (left_.packed == nullptr) {
          pack_panel<OperandSide::left>(left_.lines, row, first, last, piece);
          left = piece;
        }
        for (auto column = strip * strip_; column < column_end; ++column) {
          multiply_panels<Bf16Terms::one, 2, 2>(
              left, right_.packed + (column * steps_ + first) * step_bytes, last - first, block,
              panel_lines, first > 0);
          if (last == steps_) store(row, column, block);
          if (!whole) block += panel_lines * panel_lines;
        }
      }
    }
  }

  void store(std::int64_t row, std::int64_t column, float const* block) const {
    auto const i = row * panel_lines, j = column * panel_lines;
    store_.wide(store_.store, {i, j, std::min(panel_lines, left_.lines.lines - i),
                               std::min(panel_lines, right_.lines.lines - j), block, panel_lines});
  }

  AmxBf16Side left_, right_;
  PartStore store_;
  std::int64_t steps_, depth_ = 1, strip_ = 1, rows_ = 1;
};

}  // namespace nxd::detail
#endif
