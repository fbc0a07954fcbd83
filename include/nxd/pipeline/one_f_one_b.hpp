// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/schedule.hpp>

namespace nxd {

/// One forward, one backward: the time of GPipe, (m + p - 1)(t_F + t_B), but rank r keeps the
/// activations of no more than min(m, p - r) microbatches.
struct OneFOneB {
  static constexpr std::string_view name = "1f1b";

  static constexpr Verdict check(int /*ranks*/, int /*microbatches*/, int chunks) {
    return detail::check_chunks(chunks, 1);
  }

  static constexpr Schedule make(int ranks, int microbatches, int chunks = 1) {
    auto const forward = detail::each_microbatch(Pass::forward, microbatches);
    auto const backward = detail::each_microbatch(Pass::backward, microbatches);
    Schedule s{microbatches, chunks};
    s.actions.reserve(ranks);
    for (int r = 0; r < ranks; ++r)
      s.actions.push_back(detail::one_for_one(ranks - 1 - r, forward, backward));
    return s;
  }
};

}  // namespace nxd
