// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <nxd/core/random.hpp>
#include <nxd/models/llama_config.hpp>
#include <nxd/train/step.hpp>

namespace nxd::bench {

/// The Llama that steps are measured on: 15 M parameters, and 9 M more for a head of its own.
inline LlamaConfig llama_15m() {
  return {.vocab_size = 32000,
          .hidden_size = 288,
          .intermediate_size = 768,
          .num_hidden_layers = 6,
          .num_attention_heads = 6,
          .num_key_value_heads = 6,
          .head_dim = 48};
}

/// Tokens and labels of no meaning, the same in every run.
inline Microbatch random_batch(std::int64_t tokens, std::int64_t vocabulary) {
  Microbatch batch;
  Stream const stream(1, "tokens");
  for (std::int64_t i = 0; i < tokens; ++i) {
    auto const token = [&](std::int64_t at) {
      return static_cast<std::int32_t>(stream.uniform(static_cast<std::uint64_t>(at)) *
                                       static_cast<double>(vocabulary));
    };
    batch.ids.push_back(token(i));
    batch.labels.push_back(token(i + tokens));
  }
  return batch;
}

}  // namespace nxd::bench
