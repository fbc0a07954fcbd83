// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/comm/recorder.hpp>
#include <nxd/tensor/meter.hpp>
#include <nxd/train/step.hpp>

namespace nxd {

/// What a training step costs one rank, beyond its time.
struct StepCost {
  MemoryBill before;                ///< memory in use when the step begins
  MemoryBill peak;                  ///< and at the moment in the step when it is the most
  std::map<Sort, Traffic> traffic;  ///< what the rank sends, by sort of exchange
  std::int64_t flops = 0;           ///< of matrix products and attention

  Traffic sent() const {
    Traffic sum;
    for (auto const& [sort, t] : traffic) sum += t;
    return sum;
  }
  bool operator==(StepCost const&) const = default;
};

/// Does `step`, on a metered backend and a recorded communicator, real ones or those of a dry run,
/// and says what it has cost.
template <class World> StepCost cost_of(World& world, auto const& step) {
  auto& meter = World::backend::meter();
  auto const flops = world.ledger.flops;
  world.comm.clear();
  meter.reset_peak();
  StepCost cost;
  cost.before = meter.live();
  step();
  cost.peak = meter.peak();
  cost.traffic = world.comm.totals();
  cost.flops = world.ledger.flops - flops;
  return cost;
}

}  // namespace nxd
