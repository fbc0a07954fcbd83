// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nxd/core/plan.hpp>
#include <nxd/data/sampler.hpp>
#include <nxd/pipeline/partition.hpp>
#include <nxd/train/config.hpp>

namespace nxd {

/// What two keys together get wrong: the key to name, and the rest of the sentence.
struct Complaint {
  std::string path;
  std::string text;
};

namespace detail {

inline void complain_unless(std::vector<Complaint>& list, bool holds, std::string path,
                            std::string text) {
  if (!holds) list.push_back({std::move(path), std::move(text)});
}

inline std::string is(std::int64_t value) { return "is " + std::to_string(value) + ", "; }

/// Rules of plans are judged by the functions that the compiler asks, and told in the same words.
inline void complain_if_broken(std::vector<Complaint>& list, Verdict const& v, std::string path,
                               std::string const& mend) {
  if (!v) list.push_back({std::move(path), "breaks a rule: " + describe(v) + "; " + mend});
}

inline void check_model(TrainingConfig const& c, std::vector<Complaint>& out) {
  auto const& m = c.model;
  auto const tp = c.distributed_strategy.tensor_model_parallel_size;
  constexpr auto as_ranks = "make it a multiple of distributed_strategy.tensor_model_parallel_size";
  if (m.num_attention_heads) {
    auto const heads = *m.num_attention_heads;
    complain_if_broken(out, check_split(heads, tp), "model.num_attention_heads", as_ranks);
    if (m.hidden_size && !m.kv_channels)
      complain_unless(out, *m.hidden_size % heads == 0, "model.hidden_size",
                      is(*m.hidden_size) + "which " + std::to_string(heads) +
                          " heads cannot share evenly; make it a multiple or set kv_channels");
    if (m.num_kv_heads)
      complain_if_broken(out, check_groups(heads, *m.num_kv_heads), "model.num_kv_heads",
                         "make it a divisor of model.num_attention_heads");
  }
  if (m.num_kv_heads) {
    auto const copies = c.distributed_strategy.kv_replicator;
    complain_if_broken(out, check_copies(tp, copies), "distributed_strategy.kv_replicator",
                       "make it a divisor of tensor_model_parallel_size");
    if (check_copies(tp, copies))
      complain_if_broken(out, check_split(*m.num_kv_heads, tp / copies), "model.num_kv_heads",
                         "make it a multiple of tensor_model_parallel_size / kv_replicator");
  }
  auto const& d = c.distributed_strategy;
  auto const stages = d.pipeline_model_parallel_size * pipeline_chunks(c);
  if (m.num_layers && d.pipeline_model_parallel_size > 1)
    complain_if_broken(out, check_stages(*m.num_layers, stages),
                       "distributed_strategy.pipeline_model_parallel_size",
                       "lower it, or distributed_strategy.virtual_pipeline_model_parallel_size");
  complain_unless(
      out, m.pipeline_cuts.empty() || d.pipeline_layers == "even", "model.pipeline_cuts",
      "and distributed_strategy.pipeline_layers both say where stages end; leave one out");
  if (m.ffn_hidden_size)
    complain_if_broken(out, check_split(*m.ffn_hidden_size, tp), "model.ffn_hidden_size", as_ranks);
  if (!m.model_config)
    for (auto const& [name, there] : {std::pair{"num_layers", m.num_layers.has_value()},
                                      {"hidden_size", m.hidden_size.has_value()},
                                      {"ffn_hidden_size", m.ffn_hidden_size.has_value()},
                                      {"num_attention_heads", m.num_attention_heads.has_value()}})
      complain_unless(out, there, std::string("model.") + name,
                      "is missing; add it, or name a config.json in model.model_config");
}

inline void check_data(TrainingConfig const& c, std::vector<Complaint>& out) {
  auto const& d = c.data;
  auto const length = d.seq_length ? d.seq_length : c.model.encoder_seq_length;
  complain_if_broken(out, check_batches({d.global_batch_size, d.micro_batch_size, 1}),
                     "data.global_batch_size", "make it a multiple of data.micro_batch_size");
  complain_unless(out, d.train_dir || !d.data_prefix.empty(), "data.train_dir",
                  "is missing, and so is data.data_prefix; name the data in one of them");
  complain_unless(out, !d.train_dir || d.data_prefix.empty(), "data.train_dir",
                  "and data.data_prefix both name the training data; leave one out");
  complain_unless(out, length.has_value(), "data.seq_length",
                  "is missing, and so is model.encoder_seq_length; add one of them");
  if (!length) return;
  if (c.model.encoder_seq_length)
    complain_unless(out, *length == *c.model.encoder_seq_length, "data.seq_length",
                    is(*length) + "but model.encoder_seq_length is " +
                        std::to_string(*c.model.encoder_seq_length) + "; make them equal");
  if (c.model.max_position_embeddings)
    complain_unless(out, *length <= *c.model.max_position_embeddings,
                    "model.max_position_embeddings",
                    is(*c.model.max_position_embeddings) + "which is less than the sequence of " +
                        std::to_string(*length) + " tokens; raise it");
  if (c.distributed_strategy.sequence_parallel) {
    auto const tp = c.distributed_strategy.tensor_model_parallel_size;
    complain_if_broken(out, check_split(*length, tp), "distributed_strategy.sequence_parallel",
                       "set it to false, or data.seq_length to a multiple");
  }
}

inline void check_run(TrainingConfig const& c, std::vector<Complaint>& out) {
  auto const& s = c.model.optim.sched;
  auto const steps = s.max_steps.value_or(c.trainer.max_steps);
  auto const tp = c.distributed_strategy.tensor_model_parallel_size;
  auto const& saving = c.exp_manager.checkpoint_callback_params;
  auto const per_replica = tp * c.distributed_strategy.pipeline_model_parallel_size;
  auto const size = saving.model_parallel_size.value_or(per_replica);
  complain_unless(out, saving.save_top_k != 0, "exp_manager.checkpoint_callback_params.save_top_k",
                  "is 0, but a run keeps its newest checkpoint; to save none, set "
                  "exp_manager.create_checkpoint_callback to false");
  complain_unless(out, s.name == LrShape::constant || s.warmup_steps + s.constant_steps < steps,
                  "model.optim.sched.warmup_steps",
                  is(s.warmup_steps) + "which with " + std::to_string(s.constant_steps) +
                      " constant steps leaves nothing of the " + std::to_string(steps) +
                      " steps; lower it");
  complain_unless(out, s.name == LrShape::constant || s.min_lr <= c.model.optim.lr,
                  "model.optim.sched.min_lr", "is more than model.optim.lr; lower it");
  complain_unless(out, size == per_replica,
                  "exp_manager.checkpoint_callback_params.model_parallel_size",
                  is(size) + "but tensor times pipeline ranks are " + std::to_string(per_replica) +
                      "; leave it out");
  complain_unless(out,
                  c.distributed_strategy.zero1 || !c.model.optim.overlap_param_sync.value_or(false),
                  "model.optim.overlap_param_sync",
                  "is true, but without ZeRO-1 no weights are gathered; set "
                  "distributed_strategy.zero1 to true, or leave it out");
  complain_unless(out,
                  !c.model.weight_init_only || c.exp_manager.resume_from_checkpoint.has_value(),
                  "model.weight_init_only",
                  "is true, but exp_manager.resume_from_checkpoint names nothing to load; add it");
}

}  // namespace detail

/// Everything that keys get wrong together, whatever the number of ranks.
inline std::vector<Complaint> complaints(TrainingConfig const& config) {
  std::vector<Complaint> out;
  detail::check_model(config, out);
  detail::check_data(config, out);
  detail::check_run(config, out);
  return out;
}

/// Tokens of a sample.
inline std::int64_t sequence_length(TrainingConfig const& config) {
  if (config.data.seq_length) return *config.data.seq_length;
  return config.model.encoder_seq_length.value_or(0);
}

/// Data-parallel ranks of a job of `ranks`: what the other axes leave.
/// @throws ConfigError where they do not come out even.
inline std::int64_t data_parallel_size(TrainingConfig const& config, std::int64_t ranks) {
  auto const& d = config.distributed_strategy;
  auto const replica = d.tensor_model_parallel_size * d.pipeline_model_parallel_size;
  if (auto const v = check_ranks(ranks, replica); !v)
    throw ConfigError("the job breaks a rule: " + describe(v) + "; start a multiple of " +
                      std::to_string(replica) +
                      " ranks, as distributed_strategy.tensor_model_parallel_size and "
                      "pipeline_model_parallel_size say");
  return ranks / replica;
}

/// Microbatches of a step on each rank of a job of `ranks`.
/// @throws ConfigError where the batch does not come out even.
inline std::int64_t microbatches(TrainingConfig const& config, std::int64_t ranks) {
  BatchSizes const sizes{config.data.global_batch_size, config.data.micro_batch_size,
                         data_parallel_size(config, ranks)};
  if (auto const v = check_batches(sizes); !v)
    throw ConfigError("data.global_batch_size breaks a rule: " + describe(v) +
                      "; make it a multiple of data.micro_batch_size times the " +
                      std::to_string(sizes.data_parallel) + " data-parallel ranks");
  return sizes.accumulate();
}

}  // namespace nxd
