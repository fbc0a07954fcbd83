// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include <nxd/config/llama_stages.hpp>
#include <nxd/train/pieces.hpp>
#include <nxd/train/pipeline_step.hpp>

namespace nxd {

namespace detail {

/// The update that a configuration describes.
inline AdamW update_of(OptimConfig const& o, std::type_identity<AdamW>) {
  AdamW update;
  update.beta1 = o.betas[0];
  update.beta2 = o.betas[1];
  update.epsilon = o.eps;
  update.weight_decay = o.weight_decay;
  return update;
}
inline Sgd update_of(OptimConfig const& o, std::type_identity<Sgd>) {
  Sgd update;
  update.momentum = o.momentum;
  update.weight_decay = o.weight_decay;
  return update;
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
inline void set_products(std::string const& precision) {
  product_mode() = precision == "fp32_bf16x3" ? ProductMode::bf16x3 : ProductMode::fp32;
}

/// The strategies that are compiled: calls `f.operator()<Region, Strategy>()` for those that the
/// configuration names. Region is how activations live between blocks, Strategy how the optimizer
/// is spread.
template <class F> auto with_strategy(TrainingConfig const& config, F const& f) {
  auto const with_region = [&]<class Region>() {
    bool const zero1 = config.distributed_strategy.zero1;
    if (config.model.optim.name == OptimizerName::sgd)
      return zero1 ? f.template operator()<Region, Zero1<Sgd>>()
                   : f.template operator()<Region, Replicated<Sgd>>();
    return zero1 ? f.template operator()<Region, Zero1<AdamW>>()
                 : f.template operator()<Region, Replicated<AdamW>>();
  };
  return config.distributed_strategy.sequence_parallel
             ? with_region.template operator()<SequenceParallel<Seq>>()
             : with_region.template operator()<Duplicated>();
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

/// The optimizer of that model.
template <class Strategy, class World, class Model>
auto make_optimizer(World& world, TrainingConfig const& config, Model const& model) {
  return Optimizer<Strategy, World>(
      world, model,
      detail::update_of(config.model.optim, std::type_identity<typename Strategy::update>{}),
      detail::clip_of(config));
}

}  // namespace nxd
