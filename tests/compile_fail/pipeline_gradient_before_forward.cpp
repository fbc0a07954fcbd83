// An own schedule that interleaves two chunks with the warm-up of one: every rank comes to
// a gradient of a chunk that it has not run yet.
// expect: gradients_must_follow_the_forward_pass, nxd::At<0, nxd::Pass::backward, 0, 1>
// expect: Pipeline: the schedule breaks a rule at this rank and action
#include <nxd/pipeline/interleaved.hpp>
#include <nxd/pipeline/prove.hpp>

using namespace nxd;

struct TooEager {
  static constexpr Schedule make(int ranks, int microbatches, int chunks) {
    auto s = Interleaved::make(ranks, microbatches, chunks);
    for (int r = 0; r < ranks; ++r)
      s.actions[r] = detail::one_for_one(
          ranks - 1 - r, detail::in_groups(Pass::forward, microbatches, chunks, ranks),
          detail::in_groups(Pass::backward, microbatches, chunks, ranks));
    return s;
  }
};

#ifdef WRONG
StaticSchedule<TooEager, 4, 8, 2> schedule;
#else
StaticSchedule<Interleaved, 4, 8, 2> schedule;
#endif
