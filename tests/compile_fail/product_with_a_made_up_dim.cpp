// The wanted scores have a dimension that neither queries nor keys have: the keys were never
// renamed.
// expect: is_product_of<nxd::Shape<nxd::Batch, nxd::Heads, nxd::Seq, nxd::KeySeq>
// expect: contract: only what both operands have is summed, and nothing is made up
#include <nxd/autodiff/rename.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  using X = Batched<Shape<Batch, Seq, Heads, HeadDim>, Shard<Heads, TP>>;
  auto const q = world.random<X>(), k = world.random<X>();
#ifdef WRONG
  contract<Shape<Batch, Heads, Seq, KeySeq>>(q, k);
#else
  contract<Shape<Batch, Heads, Seq, KeySeq>>(q, rename<Seq, KeySeq>(k));
#endif
}
