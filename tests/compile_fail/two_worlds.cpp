// A weight of one job meets an activation of another: two meshes, and two tapes.
// expect: is_one_world<nxd::World<Other, .*nxd::World<Job,
// expect: contract: the operands belong to different worlds
#include "job.hpp"

using namespace nxd;

struct Other : Plan<Let<TP, 8>, Let<Hidden, 32>, Let<Ffn, 96>> {};
#ifdef WRONG
using Used = World<Other, Meta<float>>;
#else
using Used = Here;
#endif

void step(Here& here, Used& used) {
  auto const x = used.random<Tensor<float, Shape<Hidden>>>();
  contract(x, here.parameter<Weight<Shape<Ffn, Hidden>, Shard<Ffn, TP>>>());
}
