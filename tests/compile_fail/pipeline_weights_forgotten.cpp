// An own schedule that puts off the gradients of the weights, and never comes to those of the last
// microbatch.
// expect: every_microbatch_must_visit_every_stage_once, nxd::At<2, nxd::Pass::weight_gradient, 7, 0>
// expect: Pipeline: the schedule breaks a rule at this rank and action
#include <nxd/pipeline/prove.hpp>
#include <nxd/pipeline/zero_bubble.hpp>

using namespace nxd;

struct NotToTheEnd {
  static constexpr Schedule make(int ranks, int microbatches, int chunks) {
    auto s = ZbH1::make(ranks, microbatches, chunks);
    s.actions[2].pop_back();
    return s;
  }
};

#ifdef WRONG
StaticSchedule<NotToTheEnd, 4, 8, 1> schedule;
#else
StaticSchedule<ZbH1, 4, 8, 1> schedule;
#endif
