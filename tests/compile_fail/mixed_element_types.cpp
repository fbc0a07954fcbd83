// Activations in bf16 meet a weight in fp32: which of them the product is in, nobody has said.
// expect: is_one_element_type<nxd::bf16, float>
// expect: contract: the operands have different element types
#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Element = bf16;
#else
using Element = float;
#endif

void step(Here& world) {
  auto const x = world.random<Tensor<Element, Shape<Batch, Hidden>, Layout<Shard<Batch, DP>>>>();
  contract(x, world.parameter<Weight<Shape<Ffn, Hidden>, Shard<Ffn, TP>>>());
}
