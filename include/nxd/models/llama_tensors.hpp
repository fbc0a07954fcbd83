// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nxd/models/llama_config.hpp>

namespace nxd {

/// The tensors of a Llama under Hugging Face's names, and their shapes: what `Llama::visit` tells,
/// without a model.
inline std::map<std::string, std::vector<std::int64_t>> llama_tensors(LlamaConfig const& c) {
  auto const queries = c.num_attention_heads * c.head_dim;
  auto const keys = c.num_key_value_heads * c.head_dim;
  std::map<std::string, std::vector<std::int64_t>> all{
      {"model.embed_tokens.weight", {c.vocab_size, c.hidden_size}},
      {"model.norm.weight", {c.hidden_size}}};
  if (!c.tie_word_embeddings) all["lm_head.weight"] = {c.vocab_size, c.hidden_size};
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    auto const at = "model.layers." + std::to_string(i) + ".";
    all[at + "input_layernorm.weight"] =
        all[at + "post_attention_layernorm.weight"] = {c.hidden_size};
    all[at + "self_attn.q_proj.weight"] = {queries, c.hidden_size};
    all[at + "self_attn.k_proj.weight"] =
        all[at + "self_attn.v_proj.weight"] = {keys, c.hidden_size};
    all[at + "self_attn.o_proj.weight"] = {c.hidden_size, queries};
    all[at + "mlp.gate_proj.weight"] =
        all[at + "mlp.up_proj.weight"] = {c.intermediate_size, c.hidden_size};
    all[at + "mlp.down_proj.weight"] = {c.hidden_size, c.intermediate_size};
  }
  return all;
}

}  // namespace nxd
