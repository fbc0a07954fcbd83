// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include <nxd/config/llama_stages.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/train/step_tracer.hpp>

namespace nxd {

/// Where the traces of a run go, and of which steps they are.
struct TraceRequest {
  std::string folder;
  std::optional<StepWindow> steps{};  ///< if not given, the first few that the run does
};

/// The steps to trace of a run that does steps `first` to `last`. @throws ConfigError if there are
/// none
inline StepWindow steps_of(TraceRequest const& request, std::int64_t first, std::int64_t last) {
  auto const steps = request.steps.value_or(StepWindow{first, first + StepWindow::usual - 1});
  if (steps.first > last || steps.last < first)
    throw ConfigError("--trace-steps is " + std::to_string(steps.first) + ":" +
                      std::to_string(steps.last) + ", but the run does steps " +
                      std::to_string(first) + " to " + std::to_string(last));
  return steps;
}

/// What a plan and the run that it is compared with have in common, by the keys of a configuration:
/// all that decides what a rank does in a step. @throws ConfigError, PlanError if there is no such
/// run
inline TraceFacts trace_facts(TrainingConfig const& config, LlamaConfig const& model,
                              std::int64_t ranks) {
  auto const& d = config.distributed_strategy;
  auto const yes = [](bool b) { return std::string(b ? "true" : "false"); };
  auto const n = [](std::int64_t value) { return std::to_string(value); };
  std::string stages;
  for (auto const& span : stage_spans(config, model))
    stages += (stages.empty() ? "" : ",") + n(span.layers);
  auto const& recompute = config.model.activations_checkpoint_granularity;
  return {{"ranks", n(ranks)},
          {"distributed_strategy.tensor_model_parallel_size", n(d.tensor_model_parallel_size)},
          {"distributed_strategy.pipeline_model_parallel_size", n(d.pipeline_model_parallel_size)},
          {"distributed_strategy.pipeline_schedule", spelling(pipeline_kind(config))},
          {"distributed_strategy.sequence_parallel", yes(d.sequence_parallel)},
          {"distributed_strategy.zero1", yes(d.zero1)},
          {"distributed_strategy.kv_replicator", n(d.kv_replicator)},
          {"layers of the stages", stages},
          {"data.global_batch_size", n(config.data.global_batch_size)},
          {"data.micro_batch_size", n(config.data.micro_batch_size)},
          {"data.seq_length", n(sequence_length(config))},
          {"model.hidden_size", n(model.hidden_size)},
          {"model.ffn_hidden_size", n(model.intermediate_size)},
          {"model.num_attention_heads", n(model.num_attention_heads)},
          {"model.num_kv_heads", n(model.num_key_value_heads)},
          {"model.kv_channels", n(model.head_dim)},
          {"model.vocab_size", n(model.vocab_size)},
          {"model.share_embeddings_and_output_weights", yes(model.tie_word_embeddings)},
          {"model.activations_checkpoint_granularity", recompute ? spelling(*recompute) : "none"},
          {"model.optim.name", spelling(config.model.optim.name)}};
}

}  // namespace nxd
