// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nxd/config/llama_setup.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/pipeline/pipelined.hpp>
#include <nxd/plan/dry_run.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/progress.hpp>

namespace nxd {

namespace detail {

/// The layers that cuts name: `model.layers.7` is 7. @throws ConfigError if one names none, or not
/// in their order, or leaves none for the last stage
inline std::vector<std::int64_t> layers_of_cuts(std::vector<std::string> const& cuts,
                                                std::int64_t layers) {
  constexpr std::string_view before = "model.layers.";
  std::vector<std::int64_t> named;
  for (auto const& cut : cuts) {
    auto const number = cut.starts_with(before) ? cut.substr(before.size()) : "";
    if (number.empty() || number.size() > 9 ||
        number.find_first_not_of("0123456789") != number.npos)
      throw ConfigError("model.pipeline_cuts names \"" + cut +
                        "\", but the layers are model.layers.0 and so on; name one of them");
    auto const layer = std::stoll(number);
    if (layer + 1 >= layers)
      throw ConfigError(
          "model.pipeline_cuts names " + cut +
          ", which leaves no layer for the last stage; name a layer before model.layers." +
          std::to_string(layers - 1));
    if (!named.empty() && layer <= named.back())
      throw ConfigError("model.pipeline_cuts names " + cut + " after model.layers." +
                        std::to_string(named.back()) + "; name layers in their order");
    named.push_back(layer);
  }
  return named;
}

/// Counts of layers, as "5,6,5". @throws ConfigError if they are no such list
inline std::vector<std::int64_t> layer_counts(std::string const& text) {
  std::vector<std::int64_t> counts;
  for (std::size_t at = 0; at <= text.size();) {
    auto const comma = std::min(text.find(',', at), text.size());
    auto const item = text.substr(at, comma - at);
    if (item.empty() || item.size() > 9 || item.find_first_not_of("0123456789") != item.npos)
      throw ConfigError("distributed_strategy.pipeline_layers is \"" + text +
                        "\"; write even, last, balanced, or counts as 5,6,5");
    counts.push_back(std::stoll(item));
    at = comma + 1;
  }
  return counts;
}

/// What the ends of a model cost, in layers.
struct EndCosts {
  double embedding, head;
};

/// Forward passes of the parts of a model, on one rank, without running them.
inline EndCosts costs_in_layers(LlamaConfig const& model, std::int64_t seq_length) {
  auto one = model;
  one.num_hidden_layers = 1;
  Machine const machine;
  DryWorld<LlamaPlan, Xt> world(make_plan(one, {.seq_length = seq_length, .kv_copies = 1}),
                                dry_rank(0, 1, machine));
  using Part = Llama<Duplicated, decltype(world)>;
  Part const part(world, one);
  auto const tokens = world.constant(world.template make<typename Part::Tokens>());
  auto& clock = DryWork::mine() = {machine.kernels, 0};
  auto const x = part.embed(tokens);
  auto const embedding = clock.seconds;
  auto const y = part.pass(x);
  auto const layer = clock.seconds - embedding;
  part.losses_of(y, tokens);
  world.forget();
  return {embedding / layer, (clock.seconds - embedding - layer) / layer};
}

}  // namespace detail

/// Which layers the stages of a pipeline have. `pipeline_cuts` says so, or `pipeline_layers`:
/// `even` gives the last stages one more where they do not come out even, `last` gives the
/// remainder to the very last one, `balanced` makes the slowest stage as fast as can be, embedding
/// and head counted at what a dry run finds.
/// @throws ConfigError, PlanError unless every layer is in one stage
inline std::vector<StageSpan> stage_spans(TrainingConfig const& config, LlamaConfig const& model) {
  auto const& d = config.distributed_strategy;
  auto const layers = model.num_hidden_layers;
  auto const stages = d.pipeline_model_parallel_size * pipeline_chunks(config);
  if (d.pipeline_model_parallel_size == 1 && stages > 1 && layers < stages)
    throw ConfigError(
        "chunks of layers need pipeline ranks; leave "
        "distributed_strategy.pipeline_schedule and "
        "virtual_pipeline_model_parallel_size out");
  if (!config.model.pipeline_cuts.empty())
    return cut_layers(layers, stages, detail::layers_of_cuts(config.model.pipeline_cuts, layers));
  if (d.pipeline_layers == "even") return share_layers(layers, stages);
  if (d.pipeline_layers == "last") return share_layers(layers, stages, Remainder::very_last_stage);
  if (d.pipeline_layers != "balanced") {
    auto const counts = detail::layer_counts(d.pipeline_layers);
    if (std::ssize(counts) != stages)
      throw ConfigError("distributed_strategy.pipeline_layers has " +
                        std::to_string(counts.size()) + " counts, but there are " +
                        std::to_string(stages) + " stages");
    return stages_of(counts, layers);
  }
  auto const costs = detail::costs_in_layers(model, sequence_length(config));
  return balance_layers(layers, stages, costs.embedding, costs.head);
}

/// The schedules of a pipeline of that kind. @throws ConfigError if there are none
inline PipelinePlan pipeline_plan(TrainingConfig const& config, std::int64_t microbatches) {
  auto const ranks = config.distributed_strategy.pipeline_model_parallel_size;
  auto const chunks = pipeline_chunks(config);
  std::optional<PipelinePlan> plan;
  with_schedule(spelling(pipeline_kind(config)), [&]<class K>(K) {
    if (auto const v = check_numbers<K>(ranks, ranks, chunks); !v)
      throw ConfigError(
          "distributed_strategy.virtual_pipeline_model_parallel_size "
          "breaks a rule: " +
          describe(v) + "; leave it out");
    if (auto const v = check_numbers<K>(ranks, microbatches, chunks); !v)
      throw ConfigError(
          "data.global_batch_size breaks a rule: " + describe(v) + "; " +
          (v.broken == Rule::pipeline_messages_must_fit_their_tags ? "lower" : "raise") +
          " it, or choose another distributed_strategy.pipeline_schedule");
    plan = PipelinePlan::of<Pipeline<K>>(ranks, microbatches, chunks);
  });
  return *plan;
}

/// How a job of so many ranks is laid out, in words. @throws ConfigError if there is no such job
inline std::string layout_words(TrainingConfig const& config, std::int64_t ranks) {
  auto const& d = config.distributed_strategy;
  auto const pp = d.pipeline_model_parallel_size;
  return detail::counted(ranks, "rank", "ranks") + ": DP " +
         std::to_string(data_parallel_size(config, ranks)) + ", TP " +
         std::to_string(d.tensor_model_parallel_size) +
         (d.sequence_parallel ? " with sequence parallelism" : "") +
         (pp > 1 ? ", PP " + std::to_string(pp) + " (" + spelling(pipeline_kind(config)) + ")"
                 : "") +
         ", " + detail::counted(microbatches(config, ranks), "microbatch", "microbatches") +
         (d.zero1 ? ", ZeRO-1" : "");
}

}  // namespace nxd
