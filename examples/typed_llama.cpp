// SPDX-License-Identifier: Apache-2.0
//
// A Llama from headers alone: four ranks, here threads, as two replicas of two. What they hold and
// what they send follows from the types.

#include <cstdio>

#include <nxd/comm/threads.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/step.hpp>

using namespace nxd;

namespace {

/// Token t of sample s of a text with a rule to learn: each is three times the one before, plus
/// one.
std::int32_t token(std::int64_t s, std::int64_t t, std::int64_t vocabulary) {
  std::int64_t value = s % vocabulary;
  for (; t > 0; --t) value = (3 * value + 1) % vocabulary;
  return static_cast<std::int32_t>(value);
}

}  // namespace

int main() {
  LlamaConfig const config{.vocab_size = 100,
                           .hidden_size = 64,
                           .intermediate_size = 160,
                           .num_hidden_layers = 2,
                           .num_attention_heads = 4,
                           .num_key_value_heads = 2,
                           .head_dim = 16};
  LlamaLayout const layout{
      .data_parallel = 2, .tensor_parallel = 2, .micro_batch = 4, .seq_length = 32};

  Threads::run(4, [&](Threads::Rank comm) {
    World<LlamaPlan, Xt, Threads::Rank> world(make_plan(config, layout), comm);
    Llama<SequenceParallel<Seq>, decltype(world)> const model(world, config);
    initialize(model, 1);
    Optimizer<Zero1<AdamW>, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0});

    auto const replica = line<DP>(world.plan, comm.rank()).place;
    for (std::int64_t step = 0; step < 60; ++step) {
      std::vector<Microbatch> batches(1);
      for (std::int64_t i = 0; i < layout.micro_batch; ++i)
        for (std::int64_t t = 0; t < layout.seq_length; ++t) {
          auto const sample = (2 * step + replica) * layout.micro_batch + i;
          batches[0].ids.push_back(token(sample, t, config.vocab_size));
          batches[0].labels.push_back(token(sample, t + 1, config.vocab_size));
        }
      auto const report =
          train_step(world, model, optimizer, std::span<Microbatch const>(batches), 5e-3);
      if (comm.rank() == 0 && step % 10 == 9)
        std::printf("step %2d  loss %.4f  gradient norm %.3f\n", static_cast<int>(step + 1),
                    report.loss, report.grad_norm);
    }
  });
}
