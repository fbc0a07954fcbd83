// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <nxd/config/llama_stages.hpp>
#include <nxd/train/progress.hpp>

namespace nxd {

/// FLOPs and bytes of a rank are counted in 63 bits. @throws ConfigError if a step may need more
inline void check_countable(TrainingConfig const& config, LlamaConfig const& model,
                            std::int64_t ranks) {
  auto const real = [](std::int64_t n) { return static_cast<double>(n); };
  auto const& d = config.distributed_strategy;
  auto const seq = real(sequence_length(config)), hidden = real(model.hidden_size);
  auto const tokens =
      real(config.data.global_batch_size) * seq / real(data_parallel_size(config, ranks));
  // No stage has more than twice its share, or else all layers.
  auto const layers =
      std::min(real(model.num_hidden_layers),
               2 * std::ceil(real(model.num_hidden_layers) / real(d.pipeline_model_parallel_size)));
  auto const heads = 2 * real(model.num_attention_heads) + 2 * real(model.num_key_value_heads);
  auto const weights =
      layers * (heads * real(model.head_dim) + 3 * real(model.intermediate_size)) * hidden +
      2 * real(model.vocab_size) * hidden;
  auto const scores = layers * seq * real(model.num_attention_heads) * real(model.head_dim);
  // Forward, again, and twice that backward; a weight is two FLOPs, a score and its use are four.
  auto const flops = 4 * tokens * (2 * weights + 4 * scores) / real(d.tensor_model_parallel_size);
  if (!(flops < 0x1p62))
    throw ConfigError("a rank would compute " + detail::formatted("%.2g", flops) +
                      " FLOP in a step, more than can be counted; give more ranks, or lower "
                      "data.global_batch_size");
}

/// The rules that a job of so many ranks breaks, a sentence each; none: it can be started. Every
/// rule is judged by the function that the run, or its plan, asks.
inline std::vector<std::string> broken_rules(TrainingConfig const& config, std::int64_t vocabulary,
                                             std::int64_t ranks) {
  std::vector<std::string> broken;
  auto const holds = [&](auto const& rule) {
    try {
      rule();
      return true;
    } catch (Error const& e) {
      broken.emplace_back(e.what());
      return false;
    }
  };
  LlamaConfig model;
  if (!holds([&] { model = llama_config(config, vocabulary); })) return broken;
  bool const even = holds([&] { (void)data_parallel_size(config, ranks); });
  if (even && !holds([&] { check_countable(config, model, ranks); })) return broken;
  if (even) holds([&] { (void)make_plan(model, llama_layout(config, ranks)); });
  std::int64_t m = 0;
  if (even && holds([&] { m = microbatches(config, ranks); }))
    holds([&] { (void)pipeline_plan(config, m); });
  holds([&] { (void)stage_spans(config, model); });
  return broken;
}

}  // namespace nxd
