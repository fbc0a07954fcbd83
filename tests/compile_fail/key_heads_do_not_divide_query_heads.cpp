// Eight query heads share three key heads: which of them the last two look at, nobody knows.
// expect: accepted<nxd::Rule::query_heads_must_be_a_multiple_of_key_heads, 8, 3>
// expect: attention: each key head serves a whole number of query heads
#include <nxd/autodiff/attention.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

#ifdef WRONG
inline constexpr std::int64_t key_heads = 3;
#else
inline constexpr std::int64_t key_heads = 2;
#endif
struct Job : Plan<Let<TP, 4>, Let<Batch, 8>, Let<Seq, 64>, Let<KeySeq, 64>, Let<Heads, 8>,
                  Let<KvHeads, key_heads>, Let<HeadDim, 4>> {};

void step(World<Job>& world) {
  auto const q = world.random<Tensor<bf16, Shape<Batch, Seq, Heads, HeadDim>>>();
  auto const k = world.random<Tensor<bf16, Shape<Batch, KeySeq, KvHeads, HeadDim>>>();
  attention(q, k, k, 0.5);
}
