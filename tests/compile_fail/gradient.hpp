// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/nn/linear.hpp>
#include <nxd/optim/optimizer.hpp>

#include "job.hpp"

/// What an optimizer written by hand does first with each gradient.
template <class Strategy, class G, class B>
void hand_over(Here& world, nxd::Local<G, B> const& gradient) {
  auto const along = nxd::line<nxd::DP>(world.plan, world.rank());
  auto const chunk = Strategy::chunk(G::local_size(world.plan), along);
  std::vector<float> sum(static_cast<std::size_t>(chunk.room));
  Strategy::reduce(world, along, gradient, chunk, sum.data());
}
