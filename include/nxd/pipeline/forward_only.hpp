// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/schedule.hpp>

namespace nxd {

/// Evaluation over the stages of training schedule K, with chunks where K has them: its forward
/// passes, in its order. There may be any number of microbatches: fewer than K is for are its
/// first ones.
template <ScheduleKind K> struct ForwardOnly {
  static constexpr std::string_view name = "forward only";

  static constexpr Verdict check(int ranks, int microbatches, int chunks) {
    return check_numbers<K>(ranks, enough(ranks, microbatches, chunks), chunks);
  }

  static constexpr Schedule make(int ranks, int microbatches, int chunks) {
    auto s = K::make(ranks, enough(ranks, microbatches, chunks), chunks);
    s.microbatches = microbatches;
    s.purpose = Purpose::evaluation;
    for (auto& rank : s.actions)
      std::erase_if(rank, [&](Action const& a) {
        return a.kind != Pass::forward || a.microbatch >= microbatches;
      });
    return s;
  }

 private:
  /// The least number, not below `microbatches`, that K is for; if there is none up to the next
  /// multiple of the ranks, `microbatches`.
  static constexpr int enough(int ranks, int microbatches, int chunks) {
    for (int more = 0; more <= ranks; ++more)
      if (check_numbers<K>(ranks, microbatches + more, chunks)) return microbatches + more;
    return microbatches;
  }
};

}  // namespace nxd
