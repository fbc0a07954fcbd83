// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/optim/lr_schedule.hpp>

namespace nxd {

/// Which family of configurations a file belongs to; the model that is trained is the same.
enum class ModelSource : std::uint8_t { hf, megatron };
/// The spellings, in the order of the enumeration; so for every enumeration below.
constexpr auto names_of(ModelSource) { return std::to_array<std::string_view>({"hf", "megatron"}); }

/// Whether a larger or a smaller value of the watched metric is the better one.
enum class BestIs : std::uint8_t { max, min };
/// Spellings.
constexpr auto names_of(BestIs) { return std::to_array<std::string_view>({"max", "min"}); }

/// The update rule. In fp32 `adamw_fp32OptState` is `adamw`.
enum class OptimizerName : std::uint8_t { adamw, adamw_fp32_state, sgd };
/// Spellings.
constexpr auto names_of(OptimizerName) {
  return std::to_array<std::string_view>({"adamw", "adamw_fp32OptState", "sgd"});
}

/// What is computed again in the backward pass.
enum class Granularity : std::uint8_t { selective, full };
/// Spellings.
constexpr auto names_of(Granularity) {
  return std::to_array<std::string_view>({"selective", "full"});
}

/// The order in which a pipeline's stages take up microbatches.
enum class PipelineKind : std::uint8_t { gpipe, one_f_one_b, interleaved, zb_h1, zb_v };
/// Spellings.
constexpr auto names_of(PipelineKind) {
  return std::to_array<std::string_view>({"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"});
}

/// What to do about a loss or a gradient that is not finite.
enum class OnNonFinite : std::uint8_t { stop, skip };
/// Spellings.
constexpr auto names_of(OnNonFinite) { return std::to_array<std::string_view>({"stop", "skip"}); }

/// When it is seen that ranks have not come to the same exchanges: before the update of each step,
/// or before each exchange.
enum class CollectiveCheck : std::uint8_t { compare, check };
/// Spellings.
constexpr auto names_of(CollectiveCheck) {
  return std::to_array<std::string_view>({"compare", "check"});
}

/// A number of batches, or a part of all of them.
struct BatchLimit {
  double value = 0;
  bool fraction = false;

  bool operator==(BatchLimit const&) const = default;
};

/// One source of a blend: a `.bin/.idx` prefix and its weight.
struct WeightedPrefix {
  double weight = 1;
  std::string prefix;

  bool operator==(WeightedPrefix const&) const = default;
};

/// Where the fields of a `config.json` come from: a file or folder, or the configuration itself.
struct ModelConfigSource {
  std::string path;         ///< empty where the fields are written inline
  std::string inline_json;  ///< the inline fields as JSON text, empty where there is a path

  bool operator==(ModelConfigSource const&) const = default;
};

/// `trainer`: how long, and what is looked at on the way.
struct TrainerConfig {
  std::optional<std::int64_t> devices;
  std::optional<std::int64_t> num_nodes;
  std::int64_t max_steps = 0;
  std::int64_t max_epochs = -1;
  std::int64_t log_every_n_steps = 1;
  std::optional<std::int64_t> val_check_interval;
  BatchLimit limit_val_batches{1, true};
  std::int64_t num_sanity_val_steps = 0;
  std::optional<double> gradient_clip_val;
  OnNonFinite on_non_finite = OnNonFinite::stop;
  std::optional<double> loss_spike_factor;
  std::int64_t max_skipped_steps = 10;
  std::optional<std::int64_t> check_weight_hash_across_dp_replicas_interval;

  bool operator==(TrainerConfig const&) const = default;
};

/// `exp_manager.checkpoint_callback_params`: when a checkpoint is saved, and how many stay.
struct CheckpointConfig {
  std::optional<std::int64_t> every_n_train_steps;
  std::int64_t save_top_k = 3;
  std::optional<std::int64_t> keep_every_n_train_steps;
  std::string monitor = "step";
  BestIs mode = BestIs::max;
  bool save_last = true;
  std::string filename;
  std::optional<std::int64_t> model_parallel_size;
  bool use_master_weights_in_ckpt = false;

  bool operator==(CheckpointConfig const&) const = default;
};

/// `exp_manager.fault_tolerance`: how long a rank may take before the job is ended, in seconds; 0
/// is for ever.
struct FaultToleranceConfig {
  double initial_rank_heartbeat_timeout = 600;
  std::optional<double> rank_heartbeat_timeout;  ///< empty: from the steps so far
  double safety_factor = 10;
  double load_timeout = 1800;
  double save_timeout = 1800;

