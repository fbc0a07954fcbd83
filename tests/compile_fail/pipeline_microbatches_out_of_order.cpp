// An own schedule whose last rank takes the gradients last in, first out, while all others expect
// them in the order of the microbatches.
// expect: microbatches_must_keep_their_order, nxd::At<3, nxd::Pass::backward, 1, 0>
// expect: Pipeline: the schedule breaks a rule at this rank and action
#include <nxd/pipeline/gpipe.hpp>
#include <nxd/pipeline/prove.hpp>

using namespace nxd;

struct LastInFirstOut {
  static constexpr Schedule make(int ranks, int microbatches, int chunks) {
    auto s = GPipe::make(ranks, microbatches, chunks);
    for (int k = 0; k < microbatches; ++k)
      s.actions.back()[microbatches + k] = {Pass::backward, microbatches - 1 - k, 0};
    return s;
  }
};

#ifdef WRONG
StaticSchedule<LastInFirstOut, 4, 8, 1> schedule;
#else
StaticSchedule<GPipe, 4, 8, 1> schedule;
#endif
