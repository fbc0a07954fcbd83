// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <vector>

#include <nxd/dist/shapes.hpp>

namespace nxd {

/// Where a rank's part of a tensor lies in the whole, dimension by dimension, outermost first.
template <std::size_t Rank> struct Part {
  std::array<Slice, Rank> slices;          ///< what the rank holds of each dimension
  std::array<std::int64_t, Rank> extents;  ///< of the whole
};

/// The part of X that `rank` holds.
template <class X> constexpr auto local_part(auto const& plan, std::int64_t rank) {
  return [&]<class... Ds>(Shape<Ds...>) {
    return Part<sizeof...(Ds)>{{X::template local_slice<Ds>(plan, rank)...}, {extent<Ds>(plan)...}};
  }(typename X::shape{});
}

/// Calls `f(local, global, length)` for every run of elements that are neighbours both in a rank's
/// part, from offset `local`, and in the whole, from row-major index `global`. Padding is left out.
template <std::size_t Rank> constexpr void for_each_run(Part<Rank> const& part, auto f) {
  if constexpr (Rank == 0)
    f(std::int64_t{0}, std::int64_t{0}, std::int64_t{1});
  else {
    constexpr auto last = Rank - 1;
    std::array<std::int64_t, Rank> at{};
    for (auto const& s : part.slices)
      if (s.valid == 0) return;
    while (true) {
      std::int64_t local = 0, global = 0;
      for (std::size_t d = 0; d < Rank; ++d) {
        local = local * part.slices[d].length + at[d];
        global = global * part.extents[d] + part.slices[d].first + at[d];
      }
      f(local, global, part.slices[last].valid);
      auto d = last;
      while (d > 0 && ++at[d - 1] == part.slices[d - 1].valid) at[--d] = 0;
      if (d == 0) return;
    }
  }
}

/// The global row-major index of each element of the part of X that `rank` holds, and where it is.
template <class X>
std::vector<std::pair<std::int64_t, std::int64_t>> global_indices(auto const& plan,
                                                                  std::int64_t rank) {
  std::vector<std::pair<std::int64_t, std::int64_t>> all;
  for_each_run(local_part<X>(plan, rank),
               [&](std::int64_t local, std::int64_t global, std::int64_t length) {
                 for (std::int64_t i = 0; i < length; ++i) all.emplace_back(local + i, global + i);
               });
  return all;
}

}  // namespace nxd
