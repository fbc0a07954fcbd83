// Thirty heads do not split evenly over four tensor-parallel ranks.
// expect: splits_evenly<nxd::Heads, nxd::TP, 30, 4>
// expect: a dimension must split evenly over the axis that it is sharded over
#include <nxd/autodiff/world.hpp>
#include <nxd/dist/fits.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

#ifdef WRONG
struct Job : Plan<Let<TP, 4>, Let<Heads, 30>> {};
#else
struct Job : Plan<Let<TP, 4>, Let<Heads, 32>> {};
#endif

void step(World<Job>& world) {
  world.parameter<Tensor<bf16, Shape<Heads>, Layout<Shard<Heads, TP>>>>();
}
