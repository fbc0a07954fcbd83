// An own schedule in which rank 1 wants two microbatches before it gives back a gradient, and rank
// 0 has sent but one: they wait for each other.
// expect: schedule_must_not_deadlock, nxd::At<0, nxd::Pass::backward, 0, 0>
// expect: Pipeline: the schedule breaks a rule at this rank and action
#include <nxd/pipeline/one_f_one_b.hpp>
#include <nxd/pipeline/prove.hpp>

using namespace nxd;

struct OneTooFew {
  static constexpr Schedule make(int ranks, int microbatches, int chunks) {
    auto const forward = detail::each_microbatch(Pass::forward, microbatches);
    auto const backward = detail::each_microbatch(Pass::backward, microbatches);
    Schedule s{microbatches, chunks};
    for (int r = 0; r < ranks; ++r) s.actions.push_back(detail::one_for_one(r, forward, backward));
    return s;
  }
};

#ifdef WRONG
StaticSchedule<OneTooFew, 2, 4, 1> schedule;
#else
StaticSchedule<OneFOneB, 2, 4, 1> schedule;
#endif
