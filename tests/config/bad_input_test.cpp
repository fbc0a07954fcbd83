// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/config/load.hpp>

namespace {

/// A configuration with a mistake: in the file (a line in place of another) or on the command line.
struct Bad {
  std::string_view line;      ///< a line of the good file ...
  std::string_view instead;   ///< ... and what stands there
  std::string_view sentence;  ///< what the user reads
};

constexpr std::string_view good = R"(name: run
seed: 7
trainer:
  max_steps: 30
  gradient_clip_val: 1.0
distributed_strategy:
  tensor_model_parallel_size: 2
  zero1: true
data:
  micro_batch_size: 2
  global_batch_size: 8
  train_dir: text
  seq_length: 64
model:
  num_layers: 2
  hidden_size: 64
  ffn_hidden_size: 192
  num_attention_heads: 4
  num_kv_heads: 2
  optim:
    lr: 1e-3
    betas: [0.9, 0.95]
    sched:
      name: CosineAnnealing
      warmup_steps: 5
precision:
  type: fp32
)";

std::string sentence_of(std::string const& text, std::vector<std::string> const& overrides = {}) {
  try {
    (void)nxd::load_config_text(text, "run.yaml", overrides);
  } catch (nxd::ConfigError const& error) {
    CHECK(error.code == nxd::ExitCode::config);
    return error.what();
  }
  return "accepted";
}

std::string with(Bad const& bad) {
  std::string text(good);
  auto const at = text.find(bad.line);
  REQUIRE(at != text.npos);
  return text.replace(at, bad.line.size(), bad.instead);
}

