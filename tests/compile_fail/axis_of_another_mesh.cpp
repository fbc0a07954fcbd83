// A tensor made for a job with context parallelism, in a job whose mesh has no such axis: nobody
// would ever take the sums that it awaits.
// expect: is_in_plan<nxd::CP, Job>
// expect: Plan: it has no number for an axis or a dimension of a tensor
#include <nxd/autodiff/world.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

#ifdef WRONG
struct Job : Plan<Let<TP, 4>, Let<Seq, 64>> {};
#else
struct Job : Plan<Let<CP, 2>, Let<TP, 4>, Let<Seq, 64>> {};
#endif

void step(World<Job>& world) { world.random<Tensor<float, Shape<Seq>, Layout<Shard<Seq, CP>>>>(); }
