// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include <nxd/comm/communicator.hpp>

namespace nxd {

/// One moment, on the clock of each rank: what `now()` shows there at a time that all ranks take
/// for the same. Clocks need not agree. Ranks leave a barrier together but for the time of its
/// messages; of eleven barriers the median counts, so that a rank that is not awake at one of them
/// does no harm. It is exact to tens of microseconds where every rank has a core, and to a few
/// milliseconds where ranks take turns. All ranks call it.
template <Communicator C, class Now> double common_moment(C& comm, Now const& now) {
  constexpr int barriers = 11;
  std::vector<double> mine(barriers), first(barriers), ahead(barriers);
  comm.barrier();
  for (auto& moment : mine) {
    comm.barrier();
    moment = now();
  }
  first = mine;
  comm.broadcast({0, 1, comm.size(), comm.rank()}, 0, std::span<double>(first));
  std::ranges::transform(mine, first, ahead.begin(), std::minus<>{});
  std::ranges::nth_element(ahead, ahead.begin() + barriers / 2);
  return first.back() + ahead[barriers / 2];
}

}  // namespace nxd