constexpr Bad table[] = {
    {"  max_steps: 30", "  max_stpes: 30",
     "run.yaml:4: trainer.max_stpes is not a key; did you mean trainer.max_steps?"},
    {"seed: 7", "seeed: 7", "run.yaml:2: seeed is not a key; did you mean seed?"},
    {"seed: 7", "zzz: 7", "run.yaml:2: zzz is not a key; nxd train --help-keys lists them"},
    {"  max_steps: 30", "  max_steps: 30\n  seed: 3",
     "run.yaml:5: trainer.seed is not a key; did you mean seed?"},
    {"  max_steps: 30", "  max_steps: ten",
     "run.yaml:4: trainer.max_steps is ten, but a whole number is wanted"},
    {"  max_steps: 30", "  max_steps: 30.5",
     "run.yaml:4: trainer.max_steps is 30.5, but a whole number is wanted"},
    {"  max_steps: 30", "  max_steps: \"30\"",
     "run.yaml:4: trainer.max_steps is the text \"30\", but a whole number is wanted; take the "
     "quotes away"},
    {"  max_steps: 30", "  max_steps: 030",
     "run.yaml:4: trainer.max_steps is 030, which some readers take for octal; write it without "
     "leading zeros"},
    {"  max_steps: 30", "  max_steps: 0x1e",
     "run.yaml:4: trainer.max_steps is 0x1e, but a whole number is wanted"},
    {"  max_steps: 30", "  max_steps: 99999999999999999999",
     "run.yaml:4: trainer.max_steps is 99999999999999999999, which does not fit 64 bits; lower it"},
    {"  max_steps: 30", "  max_steps: -5",
     "run.yaml:4: trainer.max_steps is -5, but it must be at least 1"},
    {"  max_steps: 30", "  max_steps: [30]",
     "run.yaml:4: trainer.max_steps is a list, but a whole number is wanted"},
    {"  max_steps: 30", "  max_steps:",
     "run.yaml:4: trainer.max_steps is missing; add it (optimizer steps of the run)"},
    {"  max_steps: 30", "  max_epochs: 1",
     "run.yaml:4: trainer.max_steps is missing; add it (optimizer steps of the run)"},
    {"  max_steps: 30", "  max_steps: 30\n  max_steps: 40",
     "run.yaml:5: max_steps stands twice in one section; leave one of them"},
    {"  max_steps: 30", "  max_steps: ${.max_steps}",
     "run.yaml:4: ${.max_steps} leads back to itself; write the value out"},
    {"  max_steps: 30", "  max_steps: ${model.steps}",
     "run.yaml:4: ${model.steps} names nothing; check its path"},
    {"  max_steps: 30", "  max_steps: ${multiply:2,many}",
     "run.yaml:4: ${multiply:...} is given many, which is not a number"},
    {"  max_steps: 30", "  max_steps: ${divide:4,2}",
     "run.yaml:4: ${divide:...} is not known; there are ${multiply:a,b} and "
     "${oc.env:NAME,default}"},
    {"  max_steps: 30", "  max_steps: ${trainer",
     "run.yaml:4: the interpolation ${trainer has no end; add a }"},
    {"  max_steps: 30", "  max_steps: ${oc.env:NXD_TEST_NOT_SET}",
     "run.yaml:4: the environment has no NXD_TEST_NOT_SET; set it, or write "
     "${oc.env:NXD_TEST_NOT_SET,default}"},
    {"  max_steps: 30", "  max_steps: !!int 30",
     "run.yaml:4: the tag tag:yaml.org,2002:int has no meaning here; leave it out"},
    {"  max_steps: 30", "  max_steps: 1__0",
     "run.yaml:4: trainer.max_steps is 1__0, but a whole number is wanted"},
    {"  gradient_clip_val: 1.0", "  gradient_clip_val: 1e400",
     "run.yaml:5: trainer.gradient_clip_val is 1e400, which does not fit a double; write a number "
     "between 1e-307 and 1e308"},
    {"  gradient_clip_val: 1.0", "  gradient_clip_val: .nan",
     "run.yaml:5: trainer.gradient_clip_val is .nan, but a number is wanted"},
    {"  gradient_clip_val: 1.0", "  gradient_clip_val: 0",
     "run.yaml:5: trainer.gradient_clip_val is 0, but it must be more than 0"},
    {"  gradient_clip_val: 1.0", "  limit_val_batches: 1.5",
     "run.yaml:5: trainer.limit_val_batches is 1.5, but a part of the batches is at most 1.0; "
     "write a whole number to count them"},
    {"  zero1: true", "  zero1: yes",
     "run.yaml:8: distributed_strategy.zero1 is yes, but true or false is wanted; write true"},
    {"  zero1: true", "  zero1: Off",
     "run.yaml:8: distributed_strategy.zero1 is Off, but true or false is wanted; write false"},
    {"  zero1: true", "  zero1: \"true\"",
     "run.yaml:8: distributed_strategy.zero1 is the text \"true\", but true or false is wanted; "
     "write true"},
    {"  zero1: true", "  zero1: perhaps",
     "run.yaml:8: distributed_strategy.zero1 is perhaps, but true or false is wanted"},
    {"  zero1: true", "  pipeline_model_parallel_size: 4",
     "run.yaml:8: distributed_strategy.pipeline_model_parallel_size breaks a rule: every stage of a "
     "pipeline needs a layer (2 against 4); lower it, or "
     "distributed_strategy.virtual_pipeline_model_parallel_size"},
    {"  zero1: true", "  pipeline_model_parallel_size: 2\n  pipeline_schedule: zb-v",
     "run.yaml:8: distributed_strategy.pipeline_model_parallel_size breaks a rule: every stage of a "
     "pipeline needs a layer (2 against 4); lower it, or "
     "distributed_strategy.virtual_pipeline_model_parallel_size"},
    {"  zero1: true", "  pipeline_model_parallel_size: 2\n  pipeline_schedule: 1f2b",
     "run.yaml:9: distributed_strategy.pipeline_schedule is 1f2b, but it must be gpipe or 1f1b or "
     "interleaved or zb-h1 or zb-v; did you mean 1f1b?"},
    {"  num_layers: 2", "  num_layers: 2\n  pipeline_cuts: model.layers.0",
     "run.yaml:16: model.pipeline_cuts is model.layers.0, but a list of texts is wanted"},
    {"  zero1: true", "  context_parallel_size: 2",
     "run.yaml:8: distributed_strategy.context_parallel_size is 2, but this program has no "
     "context-parallel strategy; set it to 1"},
    {"  tensor_model_parallel_size: 2", "  tensor_model_parallel_size: 0",
     "run.yaml:7: distributed_strategy.tensor_model_parallel_size is 0, but it must be at least 1"},
    {"  tensor_model_parallel_size: 2", "  tensor_model_parallel_size: 3",
     "run.yaml:18: model.num_attention_heads breaks a rule: a sharded dimension must split evenly "
     "over its axis (4 against 3); make it a multiple of "
     "distributed_strategy.tensor_model_parallel_size"},
    {"  zero1: true", "  zero1: true\n  kv_replicator: 3",
     "run.yaml:9: distributed_strategy.kv_replicator breaks a rule: copies of a shard must divide "
     "its axis (2 against 3); make it a divisor of tensor_model_parallel_size"},
    {"  zero1: true\n",
     "  zero1: true\nexp_manager: {checkpoint_callback_params: {save_top_k: 0}}\n",
     "run.yaml:9: exp_manager.checkpoint_callback_params.save_top_k is 0, but a run keeps its "
     "newest checkpoint; to save none, set exp_manager.create_checkpoint_callback to false"},
    {"  zero1: true", "  zero1: true\n  kv_replicator: 0",
     "run.yaml:9: distributed_strategy.kv_replicator is 0, but it must be at least 1"},
    {"  zero1: true\ndata:\n  micro_batch_size: 2\n  global_batch_size: 8\n  train_dir: text\n  "
     "seq_length: 64",
     "  sequence_parallel: true\ndata:\n  micro_batch_size: 2\n  global_batch_size: 8\n  "
     "train_dir: text\n  seq_length: 63",
     "run.yaml:8: distributed_strategy.sequence_parallel breaks a rule: a sharded dimension must "
     "split evenly over its axis (63 against 2); set it to false, or data.seq_length to a "
     "multiple"},
    {"  zero1: true\n", "  sequence_parallel: true\nexp_manager: {log_parameter_norm: true}\n",
     "run.yaml:9: exp_manager.log_parameter_norm is true, but this program logs the norm of "
     "gradients alone; set it to false"},
    {"  seq_length: 64", "  seq_length: 64\n  eod_mask_loss: true",
     "run.yaml:14: data.eod_mask_loss is true, but every token counts in the loss; set it to "
     "false"},
    {"  global_batch_size: 8", "  global_batch_size: 7",
     "run.yaml:11: data.global_batch_size breaks a rule: the global batch must be a multiple of "
     "the micro batches of all ranks (7 against 2); make it a multiple of data.micro_batch_size"},
    {"  train_dir: text", "  val_dir: text",
     "run.yaml:10: data.train_dir is missing, and so is data.data_prefix; name the data in one of "
     "them"},
    {"  train_dir: text", "  train_dir: text\n  data_prefix: [1.0]",
     "run.yaml:12: data.train_dir and data.data_prefix both name the training data; leave one out"},
    {"  train_dir: text", "  data_prefix: [0.5, a, -0.5, b]",
     "run.yaml:12: data.data_prefix[2] is -0.5, but it must be more than 0"},
    {"  train_dir: text", "  train_dir: text\n  tokenizer: {type: GPT2BPETokenizer}",
     "run.yaml:13: data.tokenizer.type is GPT2BPETokenizer, but this program has only byte"},
    {"  num_layers: 2", "  moe: {num_experts: 8}",
     "run.yaml:15: model.moe is set, but this program has no mixture of experts; leave it out"},
    {"  num_layers: 2\n", "",
     "run.yaml:15: model.num_layers is missing; add it, or name a config.json in "
     "model.model_config"},
    {"  num_layers: 2", "  architecture: gpt\n  num_layers: 2",
     "run.yaml:15: model.architecture is gpt, but this program has only llama"},
    {"  num_layers: 2", "  num_layers: 2\n  hidden_dropout: 0.1",
     "run.yaml:16: model.hidden_dropout is 0.1, but this program drops nothing; set it to 0"},
    {"  num_layers: 2", "  num_layers: 2\n  has_bias: true",
     "run.yaml:16: model.has_bias is true, but this program's layers have no bias; set it to "
     "false"},
    {"  num_layers: 2", "  num_layers: 2\n  sliding_window_size: 4096",
     "run.yaml:16: model.sliding_window_size is 4096, but this program's attention has no window; "
     "set it to null"},
    {"  num_layers: 2", "  num_layers: 2\n  weight_init_only: true",
     "run.yaml:16: model.weight_init_only is true, but exp_manager.resume_from_checkpoint names "
     "nothing to load; add it"},
    {"  num_layers: 2", "  num_layers: 2\n  max_position_embeddings: 32",
     "run.yaml:16: model.max_position_embeddings is 32, which is less than the sequence of 64 "
     "tokens; raise it"},
    {"  num_layers: 2", "  num_layers: 2\n  encoder_seq_length: 32",
     "run.yaml:13: data.seq_length is 64, but model.encoder_seq_length is 32; make them equal"},
    {"  num_attention_heads: 4", "  num_attention_heads: 6",
     "run.yaml:16: model.hidden_size is 64, which 6 heads cannot share evenly; make it a multiple "
     "or set kv_channels"},
    {"  num_kv_heads: 2", "  num_kv_heads: 1",
     "run.yaml:19: model.num_kv_heads breaks a rule: a sharded dimension must split evenly over "
     "its axis (1 against 2); make it a multiple of tensor_model_parallel_size / kv_replicator"},
    {"  num_kv_heads: 2", "  num_kv_heads: 3",
     "run.yaml:19: model.num_kv_heads breaks a rule: query heads must be a multiple of key heads "
     "(4 against 3); make it a divisor of model.num_attention_heads"},
    {"  ffn_hidden_size: 192", "  ffn_hidden_size: 191",
     "run.yaml:17: model.ffn_hidden_size breaks a rule: a sharded dimension must split evenly over "
     "its axis (191 against 2); make it a multiple of "
     "distributed_strategy.tensor_model_parallel_size"},
    {"    lr: 1e-3", "    lr: 0.0",
     "run.yaml:21: model.optim.lr is 0.0, but it must be more than 0"},
    {"    betas: [0.9, 0.95]", "    betas: [0.9, 1.0]",
     "run.yaml:22: model.optim.betas[1] is 1.0, but it must be at least 0 and less than 1"},
    {"    betas: [0.9, 0.95]", "    betas: 0.9",
     "run.yaml:22: model.optim.betas is 0.9, but a list of two numbers is wanted"},
    {"    betas: [0.9, 0.95]", "    name: adamV",
     "run.yaml:22: model.optim.name is adamV, but it must be adamw or adamw_fp32OptState or sgd; "
     "did you mean adamw?"},
    {"      name: CosineAnnealing", "      name: CosineAnealing",
     "run.yaml:24: model.optim.sched.name is CosineAnealing, but it must be constant or "
     "WarmupPolicy or CosineAnnealing or WarmupAnnealing or SquareAnnealing or "
     "LinearAnnealingWithWarmUp; did you mean CosineAnnealing?"},
    {"      warmup_steps: 5", "      warmup_steps: 30",
     "run.yaml:25: model.optim.sched.warmup_steps is 30, which with 0 constant steps leaves "
     "nothing of the 30 steps; lower it"},
    {"      warmup_steps: 5", "      min_lr: 1.0",
     "run.yaml:25: model.optim.sched.min_lr is more than model.optim.lr; lower it"},
    {"    sched:\n      name: CosineAnnealing\n      warmup_steps: 5", "    sched: 3",
     "run.yaml:23: model.optim.sched is 3, but a section of keys is wanted"},
    {"precision:\n  type: fp32", "precision: fp32",
     "run.yaml:26: precision is fp32, but a section of keys is wanted"},
    {"  type: fp32", "  type: fp8",
     "run.yaml:27: precision.type is fp8, but it must be fp32 or fp32_bf16x3 or mixed_precision or "
     "mixed_precisionSR or bf16SR or autocast or manual"},
    {"precision:", "model_alignment_strategy: {peft: {lora_rank: 16}}\nprecision:",
     "run.yaml:26: model_alignment_strategy is set, but this program has no fine-tuning (sft, dpo, "
     "orpo, peft); leave it out"},
    {"precision:", "<<: 3\nprecision:", "run.yaml:26: << merges 3; it can merge maps only"},
    {"precision:", "<<: *nothing\nprecision:",
     "run.yaml:26: this is not YAML: the referenced anchor is not defined; mend it"},
    {"precision:", "? [a, b]\n: 3\nprecision:",
     "run.yaml:26: a key is a list or a map; write a name (or quote what begins with { or [)"},
    {"precision:", "---\nprecision:",
     "run.yaml:26: a second document starts here; a configuration is one"},
    {"precision:", "exp_manager: &me {exp_dir: *me}\nprecision:",
     "run.yaml:26: an alias stands inside what it names; write the value out"},
    {"precision:",
     "exp_manager: {checkpoint_callback_params: {model_parallel_size: 4}}\nprecision:",
     "run.yaml:26: exp_manager.checkpoint_callback_params.model_parallel_size is 4, but tensor "
     "times pipeline ranks are 2; leave it out"},
    {"precision:", "exp_manager: {exp_dir: [a}\nprecision:",
     "run.yaml:26: this is not YAML: illegal flow end; mend it"},
    {"precision:", "\tprecision:",
     "run.yaml:26: this is not YAML: illegal tab when looking for indentation; mend it"},
    {"name: run", "name: \xff",
     "run.yaml:1: there is a byte that is not UTF-8 text; save the file as UTF-8"},
};

}  // namespace

