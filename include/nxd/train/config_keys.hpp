// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <nxd/train/config.hpp>
#include <nxd/train/limit.hpp>

namespace nxd {

// One table of keys. Whatever reads, lists, prints or checks a configuration is a visitor with
//
//   key(name, field, limit, meaning)      a key with a default
//   required(name, field, limit, meaning) a key that a file must have
//   only(name, value, reason)             a key with one value that is compiled in
//   ignored(name)                         known, and without effect here
//   refused(name, reason)                 a whole section that is not compiled in
//   section(name, fields, meaning)        the keys below `name`

/// The keys of `trainer`.
template <class Table> void describe(Table& t, TrainerConfig& c) {
  t.key("devices", c.devices, at_least(1), "processes per node; the launcher decides");
  t.key("num_nodes", c.num_nodes, at_least(1), "nodes; the launcher decides");
  t.required("max_steps", c.max_steps, at_least(1), "optimizer steps of the run");
  t.key("max_epochs", c.max_epochs, at_least(-1), "passes over the data; -1: as max_steps needs");
  t.key("log_every_n_steps", c.log_every_n_steps, at_least(1), "steps between printed lines");
  t.key("val_check_interval", c.val_check_interval, at_least(1), "steps between validations");
  t.key("limit_val_batches", c.limit_val_batches, at_least(0),
        "batches of a validation: a whole number counts, 0.5 is a half of them, 0 is none");
  t.key("num_sanity_val_steps", c.num_sanity_val_steps, at_least(0),
        "batches that are validated before the first step");
  t.key("gradient_clip_val", c.gradient_clip_val, positive(), "largest gradient norm; null: any");
  t.key("on_non_finite", c.on_non_finite, any(),
        "a step whose loss or gradient is not finite ends the run, or is left out");
  t.key("loss_spike_factor", c.loss_spike_factor, positive(),
        "leave out steps whose loss is so many times the mean of the last 16; null: none");
  t.key("max_skipped_steps", c.max_skipped_steps, at_least(0),
        "steps in a row that may be left out");
  t.key("check_weight_hash_across_dp_replicas_interval",
        c.check_weight_hash_across_dp_replicas_interval, at_least(1),
        "steps between comparisons of what ranks hold in common, bit by bit; null: never");
  t.only("check_val_every_n_epoch", nullptr, "validations are counted in steps");
  for (auto name : {"lnc", "sequential_move_factor", "limit_test_batches"}) t.ignored(name);
}

/// The keys of `exp_manager.checkpoint_callback_params`.
template <class Table> void describe(Table& t, CheckpointConfig& c) {
  t.key("every_n_train_steps", c.every_n_train_steps, at_least(1), "steps between checkpoints");
  t.key("save_top_k", c.save_top_k, at_least(-1), "newest checkpoints that stay; -1: all");
  t.key("keep_every_n_train_steps", c.keep_every_n_train_steps, at_least(1),
        "checkpoints of these steps stay besides the newest");
  t.key("monitor", c.monitor, one_of({"step"}), "what tells the better checkpoint: the later one");
  t.key("mode", c.mode, any(), "whether more or less of it is better");
  t.key("save_last", c.save_last, any(), "save at the end of the run too");
  t.key("filename", c.filename, any(), "pattern of other programs; folders here are named by step");
  t.key("model_parallel_size", c.model_parallel_size, at_least(1),
        "tensor times pipeline ranks, as a cross-check");
  t.key("use_master_weights_in_ckpt", c.use_master_weights_in_ckpt, any(),
        "store fp32 weights; in fp32 they always are");
}

/// The keys of `exp_manager.fault_tolerance`.
template <class Table> void describe(Table& t, FaultToleranceConfig& c) {
  t.key("initial_rank_heartbeat_timeout", c.initial_rank_heartbeat_timeout, at_least(0),
        "seconds until the first step, and for each of the first; 0: for ever");
  t.key("rank_heartbeat_timeout", c.rank_heartbeat_timeout, at_least(0),
        "seconds of a step, 0: for ever; null: safety_factor times their median, 60 at least");
  t.key("safety_factor", c.safety_factor, at_least(1), "of the median of steps");
  t.key("load_timeout", c.load_timeout, at_least(0), "seconds of a load; 0: for ever");
  t.key("save_timeout", c.save_timeout, at_least(0), "seconds of a save; 0: for ever");
}

/// The keys of `exp_manager.straggler_detection_params`.
template <class Table> void describe(Table& t, StragglerConfig& c) {
  t.key("report_time_interval", c.report_time_interval, at_least(0), "seconds between reports");
  t.key("gpu_relative_perf_threshold", c.gpu_relative_perf_threshold, positive(),
        "a rank is slow that does less of its work in a time than this part of what its peers do");
  t.key("stop_if_detected", c.stop_if_detected, any(), "end the run then");
}

/// The keys of `exp_manager`.
template <class Table> void describe(Table& t, ExperimentConfig& c) {
  t.key("exp_dir", c.exp_dir, any(),
        "folder of all runs; s3://BUCKET/PREFIX puts their checkpoints in a bucket");
  t.key("name", c.name, any(), "folder of this run inside it; empty: the top-level name");
  t.key("explicit_log_dir", c.explicit_log_dir, any(), "folder of this run, instead of both");
  t.key("resume_if_exists", c.resume_if_exists, any(), "go on from the newest checkpoint");
  t.key("resume_ignore_no_checkpoint", c.resume_ignore_no_checkpoint, any(),
        "start anew where there is none");
  t.key("allow_fresh_start", c.allow_fresh_start, any(),
        "start anew where there are checkpoints and none can be loaded");
  t.key("resume_from_checkpoint", c.resume_from_checkpoint, any(),
        "checkpoint to go on from; with model.weight_init_only a Hugging Face folder will do");
  t.key("create_checkpoint_callback", c.create_checkpoint_callback, any(), "save checkpoints");
  t.section("checkpoint_callback_params", c.checkpoint_callback_params, "when to save");
  t.key("create_preemption_callback", c.create_preemption_callback, any(),
        "at SIGTERM or SIGUSR1, save and end with exit code 75");
  t.section("fault_tolerance", c.fault_tolerance, "how long a rank may take");
  t.key("create_straggler_detection_callback", c.create_straggler_detection_callback, any(),
        "tell of ranks that the others wait for");
  t.section("straggler_detection_params", c.straggler_detection_params, "which ranks are slow");
  t.key("async_checkpointing", c.async_checkpointing, any(),
        "training goes on while a copy of its state is saved; nxd plan counts the copy");
  t.key("save_xser", c.save_xser, any(),
        "ranks that hold the same weights share the writing; false: the first writes them");
  t.key("load_xser", c.load_xser, any(),
        "of ranks that need the same weights one reads and sends them; false: each reads");
  t.only("log_parameter_norm", false, "this program logs the norm of gradients alone");
  for (auto name : {"log_gradient_norm", "log_local_rank_0_only", "log_global_rank_0_only",
                    "create_tensorboard_logger", "ckpt_ptl_version",
                    "enable_recovery_time_instrumentation", "save_bf16", "use_datetime_version",
                    "version", "log_step_timing", "create_wandb_logger", "create_mlflow_logger"})
    t.ignored(name);
}

/// The keys of `distributed_strategy`.
template <class Table> void describe(Table& t, DistributedConfig& c) {
  t.key("tensor_model_parallel_size", c.tensor_model_parallel_size, at_least(1),
        "ranks that share each weight");
  t.key("zero1", c.zero1, any(), "shard the optimizer's state over the data-parallel ranks");
  t.key("sequence_parallel", c.sequence_parallel, any(),
        "shard the sequence over the tensor ranks between the products");
  t.key("kv_replicator", c.kv_replicator, at_least(1), "copies of each key and value head");
  t.key("tp_comm_overlap", c.tp_comm_overlap, any(),
        "exchange over tensor ranks while products are made; null: if no two of them share a node");
  t.key("pipeline_model_parallel_size", c.pipeline_model_parallel_size, at_least(1),
        "ranks that share the layers");
  t.key("virtual_pipeline_model_parallel_size", c.virtual_pipeline_model_parallel_size, at_least(1),
        "chunks of layers on each of them");
  t.key("pipeline_schedule", c.pipeline_schedule, any(),
        "order of their work; null: 1f1b, or interleaved where there are chunks");
  t.key("pipeline_layers", c.pipeline_layers, any(),
        "layers of the stages: even, last (it takes the remainder), balanced, or counts as 5,6,5");
  t.only("pipeline_model_parallel_split_rank", 0, "this program's models have no encoder");
  t.only("context_parallel_size", 1, "this program has no context-parallel strategy");
  t.only("expert_model_parallel_size", 1, "this program has no mixture of experts");
  t.only("token_shuffle_group_size", 1, "this program has no mixture of experts");
}

/// The keys of `data.tokenizer`.
template <class Table> void describe(Table& t, TokenizerConfig& c) {
  t.key("type", c.type, one_of({"byte"}), "the tokenizer: 256 bytes and the specials");
  t.key("library", c.library, any(), "library of other programs; byte needs none");
  t.key("model", c.model, any(), "model file; byte needs none");
  t.key("vocab_file", c.vocab_file, any(), "vocabulary file; byte needs none");
  t.key("merge_file", c.merge_file, any(), "merge file; byte needs none");
  for (auto name : {"delimiter", "sentencepiece_legacy", "use_fast"}) t.ignored(name);
}

/// The keys of `data`.
template <class Table> void describe(Table& t, DataConfig& c) {
  t.required("micro_batch_size", c.micro_batch_size, at_least(1), "samples of a rank at a time");
  t.required("global_batch_size", c.global_batch_size, at_least(1), "samples of a step");
  t.key("train_dir", c.train_dir, any(), "text files or a folder of them; a glob will do");
  t.key("val_dir", c.val_dir, any(), "the same for validation; null: split from train_dir");
  t.key("data_prefix", c.data_prefix, positive(), "a .bin/.idx prefix, or [weight, prefix, ...]");
  t.key("seq_length", c.seq_length, at_least(1), "tokens of a sample");
  t.key("shuffle", c.shuffle, any(), "a new order in each epoch; false: as in the file");
  t.key("splits_string", c.splits_string, any(), "parts for training, validation and test");
  t.key("max_bytes", c.max_bytes, at_least(1), "read no more text than this");
  t.section("tokenizer", c.tokenizer, "how text becomes tokens");
  t.only("reset_position_ids", false, "positions run on through documents");
  t.only("reset_attention_mask", false, "attention runs on through documents");
  t.only("eod_mask_loss", false, "every token counts in the loss");
  t.only("packing", false, "this program has no fine-tuning data");
  t.only("no_seqlen_plus_one_input_tokens", false, "samples hold one token more than seq_length");
  for (auto name : {"index_mapping_dir", "data_impl", "skip_warmup", "num_workers",
                    "dataloader_type", "validation_drop_last", "pad_samples_to_global_batch_size",
                    "dev_choose_samples", "use_sft_style_data_module"})
    t.ignored(name);
}

/// The keys of `model.optim.sched`.
template <class Table> void describe(Table& t, SchedConfig& c) {
  t.key("name", c.name, any(), "how the rate goes");
  t.key("warmup_steps", c.warmup_steps, at_least(0), "steps of warm-up");
  t.key("max_steps", c.max_steps, at_least(1), "step at which the fall ends; trainer.max_steps");
  t.key("constant_steps", c.constant_steps, at_least(0), "steps at min_lr before it");
  t.key("min_lr", c.min_lr, at_least(0), "the floor");
}

/// The keys of `model.optim`.
template <class Table> void describe(Table& t, OptimConfig& c) {
  t.key("name", c.name, any(), "the update rule; adamw is PyTorch's");
  t.key("lr", c.lr, positive(), "learning rate at its highest");
  t.key("weight_decay", c.weight_decay, at_least(0), "decay of matrices, by the rate");
  t.key("betas", c.betas, below_one(), "adamw's two averages");
  t.key("eps", c.eps, positive(), "adamw's guard against division by zero");
  t.key("momentum", c.momentum, below_one(), "sgd's momentum");
  t.key("overlap_grad_sync", c.overlap_grad_sync, any(),
        "sum gradients over data-parallel ranks during the last backward pass; null: if no two of "
        "them share a node");
  t.key("overlap_param_sync", c.overlap_param_sync, any(),
        "with zero1, gather updated weights during the next forward pass; null: likewise");
  t.section("sched", c.sched, "the learning rate over the steps");
  t.ignored("capturable");
}

/// Stands for `model.fusions`, of which nothing has an effect.
struct Fusions {
  bool operator==(Fusions const&) const = default;
};

/// The keys of `model.fusions`.
template <class Table> void describe(Table& t, Fusions&) {
  t.only("ring_attention", false, "this program has no context-parallel strategy");
  for (auto name : {"softmax", "flash_attention"}) t.ignored(name);
}

/// The keys of `model` that say the shape of the network.
template <class Table> void describe_shape(Table& t, ModelConfig& c) {
  t.key("architecture", c.architecture, one_of({"llama"}), "the model");
  t.key("model_config", c.model_config, any(), "path of a config.json, or its fields");
  t.key("encoder_seq_length", c.encoder_seq_length, at_least(1), "tokens of a sample");
  t.key("num_layers", c.num_layers, at_least(1), "blocks");
  t.key("hidden_size", c.hidden_size, at_least(1), "width of the residual stream");
  t.key("ffn_hidden_size", c.ffn_hidden_size, at_least(1), "width inside the feed-forward");
  t.key("num_attention_heads", c.num_attention_heads, at_least(1), "query heads");
  t.key("num_kv_heads", c.num_kv_heads, at_least(1), "key and value heads");
  t.key("kv_channels", c.kv_channels, at_least(2), "width of a head; hidden / heads");
  t.key("max_position_embeddings", c.max_position_embeddings, at_least(1), "longest sequence");
  t.key("vocab_size", c.vocab_size, at_least(2), "tokens; as the tokenizer has them");
  t.key("rope_theta", c.rope_theta, positive(), "base of the rotary angles");
  t.key("layernorm_epsilon", c.layernorm_epsilon, positive(), "guard inside the norms");
  t.key("init_method_std", c.init_method_std, positive(), "spread of the initial weights");
  t.key("share_embeddings_and_output_weights", c.share_embeddings_and_output_weights, any(),
        "one matrix for embedding and head");
  t.key("make_vocab_size_divisible_by", c.make_vocab_size_divisible_by, at_least(1),
        "padding of the vocabulary in storage");
}

/// The keys of `model`.
template <class Table> void describe(Table& t, ModelConfig& c) {
  describe_shape(t, c);
  t.key("weight_init_only", c.weight_init_only, any(), "load weights, start the rest anew");
  t.key("activations_checkpoint_granularity", c.activations_checkpoint_granularity, any(),
        "what the backward pass computes again; null: nothing");
  t.section("optim", c.optim, "the update");
  Fusions fusions;
  t.section("fusions", fusions, "kernels of other programs");
  t.refused("moe", "this program has no mixture of experts");
  t.key("pipeline_cuts", c.pipeline_cuts, any(),
        "last layer of each pipeline stage but the last one, as model.layers.7");
  t.only("normalization", "rmsnorm", "this program's blocks normalise by RMSNorm");
  t.only("position_embedding_type", "rope", "this program's attention rotates");
  t.only("activation", "swiglu", "this program's feed-forward is SwiGLU");
  t.only("transformer_block_type", "pre_ln", "this program's blocks normalise first");
  t.only("rotary_percentage", 1, "this program's attention rotates whole heads");
  t.only("do_layer_norm_weight_decay", false, "norm weights do not decay");
  for (auto name : {"qkv_linear", "fuse_qkv"}) t.ignored(name);
  t.only("has_bias", false, "this program's layers have no bias");
  t.only("use_scaled_init_method", false, "every weight is drawn with init_method_std");
  t.only("sliding_window_size", nullptr, "this program's attention has no window");
  for (auto name : {"hidden_dropout", "attention_dropout", "ffn_dropout"})
    t.only(name, 0, "this program drops nothing");
  for (auto name : {"apply_query_key_layer_scaling", "persist_layer_norm", "transpose_nki_inputs",
                    "use_cpu_initialization", "activations_checkpoint_recompute"})
    t.ignored(name);
}

/// The keys of `precision`.
template <class Table> void describe(Table& t, PrecisionConfig& c) {
  t.key("type", c.type, any(),
        "types of numbers; fp32_bf16x3: fp32, with products of numbers split in two, on AMX");
  t.key("master_weights", c.master_weights, any(), "a float for each weight of bf16; manual only");
  for (auto const& [name, value] :
       {std::pair{"xla_use_bf16", &c.xla_use_bf16},
        {"xla_downcast_bf16", &c.xla_downcast_bf16},
        {"neuron_rt_stochastic_rounding_en", &c.neuron_rt_stochastic_rounding_en}})
    t.key(name, *value, one_of({"", "0", "1"}),
          name == std::string_view("neuron_rt_stochastic_rounding_en")
              ? "1: weights are rounded by chance; manual only"
              : "1: elements are bf16; manual only");
  // Gradients of weights, and sums over ranks, are always taken in floats.
  for (auto name : {"fp32_grad_acc", "fp32_grads_cc", "parallel_layers_reduce_dtype"})
    t.ignored(name);
}

/// The keys of `debug`.
template <class Table> void describe(Table& t, DebugConfig& c) {
  t.key("collectives", c.collectives, any(),
        "compare what ranks exchanged before each update, or check before each exchange");
}

/// Every key of a configuration.
template <class Table> void describe(Table& t, TrainingConfig& c) {
  t.required("name", c.name, any(), "name of the run");
  t.key("seed", c.seed, at_least(0), "of weights, order and dropout");
  t.key("model_source", c.model_source, any(), "family of the configuration");
  t.section("trainer", c.trainer, "how long, and what is looked at");
  t.section("exp_manager", c.exp_manager, "files of a run");
  t.section("distributed_strategy", c.distributed_strategy, "the mesh");
  t.section("data", c.data, "what is read");
  t.section("model", c.model, "what is trained");
  t.section("precision", c.precision, "types of numbers");
  t.section("debug", c.debug, "what is looked at more closely");
  t.refused("model_alignment_strategy", "this program has no fine-tuning (sft, dpo, orpo, peft)");
  for (auto name :
       {"compiler_flags", "compiler_cache_url", "aync_exec_max_inflight_requests",
        "bucket_size_collectives", "neuron_rt_exec_timeout", "neuron_experimental_compress_rg"})
    t.ignored(name);
}

}  // namespace nxd
