// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>

#include <nxd/optim/chunk.hpp>
#include <nxd/optim/weight_precision.hpp>
#include <nxd/tensor/local.hpp>

namespace nxd {

/// What an optimizer remembers of one parameter on one rank. The update has `moments` numbers of
/// each element besides the weight.
template <class World, std::size_t moments> struct ChunkState {
  using B = typename World::backend;
  using Short = typename World::element;
  using T = accumulator_t<Short>;

  Chunk chunk;
  typename B::template buffer<T> gradient{};
  std::array<typename B::template buffer<T>, moments> moment{};
  typename B::template buffer<T> master{};  ///< the weights, longer than the model's, if kept
  std::array<typename B::template buffer<Short>, moments> short_moment{};  ///< without masters

  /// Zeros. @param is_short weights are shorter than T @param kept so many moments
  ChunkState(Chunk c, bool is_short, WeightPrecision precision, std::size_t kept) : chunk(c) {
    if (is_short && precision.master) master = zeros<T>();
    for (std::size_t m = 0; m < kept; ++m)
      if (is_short && !precision.master)
        short_moment[m] = zeros<Short>();
      else
        moment[m] = zeros<T>();
  }

 private:
  template <class E> auto zeros() const {
    auto const made = B::template allocate<E>(chunk.room);
    if constexpr (B::has_elements) std::fill_n(B::data(made), chunk.room, E{});
    return made;
  }
};

}  // namespace nxd
