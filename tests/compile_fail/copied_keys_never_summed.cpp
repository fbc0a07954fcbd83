// Two neighbours hold the same key heads, so that each query head finds its own. Each of them has
// one term of the weight's gradient; without the sum over the copies, they drift apart.
// expect: is_whole_but_for<nxd::PartialShard<nxd::KvHeads, nxd::TP, nxd::KvCopies>, nxd::DP>
// expect: the gradient awaits a sum over another axis too
#include "gradient.hpp"

using namespace nxd;

using Keys = Linear<Hidden, Shape<KvHeads, HeadDim>, ColumnParallel<TP, Duplicated, KvCopies>>;

void step(Here& world) {
  auto const keys = bind<Keys>(world);
#ifdef WRONG
  hand_over<Zero1<AdamW>>(world, keys.weight.grad());
#else
  hand_over<Zero1<AdamW>>(world, settle<Zero1<AdamW>>(world, keys.weight.grad()));
#endif
}
