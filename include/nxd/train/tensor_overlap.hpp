// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/redistribute.hpp>
#include <nxd/nn/dims.hpp>
#include <nxd/optim/overlap.hpp>

namespace nxd {

/// As long as it lives, exchanges over tensor-parallel ranks go on beside products, if that is
/// asked for and, where it depends on it, no two of the ranks share a node: sums of gradients of
/// what is multiplied with weights while the gradients of these weights are made; sums of what
/// row-parallel products make, and gathers of what others take, rows at a time (see `contract_to`
/// and `contract_from`). All ranks make it together. Bits and bytes sent are those of exchanges
/// that are waited for at once. Memory: what the others send to a sum, while it goes on. What
/// schedules put off anyway is not made meanwhile.
template <class World> class TensorOverlap {
 public:
  /// @param world outlives it
  TensorOverlap(World& world, Overlap when) : world_(world) {
    if (begin_early(world, line<TP>(world.plan, world.rank()), when)) world.beside = &beside_;
  }
  TensorOverlap(TensorOverlap const&) = delete;
  TensorOverlap& operator=(TensorOverlap const&) = delete;
  ~TensorOverlap() { world_.beside = nullptr; }

 private:
  World& world_;
  Beside<typename World::communicator, typename World::element> beside_;
};

}  // namespace nxd
