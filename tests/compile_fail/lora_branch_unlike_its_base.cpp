// A column-parallel layer and its low-rank branch, whose second factor is whole on every rank: a
// slice of the outputs is added to all of them.
// expect: is_local<nxd::Sum, nxd::Shard<nxd::Ffn, nxd::TP(, nxd::Once)?> ?, nxd::Replicate<nxd::TP> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/elementwise.hpp>

#include "job.hpp"

using namespace nxd;

struct LowRank : Dim<"low_rank"> {};
struct Tuned
    : Plan<Let<DP, 2>, Let<TP, 4>, Let<Batch, 8>, Let<Hidden, 32>, Let<Ffn, 96>, Let<LowRank, 4>> {
};

#ifdef WRONG
using Placed = Replicate<TP>;
#else
using Placed = Shard<Ffn, TP>;
#endif

void step(World<Tuned, Meta<float>>& world) {
  auto const x = world.random<Batched<Shape<Batch, Hidden>, Replicate<TP>>>();
  auto const base = world.parameter<Weight<Shape<Ffn, Hidden>, Shard<Ffn, TP>>>();
  auto const a = world.parameter<Weight<Shape<LowRank, Hidden>, Replicate<TP>>>();
  auto const b = world.parameter<Weight<Shape<Ffn, LowRank>, Placed>>();
  (void)(contract(x, base) + contract(contract(x, a), b));
}
