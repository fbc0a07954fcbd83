// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/schedule.hpp>

namespace nxd::test {

/// A user's own schedule: one microbatch after the other.
struct OneAtATime {
  static constexpr Schedule make(int ranks, int microbatches, int chunks) {
    Schedule s{microbatches, chunks};
    s.actions.resize(ranks);
    for (auto& actions : s.actions)
      for (int k = 0; k < microbatches; ++k) {
        for (int c = 0; c < chunks; ++c) actions.push_back({Pass::forward, k, c});
        for (int c = chunks; c-- > 0;) actions.push_back({Pass::backward, k, c});
      }
    return s;
  }
};

}  // namespace nxd::test
