// Interleaving keeps every rank busy with a microbatch: three do not fill four ranks.
// expect: accepted<nxd::Rule::microbatches_must_fill_the_pipeline, 3, 4>
// expect: Pipeline: this kind of schedule is not for these numbers
#include <nxd/pipeline/interleaved.hpp>
#include <nxd/pipeline/prove.hpp>

using namespace nxd;

#ifdef WRONG
StaticSchedule<Interleaved, 4, 3, 2> schedule;
#else
StaticSchedule<Interleaved, 4, 6, 2> schedule;
#endif
