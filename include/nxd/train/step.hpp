// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <nxd/autodiff/contract.hpp>
#include <nxd/core/expects.hpp>
#include <nxd/nn/dims.hpp>
#include <nxd/optim/optimizer.hpp>

namespace nxd {

/// One microbatch as a rank sees it: token ids and labels [Batch, Seq], its own samples only.
struct Microbatch {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> labels;
};

/// What came of a step.
struct StepReport {
  double loss = 0;       ///< mean over the tokens of the global batch
  double grad_norm = 0;  ///< before clipping
  bool finite() const { return std::isfinite(loss) && std::isfinite(grad_norm); }
};

namespace detail {

/// How a rank's token weights are placed: as the losses are.
template <class World>
using TokenWeights = Tensor<accumulator_t<typename World::element>, Shape<Batch, Seq>,
                            Layout<Shard<Batch, DP>, Invariant<TP>>>;

/// The sum of `value` over the data-parallel ranks.
template <class World> double sum_over_data(World& world, double value) {
  exchange<typename World::backend>(world.comm, [&](auto& comm) {
    all_reduce(comm, line<DP>(world.plan, world.rank()), std::span<double>(&value, 1));
  });
  return value;
}

template <class Model> std::int64_t count_tokens(std::span<Microbatch const> microbatches) {
  std::int64_t n = 0;
  for (auto const& m : microbatches)
    n += std::ranges::count_if(m.labels, [](auto l) { return l != Model::ignore_index; });
  return n;
}

template <class X, class World>
auto constant_of(World& world, std::vector<typename X::element> const& elements) {
  auto const local = world.template make<X>();
  if constexpr (World::backend::has_elements) {
    NXD_EXPECTS(std::ssize(elements) == X::local_size(world.plan));
    std::ranges::copy(elements, data(local));
  }
  return world.constant(local);
}

/// The weights that make a sum over the tokens of a microbatch its share in the mean over `tokens`
/// in all.
template <class World>
auto token_weights(World& world, [[maybe_unused]] Microbatch const& batch,
                   [[maybe_unused]] double tokens) {
  auto const weights = world.constant(world.template make<TokenWeights<World>>());
  if constexpr (World::backend::has_elements)
    std::fill_n(data(weights.value()), batch.labels.size(),
                static_cast<typename TokenWeights<World>::element>(1 / tokens));
  return weights;
}

/// This rank's share of the mean loss of one microbatch, of `tokens` in all.
template <class Model, class World>
auto share_of_loss(World& world, Model const& model, Microbatch const& batch, double tokens) {
  auto const ids = constant_of<typename Model::Tokens>(world, batch.ids);
  auto const labels = constant_of<typename Model::Tokens>(world, batch.labels);
  return model.loss(ids, labels, token_weights(world, batch, tokens));
}

}  // namespace detail

/// Gradients of the mean loss over all tokens of the global batch, whichever microbatch or rank
/// they are in: each token counts the same. Gradients add to what parameters have.
/// @return the mean loss, the same on every rank
template <class Model, class World>
double accumulate_gradients(World& world, Model const& model,
                            std::span<Microbatch const> microbatches) {
  auto const tokens =
      detail::sum_over_data(world, static_cast<double>(detail::count_tokens<Model>(microbatches)));
  double loss = 0;
  for (auto const& m : microbatches) {
    auto const last = world.last_uses(&m == &microbatches.back());
    auto const share = detail::share_of_loss(world, model, m, std::max(tokens, 1.0));
    if constexpr (World::backend::has_elements) loss += static_cast<double>(data(share.value())[0]);
    world.backward(share);
  }
  return detail::sum_over_data(world, loss);
}

/// One step of training: gradients, whose sums over ranks may begin while others are still made,
/// their sums, the norm, clipping, and the update if `takes(report)` says so. All ranks call it and
/// must say the same.
template <class Model, class World, class Optimizer, class Takes>
StepReport train_step(World& world, Model const& model, Optimizer& optimizer,
                      std::span<Microbatch const> microbatches, double rate, Takes const& takes) {
  StepReport report;
  world.gradient_watch = optimizer.watch(model);
  report.loss = accumulate_gradients(world, model, microbatches);
  world.gradient_watch = nullptr;
  if (world.whereabouts != nullptr) world.whereabouts->at("the optimizer");
  Traced const span(world.trace, "optimizer", [] { return "optimizer"; });
  report.grad_norm = optimizer.reduce(model);
  if (takes(report))
    optimizer.step(model, rate);
  else
    optimizer.skip();
  return report;
}

/// Likewise. A step whose loss or norm is not finite changes nothing; all ranks see that alike.
template <class Model, class World, class Optimizer>
StepReport train_step(World& world, Model const& model, Optimizer& optimizer,
                      std::span<Microbatch const> microbatches, double rate) {
  return train_step(world, model, optimizer, microbatches, rate,
                    [](StepReport const& report) { return report.finite(); });
}

/// The mean loss over all tokens, without gradients.
template <class Model, class World>
double evaluate(World& world, Model const& model, std::span<Microbatch const> microbatches) {
  auto const tokens =
      detail::sum_over_data(world, static_cast<double>(detail::count_tokens<Model>(microbatches)));
  double loss = 0;
  for (auto const& m : microbatches)
    loss += world.unrecorded([&] {
      auto const share = detail::share_of_loss(world, model, m, std::max(tokens, 1.0));
      if constexpr (World::backend::has_elements)
        return static_cast<double>(data(share.value())[0]);
      else
        return 0.0;
    });
  return detail::sum_over_data(world, loss);
}

}  // namespace nxd
