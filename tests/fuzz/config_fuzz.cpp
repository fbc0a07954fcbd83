// SPDX-License-Identifier: Apache-2.0
#include <nxd/config/load.hpp>

#include "target.hpp"

/// A configuration, and overrides after it, each behind a byte 1.
void fuzz::read(std::string_view input) {
  auto const text = std::string(input.substr(0, input.find('\1')));
  std::vector<std::string> overrides;
  for (auto at = input.find('\1'); at != input.npos; at = input.find('\1', at + 1))
    overrides.emplace_back(input.substr(at + 1, input.find('\1', at + 1) - at - 1));
  auto const loaded = nxd::load_config_text(text, file, overrides, nxd::Broken::collect);
  auto const written = nxd::to_yaml(loaded.config);
  auto const again = nxd::load_config_text(written, file, {}, nxd::Broken::collect).config;
  require(nxd::to_yaml(again) == written, "a configuration comes back as it was written");
}

std::vector<std::string> fuzz::seeds() {
  std::string const least = R"(name: r
seed: 7
trainer: {max_steps: 30, gradient_clip_val: 1.0}
distributed_strategy: {tensor_model_parallel_size: 2, zero1: true}
data: {micro_batch_size: 2, global_batch_size: 8, train_dir: text, seq_length: 64}
model:
  num_layers: 2
  hidden_size: 64
  ffn_hidden_size: 192
  num_attention_heads: 4
  num_kv_heads: 2
  optim: {lr: 1e-3, betas: [0.9, 0.95], sched: {name: CosineAnnealing, warmup_steps: 5}}
precision: {type: fp32}
)";
  return {
      least,
      least + "\1distributed_strategy.pipeline_model_parallel_size=2\1model.share=true",
      least + "exp_manager: {name: x, checkpoint_callback_params: {save_top_k: 2}}\nseed: 3\n",
      least + "\1model.model_config={hidden_size: 8, tie: true, x: [1, null]}\1trainer.max_steps=9",
      least + "\1data.data_prefix=[0.5, a, 0.5, b]\1trainer.limit_val_batches=0.5",
      "traner: {max_steps: 1}\n"};
}

std::vector<std::string> fuzz::words() {
  std::vector<std::string> all{"${",
                               "}",
                               "true",
                               "yes",
                               "null",
                               "1_000",
                               "1e-5",
                               "0.5",
                               "-1",
                               "[0.9, 0.95]",
                               "9223372036854775807",
                               "1e308",
                               "\1seed=3",
                               "\1a.b.c="};
  for (auto const& row : nxd::key_table()) {
    auto const dot = row.path.rfind('.');
    all.push_back(row.path.substr(dot == row.path.npos ? 0 : dot + 1) + ": ");
  }
  return all;
}
