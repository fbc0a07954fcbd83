// ZB-V goes down the ranks with one chunk of each and back up with the other: it needs two.
// expect: accepted<nxd::Rule::schedule_must_suit_its_chunks, 1, 2>
// expect: Pipeline: this kind of schedule is not for these numbers
#include <nxd/pipeline/prove.hpp>
#include <nxd/pipeline/zero_bubble.hpp>

using namespace nxd;

#ifdef WRONG
StaticSchedule<ZbV, 4, 8, 1> schedule;
#else
StaticSchedule<ZbV, 4, 8, 2> schedule;
#endif
