// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <nxd/comm/posted_gather.hpp>
#include <nxd/comm/posted_reduction.hpp>

namespace nxd {

/// What carries exchanges over ranks beside products: one sum and one gather at a time.
template <Communicator C, Transferable T> struct Beside {
  PostedReduction<C, T> sum;
  PostedGather<C> gather;
};

namespace detail {

/// How many pieces so many rows of a product, of so many multiplications each, are cut into for an
/// exchange beside it. Each is long enough to be made by whoever makes large products, hardly
/// slower than the whole, and for it to cost next to nothing that it travels alone. 0: it is not
/// worth it. All ranks are to find the same, so it is known from sizes alone.
constexpr std::int64_t pieces_of_rows(std::int64_t rows, std::int64_t work_of_a_row) {
  constexpr std::int64_t most = 8, least = 64, enough = 128, least_work = std::int64_t{1} << 22;
  if (rows < least || rows * work_of_a_row < least_work) return 0;
  return std::clamp(std::min(rows / enough, rows * work_of_a_row / least_work), std::int64_t{1},
                    most);
}

// When a product that makes what ranks exchange, or takes it, makes which rows. It calls
// `in_turn(make)`, which calls `make(rows)` for piece after piece; or, if its pieces would have
// other bits than the whole, `at_once(make)`. What is at once may come after what is in turn.
// `go_on()` is to be called now and then, so that messages go on.

/// Nothing travels meanwhile.
struct InOneGo {
  RowPieces pieces{.pieces = 0};

  constexpr void in_turn(auto const&) const {}
  constexpr void at_once(auto const& make) const { make(); }
  constexpr void go_on() const {}
};

/// Rows are summed over ranks: what has been made leaves.
template <class Sum> struct BeforeSum {
  RowPieces pieces;
  std::int64_t place;
  Sum& sum;

  void in_turn(auto const& make) const {
    pieces.each_for_others(place, [&](std::int64_t i) {
      make(pieces[i]);
      sum.made(i);
    });
  }
  void at_once(auto const& make) const {
    make();
    pieces.each_for_others(place, [&](std::int64_t i) { sum.made(i); });
  }
  void go_on() const { sum.advance(); }
};

/// Rows come from other ranks: what is there is taken.
template <class Gather> struct AfterGather {
  RowPieces pieces;
  std::int64_t place;
  Gather& gather;

  void in_turn(auto const& make) const {
    std::int64_t come = 0;
    pieces.each_from_others(place, [&](std::int64_t i) {
      if (pieces.owner(i) != place) gather.wait_for(++come);
      make(pieces[i]);
    });
  }
  void at_once(auto const& make) const {
    gather.wait();
    make();
  }
  void go_on() const { gather.advance(); }
};

}  // namespace detail

}  // namespace nxd
