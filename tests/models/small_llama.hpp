// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/random.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/train/step.hpp>

namespace nxd::test {

/// Four layers, grouped queries, and a vocabulary that no number of ranks but one divides.
inline LlamaConfig small_llama() {
  return {.vocab_size = 37,
          .hidden_size = 32,
          .intermediate_size = 48,
          .num_hidden_layers = 4,
          .num_attention_heads = 8,
          .num_key_value_heads = 2,
          .head_dim = 4,
          .max_position_embeddings = 16,
          .initializer_range = 0.08};
}

struct Job {
  std::int64_t dp = 1;
  std::int64_t tp = 1;
  std::int64_t accumulate = 1;
  std::int64_t global_batch = 8;
  std::int64_t seq = 12;
  std::int64_t steps = 30;

  std::int64_t micro_batch() const { return global_batch / (dp * accumulate); }
};

/// Sample `index` of a made-up text: a walk with a pattern to learn, some labels ignored.
inline void add_sample(Microbatch& batch, std::int64_t index, std::int64_t seq, std::int64_t vocab) {
  Stream const noise(7, "sample", static_cast<std::uint64_t>(index));
  std::int64_t token = index % vocab;
  for (std::int64_t t = 0; t < seq; ++t) {
    auto const next = (3 * token + 1 + (noise.uniform(static_cast<std::uint64_t>(t)) < 0.2 ? 5 : 0)) % vocab;
    batch.ids.push_back(static_cast<std::int32_t>(token));
    batch.labels.push_back(static_cast<std::int32_t>((index + t) % 11 == 0 ? -100 : next));
    token = next;
  }
}

/// The microbatches of a step on one rank: the same samples in all, however they are spread.
inline std::vector<Microbatch> microbatches(Job const& job, std::int64_t step, std::int64_t place,
                                            std::int64_t vocab) {
  std::vector<Microbatch> all(static_cast<std::size_t>(job.accumulate));
  auto const micro = job.micro_batch();
  for (std::int64_t m = 0; m < job.accumulate; ++m)
    for (std::int64_t b = 0; b < micro; ++b)
      add_sample(all[static_cast<std::size_t>(m)],
                 step * job.global_batch + (m * job.dp + place) * micro + b, job.seq, vocab);
  return all;
}

/// What training leaves behind: losses and norms of the steps.
struct Curve {
  std::vector<double> losses, norms;
};

}  // namespace nxd::test