TEST_CASE("The configuration that the bad ones are made from is good") {
  CHECK(sentence_of(std::string(good)) == "accepted");
}

TEST_CASE("A bad override names the command line") {
  std::string const text(good);
  auto const with_override = [&](std::string const& argument) {
    return sentence_of(text, {argument});
  };
  CHECK(with_override("trainer.max_step=3") ==
        "command line: trainer.max_step is not a key; did you mean trainer.max_steps?");
  CHECK(with_override("trainer.max_steps=lots") ==
        "command line: trainer.max_steps is lots, but a whole number is wanted");
  CHECK(with_override("trainer.max_steps") ==
        "command line: trainer.max_steps is not an override; write key.path=value");
  CHECK(with_override("seed.x=3") == "command line: seed.x leads through 7, which has no keys");
  CHECK(with_override("model..num_layers=3") ==
        "command line: model..num_layers is not a path; write section.key");
  CHECK(with_override("model.optim.betas[2]=0.5") ==
        "command line: model.optim.betas[2] names no element of the list; check 2");
}

TEST_CASE("An empty file and one that is no map are refused") {
  CHECK(sentence_of("") == "run.yaml: the configuration is empty");
  CHECK(sentence_of("# nothing\n") == "run.yaml: the configuration is empty");
  CHECK(sentence_of("- a\n") == "run.yaml:1: the configuration is a list, but keys are wanted");
}

TEST_CASE("Every bad configuration ends in its one sentence") {
  for (auto const& bad : table) CHECK(sentence_of(with(bad)) == bad.sentence);
}