  bool operator==(FaultToleranceConfig const&) const = default;
};

/// `exp_manager.straggler_detection_params`: which rank is a slow one.
struct StragglerConfig {
  double report_time_interval = 300;
  double gpu_relative_perf_threshold = 0.7;
  bool stop_if_detected = false;

  bool operator==(StragglerConfig const&) const = default;
};

/// `exp_manager`: where a run leaves its files, and what it starts from.
struct ExperimentConfig {
  std::string exp_dir = "./nxd_experiments";
  std::string name;  ///< empty: the name of the configuration
  std::optional<std::string> explicit_log_dir;
  bool resume_if_exists = false;
  bool resume_ignore_no_checkpoint = false;
  bool allow_fresh_start = false;
  std::optional<std::string> resume_from_checkpoint;
  bool create_checkpoint_callback = true;
  bool async_checkpointing = false;
  bool save_xser = true;
  bool load_xser = true;
  CheckpointConfig checkpoint_callback_params;
  bool create_preemption_callback = true;
  FaultToleranceConfig fault_tolerance;
  bool create_straggler_detection_callback = true;
  StragglerConfig straggler_detection_params;

  bool operator==(ExperimentConfig const&) const = default;
};

/// `distributed_strategy`: the mesh. Data-parallel ranks are what the other axes leave.
struct DistributedConfig {
  std::int64_t tensor_model_parallel_size = 1;
  std::int64_t pipeline_model_parallel_size = 1;
  std::int64_t virtual_pipeline_model_parallel_size = 1;
  std::optional<PipelineKind> pipeline_schedule;  ///< empty: 1f1b; with chunks, interleaved
  std::string pipeline_layers = "even";           ///< see `stage_spans`
  std::int64_t context_parallel_size = 1;
  bool zero1 = true;
  bool sequence_parallel = false;
  std::int64_t kv_replicator = 1;
  std::optional<bool> tp_comm_overlap = false;  ///< empty: if no two ranks share a node

  bool operator==(DistributedConfig const&) const = default;
};

/// `data.tokenizer`: how text becomes tokens.
struct TokenizerConfig {
  std::string type = "byte";
  std::optional<std::string> library;
  std::optional<std::string> model;
  std::optional<std::string> vocab_file;
  std::optional<std::string> merge_file;

  bool operator==(TokenizerConfig const&) const = default;
};

/// `data`: what is read, and in which portions.
struct DataConfig {
  std::int64_t micro_batch_size = 0;
  std::int64_t global_batch_size = 0;
  std::optional<std::string> train_dir;
  std::optional<std::string> val_dir;
  std::vector<WeightedPrefix> data_prefix;
  std::optional<std::int64_t> seq_length;  ///< empty: model.encoder_seq_length
  bool shuffle = true;
  std::string splits_string = "980,10,10";
  std::optional<std::int64_t> max_bytes;
  TokenizerConfig tokenizer;

  bool operator==(DataConfig const&) const = default;
};

/// `model.optim.sched`: the learning rate over the steps.
struct SchedConfig {
  LrShape name = LrShape::constant;
  std::int64_t warmup_steps = 0;
  std::optional<std::int64_t> max_steps;  ///< empty: trainer.max_steps
  std::int64_t constant_steps = 0;
  double min_lr = 0;

  bool operator==(SchedConfig const&) const = default;
};

/// `model.optim`: the update.
struct OptimConfig {
  OptimizerName name = OptimizerName::adamw;
  double lr = 1e-3;
  double weight_decay = 0.01;
  std::array<double, 2> betas{0.9, 0.999};
  double eps = 1e-8;
  double momentum = 0;
  std::optional<bool> overlap_grad_sync = false;   ///< empty: if no two ranks share a node
  std::optional<bool> overlap_param_sync = false;  ///< likewise
  SchedConfig sched;

  bool operator==(OptimConfig const&) const = default;
};

/// `model`: what is trained. A field without a value is taken from `model_config`.
struct ModelConfig {
  std::string architecture = "llama";
  std::optional<ModelConfigSource> model_config;
  std::optional<std::int64_t> encoder_seq_length;
  std::optional<std::int64_t> num_layers;
  std::optional<std::int64_t> hidden_size;
  std::optional<std::int64_t> ffn_hidden_size;
  std::optional<std::int64_t> num_attention_heads;
  std::optional<std::int64_t> num_kv_heads;
  std::optional<std::int64_t> kv_channels;
  std::optional<std::int64_t> max_position_embeddings;
  std::optional<std::int64_t> vocab_size;
  std::optional<double> rope_theta;
  std::optional<double> layernorm_epsilon;
  std::optional<double> init_method_std;
  std::optional<bool> share_embeddings_and_output_weights;
  std::int64_t make_vocab_size_divisible_by = 1;
  std::vector<std::string> pipeline_cuts;  ///< the last layer of each stage but the last one
  bool weight_init_only = false;
  std::optional<Granularity> activations_checkpoint_granularity;
  OptimConfig optim;

