// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/schedule.hpp>

namespace nxd {

/// All forward passes, then all backward passes: the simplest schedule, and the hungriest. Every
/// rank keeps the activations of all m microbatches; a step takes (m + p - 1)(t_F + t_B).
struct GPipe {
  static constexpr std::string_view name = "gpipe";

  static constexpr Verdict check(int /*ranks*/, int /*microbatches*/, int chunks) {
    return detail::check_chunks(chunks, 1);
  }

  static constexpr Schedule make(int ranks, int microbatches, int chunks = 1) {
    auto const all =
        detail::one_for_one(microbatches, detail::each_microbatch(Pass::forward, microbatches),
                            detail::each_microbatch(Pass::backward, microbatches));
    Schedule s{microbatches, chunks};
    s.actions.assign(ranks, all);
    return s;
  }
};

}  // namespace nxd
