// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include <nxd/autodiff/redistribute.hpp>
#include <nxd/comm/made_in_place.hpp>
#include <nxd/optim/chunk.hpp>

namespace nxd {

/// To be told what has been made of a chunk: `count` elements from the chunk's `first` on. Made of
/// nothing, it tells nobody.
struct PieceMade {
  void const* whom = nullptr;
  void (*tell)(void const* whom, std::int64_t first, std::int64_t count) = nullptr;

  void operator()(std::int64_t first, std::int64_t count) const {
    if (tell != nullptr) tell(whom, first, count);
  }
};

/// Calls `make(made)`, which makes this rank's chunk of a weight and says so, a piece at a time:
/// and gathers the chunks of all ranks along a line, while they are made where ranks share memory.
/// Memory: none if all chunks are full, else a copy of the weight.
template <class X, class W, class B>
void gather_as_made(W& world, Line along, Local<X, B> const& weight, Chunk const& chunk,
                    auto const& make) {
  using T = typename X::element;
  using Gather = MadeInPlace<std::remove_reference_t<decltype(world.comm)>, T>;
  auto const size = X::local_size(world.plan), padded = chunk.room * along.count;
  if constexpr (B::has_elements || keeps_record<std::remove_reference_t<decltype(world.comm)>>)
    if (padded == size) {
      Gather gather(world.comm, along, detail::values(world.plan, weight));
      make(PieceMade{&gather, [](void const* whom, std::int64_t first, std::int64_t count) {
                       static_cast<Gather const*>(whom)->made(first, count);
                     }});
      return gather.finish();
    }
  make(PieceMade{});
  if (padded == size) return;
  For<B> const purpose(MemoryUse::messages);
  auto const all = B::template allocate<T>(padded);
  if constexpr (B::has_elements) {
    auto* const mine = B::data(all) + along.place * chunk.room;
    std::copy_n(data(weight) + chunk.first, chunk.count, mine);
    std::fill_n(mine + chunk.count, chunk.room - chunk.count, T{});
  }
  exchange<B>(world.comm, [&](auto& comm) {
    Gather(comm, along, std::span<T>(B::data(all), static_cast<std::size_t>(padded))).finish();
  });
  if constexpr (B::has_elements) std::copy_n(B::data(all), size, data(weight));
}

}  // namespace nxd
