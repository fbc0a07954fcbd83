// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include <nxd/comm/post.hpp>
#include <nxd/comm/reduce.hpp>
#include <nxd/tensor/local.hpp>

namespace nxd {

/// When an exchange of an optimizer over data-parallel ranks begins, or one of a model over
/// tensor-parallel ranks. Early, it is on its way while passes go on. That can gain where a network
/// carries it; where ranks share a node, the cores that would carry it are those that compute, and
/// it is waited for at once.
enum class Overlap : std::uint8_t {
  never,          ///< when nothing else is left to do
  between_nodes,  ///< early if no two ranks of any line share a node
  always,         ///< early, and so by messages, on one node too
};

/// What of an optimizer overlaps.
struct Overlaps {
  Overlap sums = Overlap::never;     ///< of gradients, with the last backward pass of the step
  Overlap gathers = Overlap::never;  ///< of updated weights, with the update of others, and with
                                     ///< what follows until one is read
};

/// Whether the exchanges along a line begin early, alike on all ranks, all of which ask.
template <class World> bool begin_early(World& world, Line along, Overlap overlap) {
  if (along.count == 1 || overlap == Overlap::never) return false;
  if (overlap == Overlap::always) return true;
  double near = 1;
  exchange<typename World::backend>(world.comm, [&](auto& comm) {
    near = between_nodes(comm, along) ? 0 : 1;
    all_reduce(comm, {0, 1, comm.size(), comm.rank()}, std::span<double>(&near, 1), Op::max);
  });
  return near == 0;
}

}  // namespace nxd
