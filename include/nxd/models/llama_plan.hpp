// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <numeric>

#include <nxd/models/llama_config.hpp>
#include <nxd/nn/dims.hpp>

namespace nxd {

/// The numbers of a Llama job, all of them from a configuration.
struct LlamaPlan : Plan<Let<DP>, Let<TP>, Let<Batch>, Let<Seq>, Let<KeySeq>, Let<Hidden>, Let<Ffn>,
                        Let<GateUp, 2>, Let<Heads>, Let<KvHeads>, Let<HeadDim>, Let<QkvSlot>,
                        Let<Vocab>, Let<KvCopies>> {
  using Plan::Plan;
};

/// How a job is spread over ranks, and what one microbatch is.
struct LlamaLayout {
  std::int64_t data_parallel = 1;
  std::int64_t tensor_parallel = 1;
  std::int64_t micro_batch = 1;  ///< samples a rank computes on at a time
  std::int64_t seq_length = 2048;
  std::int64_t kv_copies = 0;  ///< holders of each key head; 0 = as few as the ranks allow
};

/// The fewest copies of each key head with which every rank has one.
constexpr std::int64_t fewest_copies(std::int64_t kv_heads, std::int64_t ranks) {
  return ranks / std::gcd(kv_heads, ranks);
}

/// @throws PlanError if the model cannot be laid out so; ConfigError if it is no model.
inline LlamaPlan make_plan(LlamaConfig const& config, LlamaLayout const& layout) {
  check(config);
  auto const tp = layout.tensor_parallel;
  auto const copies =
      layout.kv_copies > 0 ? layout.kv_copies : fewest_copies(config.num_key_value_heads, tp);
  using Item = std::pair<std::string_view, std::int64_t>;
  std::array const items{
      Item{"dp", layout.data_parallel},
      Item{"tp", tp},
      Item{"batch", layout.micro_batch * layout.data_parallel},
      Item{"seq", layout.seq_length},
      Item{"key_seq", layout.seq_length},
      Item{"hidden", config.hidden_size},
      Item{"ffn", config.intermediate_size},
      Item{"heads", config.num_attention_heads},
      Item{"kv_heads", config.num_key_value_heads},
      Item{"head_dim", config.head_dim},
      Item{"qkv_slot", config.num_attention_heads / config.num_key_value_heads + 2},
      Item{"vocab", config.vocab_size},
      Item{"kv_copies", copies}};
  LlamaPlan const plan{std::span<Item const>(items)};
  require("heads", check_split(config.num_attention_heads, tp));
  require("kv_heads", check_copies(tp, copies));
  require("kv_heads", check_split(config.num_key_value_heads, tp / copies));
  require("ffn", check_split(config.intermediate_size, tp));
  return plan;
}

}  // namespace nxd
