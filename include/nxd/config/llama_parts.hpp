// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/config/llama_stages.hpp>
#include <nxd/train/pieces.hpp>
#include <nxd/train/pipeline_step.hpp>

namespace nxd {

namespace detail {

/// The update that a configuration describes.
inline AnyUpdate update_of(OptimConfig const& o) {
  if (o.name == OptimizerName::sgd) {
    Sgd update;
    update.momentum = o.momentum;
    update.weight_decay = o.weight_decay;
    return {update};
  }
  AdamW update;
  update.beta1 = o.betas[0];
  update.beta2 = o.betas[1];
  update.epsilon = o.eps;
  update.weight_decay = o.weight_decay;
  return {update};
}

inline Clip clip_of(TrainingConfig const& config) {
  Clip clip;
  if (config.trainer.gradient_clip_val) clip.max = *config.trainer.gradient_clip_val;
  return clip;
}

inline Recompute recompute_of(TrainingConfig const& config) {
  auto const& how = config.model.activations_checkpoint_granularity;
  if (!how) return Recompute::none;
  return *how == Granularity::full ? Recompute::full : Recompute::selective;
}

}  // namespace detail

/// How the products of a run are made. A process has one run.
inline void set_products(PrecisionType precision) {
  product_mode() =
      precision == PrecisionType::fp32_bf16x3 ? ProductMode::bf16x3 : ProductMode::fp32;
}

/// Whether activations, and weights, are of bf16.
inline bool is_bf16(PrecisionConfig const& c) {
  switch (c.type) {
    case PrecisionType::mixed_precision:
    case PrecisionType::mixed_precisionSR:
    case PrecisionType::bf16SR: return true;
    case PrecisionType::manual: return c.xla_use_bf16 == "1" || c.xla_downcast_bf16 == "1";
    default: return false;
  }
}

/// How weights of bf16 are kept.
inline WeightPrecision weight_precision(PrecisionConfig const& c, std::int64_t seed) {
  WeightPrecision kept;
  kept.seed = static_cast<std::uint64_t>(seed);
  kept.master = c.type == PrecisionType::manual ? c.master_weights.value_or(false)
                                                : c.type != PrecisionType::bf16SR;
  if (c.type == PrecisionType::mixed_precisionSR || c.type == PrecisionType::bf16SR ||
      (c.type == PrecisionType::manual && c.neuron_rt_stochastic_rounding_en == "1"))
    kept.rounding = Rounding::stochastic;
  return kept;
}

/// Calls `f.operator()<Backend>()` for what the numbers of a run are.
template <class F> auto with_backend(PrecisionConfig const& precision, F const& f) {
  if (precision.type == PrecisionType::autocast) return f.template operator()<XtAutocast>();
  return is_bf16(precision) ? f.template operator()<XtBf16>() : f.template operator()<Xt>();
}

/// Calls `f.operator()<Region>()` for how activations live between blocks.
template <class F> auto with_region(DistributedConfig const& config, F const& f) {
  return config.sequence_parallel ? f.template operator()<SequenceParallel<Seq>>()
                                  : f.template operator()<Duplicated>();
}

/// Whether a rank needs memory for a copy of what it saves.
inline bool saves_in_background(TrainingConfig const& config) {
  auto const& exp = config.exp_manager;
  return exp.create_checkpoint_callback && exp.async_checkpointing;
}

/// What a rank saves.
inline Holding saved_by_each(TrainingConfig const& config) {
  return config.exp_manager.save_xser ? Holding::shared : Holding::owned;
}

/// This rank's stages of the Llama that a configuration describes, on the ranks of its world. The
/// pipeline is the outermost axis. @throws ConfigError, PlanError
template <class Region, class World>
auto make_llama(World& world, TrainingConfig const& config, LlamaConfig const& model) {
  using Stage = Llama<Region, World>;
  auto const stride = ranks(world.plan);
  Line const along{world.rank() % stride, stride,
                   config.distributed_strategy.pipeline_model_parallel_size, world.rank() / stride};
  return Pipelined<Stage, World>(
      along, pipeline_plan(config, microbatches(config, world.comm.size())),
      stage_spans(config, model), [&](StageSpan const& span, Stage const* first) {
        return Stage(world, model, span, detail::recompute_of(config), first);
      });
}

/// What a configuration asks for.
inline Overlap overlap(std::optional<bool> asked) {
  if (!asked) return Overlap::between_nodes;
  return *asked ? Overlap::always : Overlap::never;
}

/// When its gradients are summed, and its updated weights gathered, over the data-parallel ranks.
inline Overlaps overlaps(OptimConfig const& c) {
  return {overlap(c.overlap_grad_sync), overlap(c.overlap_param_sync)};
}

/// The optimizer of that model.
template <class World, class Model>
auto make_optimizer(World& world, TrainingConfig const& config, Model const& model) {
  return Optimizer<Zero1OrReplicated<AnyUpdate>, World>(
      world, model, detail::update_of(config.model.optim), detail::clip_of(config),
      weight_precision(config.precision, config.seed), {config.distributed_strategy.zero1},
      overlaps(config.model.optim));
}

}  // namespace nxd
