// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

namespace detail {

/// Pieces that a loop of so many lines can be cut into, each of which is made as the whole would
/// be: makers of products are chosen by whether there are 64 lines, or 512. Each begins at a
/// multiple of 16.
constexpr std::int64_t most_pieces(std::int64_t lines) {
  return std::max<std::int64_t>(1, lines >= 512 ? lines / 544 : lines / 96);
}

/// Pieces of a product: each takes long enough that to begin it costs next to nothing.
constexpr std::int64_t pieces_of(Product const& p) {
  constexpr std::int64_t most = 16, least_work = std::int64_t{1} << 26;
  auto work = p.rows.extent * p.columns.extent * p.summed.extent;
  for (int i = 0; i < p.batches; ++i) work *= p.batch[static_cast<std::size_t>(i)].extent;
  auto const cut = std::max(most_pieces(p.rows.extent), most_pieces(p.columns.extent));
  return std::clamp<std::int64_t>(std::min(work / least_work, cut), 1, most);
}

/// From `at` on, if there is anything.
template <class T> constexpr T* advance(T* from, [[maybe_unused]] std::int64_t by) {
  return from == nullptr ? nullptr : from + by;
}

}  // namespace detail

/// Calls `work(piece, x, y, z)` for pieces of a product: some rows at a time, or some columns.
/// Where the maker of the whole takes each sum in one order, they have its bits: see
/// `SimdProduct::has_alike_pieces`. A small product is one piece.
template <class X, class Y, class Z>
constexpr void in_pieces(Product const& p, X* x, Y* y, Z* z, auto const& work) {
  auto const pieces = detail::pieces_of(p);
  bool const by_rows = detail::most_pieces(p.rows.extent) >= detail::most_pieces(p.columns.extent);
  auto const& whole = by_rows ? p.rows : p.columns;
  auto const at = [&](std::int64_t i) {
    return i == pieces ? whole.extent : whole.extent * i / pieces / 16 * 16;
  };
  for (std::int64_t i = 0; i < pieces; ++i) {
    auto piece = p;
    (by_rows ? piece.rows : piece.columns).extent = at(i + 1) - at(i);
    work(piece, detail::advance(x, at(i) * whole.x), detail::advance(y, at(i) * whole.y),
         detail::advance(z, at(i) * whole.z));
  }
}

}  // namespace nxd