  bool operator==(ModelConfig const&) const = default;
};

/// The types of numbers that a run may have.
enum class PrecisionType : std::uint8_t {
  fp32,
  fp32_bf16x3,        ///< fp32, with products of numbers split into two of bf16
  mixed_precision,    ///< bf16; weights have a master of floats
  mixed_precisionSR,  ///< likewise, and weights are rounded from it by chance
  bf16SR,             ///< bf16, weights and moments too, rounded by chance
  autocast,           ///< products of bf16; weights, and what passes between blocks, are floats
  manual,             ///< by the other keys
};
/// Spellings.
constexpr auto names_of(PrecisionType) {
  return std::to_array<std::string_view>({"fp32", "fp32_bf16x3", "mixed_precision",
                                          "mixed_precisionSR", "bf16SR", "autocast", "manual"});
}

/// `precision`: the types of numbers.
struct PrecisionConfig {
  PrecisionType type = PrecisionType::fp32;
  std::optional<bool> master_weights;
  std::string xla_use_bf16, xla_downcast_bf16, neuron_rt_stochastic_rounding_en;

  bool operator==(PrecisionConfig const&) const = default;
};

/// `debug`: what is looked at more closely, at a price.
struct DebugConfig {
  CollectiveCheck collectives = CollectiveCheck::compare;

  bool operator==(DebugConfig const&) const = default;
};

/// A whole run, as its configuration says it. Section and key names are those of the file; the
/// table in `train/config_keys.hpp` says what each means.
struct TrainingConfig {
  std::string name;
  std::int64_t seed = 1234;
  ModelSource model_source = ModelSource::hf;
  TrainerConfig trainer;
  ExperimentConfig exp_manager;
  DistributedConfig distributed_strategy;
  DataConfig data;
  ModelConfig model;
  PrecisionConfig precision;
  DebugConfig debug;

  bool operator==(TrainingConfig const&) const = default;
};

/// The kind of pipeline that a configuration asks for.
inline PipelineKind pipeline_kind(TrainingConfig const& config) {
  auto const& d = config.distributed_strategy;
  if (d.pipeline_schedule) return *d.pipeline_schedule;
  return d.virtual_pipeline_model_parallel_size > 1 ? PipelineKind::interleaved
                                                    : PipelineKind::one_f_one_b;
}

/// Chunks of layers on each pipeline rank: what the configuration says, or the fewest of its kind.
inline std::int64_t pipeline_chunks(TrainingConfig const& config) {
  auto const chunks = config.distributed_strategy.virtual_pipeline_model_parallel_size;
  auto const kind = pipeline_kind(config);
  bool const several = kind == PipelineKind::interleaved || kind == PipelineKind::zb_v;
  return chunks == 1 && several ? 2 : chunks;
}

/// The schedule that the configuration asks for, over `sched.max_steps` or else the whole run.
inline LrSchedule lr_schedule(TrainingConfig const& config) {
  auto const& optim = config.model.optim;
  return {.shape = optim.sched.name,
          .lr = optim.lr,
          .warmup_steps = optim.sched.warmup_steps,
          .max_steps = optim.sched.max_steps.value_or(config.trainer.max_steps),
          .constant_steps = optim.sched.constant_steps,
          .min_lr = optim.sched.min_lr};
}

/// Where a run leaves its checkpoints, in `checkpoints/`: `<exp_dir>/<name>`, or what
/// `explicit_log_dir` says. It may be in a bucket.
inline std::string run_place(TrainingConfig const& config) {
  auto const& exp = config.exp_manager;
  if (exp.explicit_log_dir) return *exp.explicit_log_dir;
  return exp.exp_dir + "/" + (exp.name.empty() ? config.name : exp.name);
}

/// The folder of a run, with all that is no checkpoint: the same, or if that is in a bucket, the
/// one that it would be if nothing were said.
inline std::string run_folder(TrainingConfig const& config) {
  auto const place = run_place(config);
  if (!place.starts_with("s3://")) return place;
  auto const& exp = config.exp_manager;
  return ExperimentConfig{}.exp_dir + "/" + (exp.name.empty() ? config.name : exp.name);
}

}  // namespace nxd
