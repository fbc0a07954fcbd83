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
  std::vector<std::string> all{
      least,
      least + "\1model.model_config={hidden_size: 8, tie: true, x: [1, null, 0.5, \"\"], y: {}}",
      "traner: {max_steps: 1}\n",
      "3\n",
      "",
      "model: {num_layers: 1}\n"};
  for (auto const* const given : {"trainer.max_steps=\"30\"",
                                  "trainer.max_steps=030",
                                  "trainer.max_steps=0.5",
                                  "trainer.max_steps=-5",
                                  "trainer.max_steps=[30]",
                                  "trainer.max_steps=",
                                  "trainer=3",
                                  "trainer.max_epochs=1",
                                  "trainer.limit_val_batches=0.5",
                                  "trainer.limit_val_batches=1.5",
                                  "trainer.gradient_clip_val=1e400",
                                  "trainer.gradient_clip_val=2e308",
                                  "distributed_strategy.zero1=yes",
                                  "distributed_strategy.zero1=Off",
                                  "distributed_strategy.zero1=perhaps",
                                  "distributed_strategy.zero1=False",
                                  "distributed_strategy.tensor_model_parallel_size=3",
                                  "distributed_strategy.kv_replicator=3",
                                  "distributed_strategy.pipeline_schedule=1f2b",
                                  "data.data_prefix=[0.5, a, 0.5, b]",
                                  "data.data_prefix=[a]",
                                  "data.data_prefix=a",
                                  "data.data_prefix=[]",
                                  "data.data_prefix=[1.0]",
                                  "data.eod_mask_loss=true",
                                  "data.global_batch_size=7",
                                  "data.tokenizer={type: GPT2BPETokenizer}",
                                  "model.moe={num_experts: 8}",
                                  "model.hidden_dropout=0.1",
                                  "model.hidden_dropout=0",
                                  "model.has_bias=true",
                                  "model.has_bias=false",
                                  "model.architecture=gpt",
                                  "model.sliding_window_size=4096",
                                  "model.model_config=[1]",
                                  "model.model_config=config.json",
                                  "model.num_layers=null",
                                  "model.optim.betas=0.9",
                                  "model.optim.name=adamV",
                                  "model.optim.name=[a]",
                                  "model.optim.sched.name=CosineAnealing",
                                  "model.pipeline_cuts=model.layers.0",
                                  "model.pipeline_cuts=[model.layers.0]",
                                  "precision.type=fp8",
                                  "model_alignment_strategy={peft: {lora_rank: 16}}"})
    all.push_back(least + "\1" + given);
  return all;
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
