// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/schedule.hpp>

namespace nxd {

namespace detail {

/// Groups of `group` microbatches, each through chunk 0, then through chunk 1, and so on; backward
/// from the last chunk to the first.
constexpr std::vector<Action> in_groups(Pass kind, int microbatches, int chunks, int group) {
  std::vector<Action> actions;
  actions.reserve(microbatches * chunks);
  for (int first = 0; first < microbatches; first += group)
    for (int c = 0; c < chunks; ++c)
      for (int k = first; k < first + group && k < microbatches; ++k)
        actions.push_back({kind, k, kind == Pass::forward ? c : chunks - 1 - c});
  return actions;
}

/// 1F1B over chunks with a warm-up that lets a group pass through all chunks but the last. The last
/// rank is done with a group in a chunk before the first rank takes it up in the next: what does
/// not fit in the pipeline waits in send buffers.
constexpr Schedule interleave(int ranks, int microbatches, int chunks, int group,
                              bool all_forward_first) {
  auto const forward = in_groups(Pass::forward, microbatches, chunks, group);
  auto const backward = in_groups(Pass::backward, microbatches, chunks, group);
  Schedule s{microbatches, chunks};
  s.send_buffers += group - ranks;
  s.actions.reserve(ranks);
  for (int r = 0; r < ranks; ++r) {
    int const warmup = 2 * (ranks - 1 - r) + (chunks - 1) * group;
    s.actions.push_back(
        one_for_one(all_forward_first ? microbatches * chunks : warmup, forward, backward));
  }
  return s;
}

/// Microbatches go in groups of `group`; the last group may be smaller, but no group may be
/// smaller than the pipeline is long.
constexpr Verdict check_microbatch_groups(int ranks, int microbatches, int group) {
  if (microbatches < ranks) return {Rule::microbatches_must_fill_the_pipeline, microbatches, ranks};
  if (group < ranks) return {Rule::microbatch_groups_must_fill_the_pipeline, group, ranks};
  int const last = microbatches % group;
  if (last != 0 && last < ranks)
    return {Rule::microbatch_groups_must_fill_the_pipeline, last, ranks};
  return {};
}

/// The smallest groups that `check_microbatch_groups` accepts: of p where p divides m.
constexpr int smallest_group(int ranks, int microbatches) {
  int group = ranks;
  while (group < microbatches && !check_microbatch_groups(ranks, microbatches, group)) ++group;
  return group;
}

constexpr Verdict check_interleaved(int ranks, int microbatches, int chunks, int group) {
  if (chunks < 2) return check_chunks(chunks, 2);
  return check_microbatch_groups(ranks, microbatches, group);
}

}  // namespace detail

/// 1F1B over v chunks on each rank: the bubble is v times shorter, (p - 1)(t_F + t_B) / v, and the
/// messages are v times as many. Where p divides m, rank r keeps the activations of at most
/// min(m v, 2 (p - 1 - r) + (v - 1) p + 1) chunks; where m is p, all forward passes come first and
/// every rank keeps those of m v chunks. Other m go in the smallest groups that fill the pipeline.
struct Interleaved {
  static constexpr std::string_view name = "interleaved";

  static constexpr Verdict check(int ranks, int microbatches, int chunks) {
    return detail::check_interleaved(ranks, microbatches, chunks,
                                     detail::smallest_group(ranks, microbatches));
  }

  static constexpr Schedule make(int ranks, int microbatches, int chunks = 2) {
    return detail::interleave(ranks, microbatches, chunks,
                              detail::smallest_group(ranks, microbatches), microbatches == ranks);
  }
};

/// Interleaved with groups of `Group` microbatches, p <= Group <= m: larger groups keep more
/// activations. With groups of p and m = p, one forward and one backward pass take turns.
template <int Group> struct InterleavedIn {
  static constexpr std::string_view name = "interleaved in groups";

  static constexpr Verdict check(int ranks, int microbatches, int chunks) {
    if (Group > microbatches)
      return {Rule::microbatches_must_fill_the_pipeline, microbatches, Group};
    return detail::check_interleaved(ranks, microbatches, chunks, Group);
  }

  static constexpr Schedule make(int ranks, int microbatches, int chunks = 2) {
    return detail::interleave(ranks, microbatches, chunks, Group, false);
  }
};

}  // namespace nxd
