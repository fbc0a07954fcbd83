// Key heads in three copies each, on four tensor-parallel ranks: one rank is left over.
// expect: accepted<nxd::Rule::copies_of_a_shard_must_divide_its_axis, 4, 3>
// expect: Shard: the copies of a slice must divide the ranks of its axis
#include <nxd/autodiff/world.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

#ifdef WRONG
struct Job : Plan<Let<TP, 4>, Let<KvHeads, 2>, Let<KvCopies, 3>> {};
#else
struct Job : Plan<Let<TP, 4>, Let<KvHeads, 2>, Let<KvCopies, 2>> {};
#endif

void step(World<Job>& world) {
  world.parameter<Tensor<bf16, Shape<KvHeads>, Layout<Shard<KvHeads, TP, KvCopies>>>>();
}
