// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/executor.hpp>
#include <nxd/pipeline/pipelined.hpp>
#include <nxd/train/step.hpp>

namespace nxd {

namespace detail {

/// What the stages of a language model do with its microbatches: from tokens to shares of the mean
/// loss.
template <class Model, class World> struct LanguageStages {
  using Residual = typename Model::Residual;

  World& world;
  Pipelined<Model, World> const& model;
  std::span<Microbatch const> microbatches;
  double tokens;  ///< of the global batch

  auto begin(int microbatch) const {
    return model.chunk(0).embed(constant_of<typename Model::Tokens>(world, at(microbatch).ids));
  }
  auto pass(int chunk, Var<Residual, World> const& x) const { return model.chunk(chunk).pass(x); }
  auto end(int microbatch, Var<Residual, World> const& x) const {
    auto const& s = model.plan().training;
    auto const& last = model.chunk(s.seat(s.stages() - 1).chunk);
    auto const labels = constant_of<typename Model::Tokens>(world, at(microbatch).labels);
    return last.loss_of(x, labels, token_weights(world, at(microbatch), tokens));
  }

 private:
  Microbatch const& at(int microbatch) const {
    return microbatches[static_cast<std::size_t>(microbatch)];
  }
};

/// Runs microbatches through a pipeline. @return the mean loss, the same on every rank
template <class Model, class World>
double run_pipeline(World& world, Pipelined<Model, World> const& model, Schedule const& schedule,
                    std::span<Microbatch const> microbatches) {
  auto const tokens = sum_over_data(world, static_cast<double>(count_tokens<Model>(microbatches)));
  LanguageStages<Model, World> const stages{world, model, microbatches, std::max(tokens, 1.0)};
  auto loss = PipelineExecutor(world, schedule, model.along(), stages).run();
  exchange<typename World::backend>(world.comm, [&](auto& comm) {
    all_reduce(comm, model.along(), std::span<double>(&loss, 1));
  });
  return sum_over_data(world, loss);
}

}  // namespace detail

/// `accumulate_gradients` of a model on several stages: the microbatches are those of its schedule.
template <class Model, class World>
double accumulate_gradients(World& world, Pipelined<Model, World> const& model,
                            std::span<Microbatch const> microbatches) {
  NXD_EXPECTS(std::ssize(microbatches) == model.plan().training.microbatches);
  return detail::run_pipeline(world, model, model.plan().training, microbatches);
}

/// `evaluate` of a model on several stages, with any kind of schedule and any number of
/// microbatches.
template <class Model, class World>
double evaluate(World& world, Pipelined<Model, World> const& model,
                std::span<Microbatch const> microbatches) {
  auto const& s = model.plan().training;
  auto const schedule = model.plan().make_evaluation(s.ranks(), std::ssize(microbatches), s.chunks);
  return detail::run_pipeline(world, model, schedule, microbatches);
}

}  // namespace nxd
