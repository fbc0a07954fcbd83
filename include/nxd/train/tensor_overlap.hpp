// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/redistribute.hpp>
#include <nxd/nn/dims.hpp>
#include <nxd/optim/overlap.hpp>

namespace nxd {

/// As long as it lives, sums over tensor-parallel ranks of the gradients of what is multiplied with
/// weights go on while the gradients of these weights are made, if that is asked for and, where it
/// depends on it, no two of the ranks share a node. All ranks make it together. Bits and bytes sent
/// are those of sums that are waited for at once. Memory: what the others send to a sum, while it
/// goes on. What schedules put off anyway is not made meanwhile.
template <class World> class TensorOverlap {
 public:
  /// @param world outlives it
  TensorOverlap(World& world, Overlap when) : world_(world) {
    if (begin_early(world, line<TP>(world.plan, world.rank()), when)) world.sum_beside = &sum_;
  }
  TensorOverlap(TensorOverlap const&) = delete;
  TensorOverlap& operator=(TensorOverlap const&) = delete;
  ~TensorOverlap() { world_.sum_beside = nullptr; }

 private:
  World& world_;
  PostedReduction<typename World::communicator, typename World::element> sum_;
};

}  // namespace nxd
