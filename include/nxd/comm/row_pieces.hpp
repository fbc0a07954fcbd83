// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace nxd {

/// Rows [first, first + count).
struct RowRange {
  std::int64_t first = 0, count = 0;
};

/// Rows of values that ranks make, or get from each other, piece by piece: blocks of one length,
/// all cut alike. The blocks are the ranks' in turn, as slices of a sequence lie in each sample; or
/// all of them are everybody's.
struct RowPieces {
  std::int64_t blocks = 1;
  std::int64_t length = 1;  ///< rows of a block
  std::int64_t pieces = 1;  ///< of a block; none: the rows are not cut
  std::int64_t ranks = 0;   ///< whose blocks they are, in turn; 0: everybody's

  constexpr std::int64_t rows() const { return blocks * length; }
  constexpr std::int64_t count() const { return blocks * pieces; }

  /// Piece i, in memory's order. Where there are 16 rows for each, none is empty.
  constexpr RowRange operator[](std::int64_t i) const {
    auto const at = [&](std::int64_t j) {
      return j == pieces ? length : length * j / pieces / 16 * 16;
    };
    auto const j = i % pieces;
    return {i / pieces * length + at(j), at(j + 1) - at(j)};
  }

  constexpr std::int64_t owner(std::int64_t i) const { return i / pieces % ranks; }
  constexpr bool belongs_to(std::int64_t i, std::int64_t rank) const {
    return ranks == 0 || owner(i) == rank;
  }

  /// Calls `f(i)` for the pieces of a rank, in memory's order.
  constexpr void each_of(std::int64_t rank, auto const& f) const {
    for (std::int64_t i = 0; i < count(); ++i)
      if (belongs_to(i, rank)) f(i);
  }
  /// Calls `f(i)` for all pieces, as `rank` makes them for others: theirs first, which then travel,
  /// those of the rank after it before all.
  constexpr void each_for_others(std::int64_t rank, auto const& f) const {
    if (ranks == 0) return each_of(rank, f);
    for (std::int64_t d = 1; d <= ranks; ++d) each_of((rank + d) % ranks, f);
  }
  /// Likewise, as they come from others: its own, which are there, then those of the rank before
  /// it.
  constexpr void each_from_others(std::int64_t rank, auto const& f) const {
    for (std::int64_t d = 0; d < ranks; ++d) each_of((rank - d + ranks) % ranks, f);
  }
};

}  // namespace nxd
