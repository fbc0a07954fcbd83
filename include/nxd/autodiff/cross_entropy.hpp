// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include <nxd/autodiff/world.hpp>
#include <nxd/comm/reduce.hpp>
#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

namespace detail {

/// The axis that splits dimension D of X, if one does.
template <class D, class X, class... As>
auto splitting_axis(Mesh<As...>)
    -> decltype((Mesh<>{} + ... +
                 std::conditional_t<slices<placement_t<X, As>, D>, Mesh<As>, Mesh<>>{}));

/// Brings together what the ranks of a line know of each token: {max, sum of exp(logit - max),
/// label's logit, sum of logits}. Spans of nothing are those of a dry run.
template <class T>
void combine_stats(auto& comm, Line along, std::span<T> stats, std::span<T> scratch) {
  auto const n = scratch.data() == nullptr ? 0 : scratch.size();
  for (std::size_t r = 0; r < n; ++r) scratch[r] = stats[4 * r];
  all_reduce(comm, along, scratch, Op::max);
  for (std::size_t r = 0; r < n; ++r) {
    auto* const s = &stats[4 * r];
    s[1] = s[1] > 0 ? s[1] * std::exp(s[0] - scratch[r]) : T{};
    s[0] = 0;
  }
  all_reduce(comm, along, stats, Op::sum);
  for (std::size_t r = 0; r < n; ++r) stats[4 * r] = scratch[r];
}

/// What the ranks that share logits X know of some tokens together: `stats`, as `combine_stats`
/// leaves it, and log(sum(exp(logits))) of each, in numbers of type T.
template <class B, class T> struct TokenStats {
  typename B::template buffer<T> stats, sums;

  explicit TokenStats(std::int64_t tokens)
      : stats(B::template allocate<T>(4 * tokens)), sums(B::template allocate<T>(tokens)) {}

  template <class D, class X, class W>
  void take(W& world, CrossEntropy const& sizes, typename X::element const* logits,
            std::int32_t const* labels) {
    auto const rows = static_cast<std::size_t>(sizes.rows);
    compute<B>([&](auto k) { k.cross_entropy_stats(sizes, logits, labels, B::data(stats)); });
    [&]<class... As>(Mesh<As...>) {
      ((world.ledger.bytes_sent += 5 * 2 *
                                   (sizes.rows * static_cast<std::int64_t>(sizeof(T)) /
                                    extent<As>(world.plan) * (extent<As>(world.plan) - 1))),
       ...);
      exchange<B>(world.comm, [&](auto& comm) {
        (combine_stats(comm, line<As>(world.plan, world.rank()),
                       std::span<T>(B::data(stats), 4 * rows), std::span<T>(B::data(sums), rows)),
         ...);
      });
    }(decltype(splitting_axis<D, X>(typename W::mesh{})){});
    if constexpr (B::has_elements)
      for (std::int64_t r = 0; r < sizes.rows; ++r)
        B::data(sums)[r] = B::data(stats)[4 * r] + std::log(B::data(stats)[4 * r + 1]);
  }

  /// The loss of token r, unless its label is ignored.
  T loss(std::int64_t r, CrossEntropyOptions const& options) const {
    auto const* const s = B::data(stats) + 4 * r;
    auto const sum = B::data(sums)[r], smooth = static_cast<T>(options.label_smoothing);
    auto const mean = s[3] / static_cast<T>(options.vocabulary);
    return sum - (1 - smooth) * s[2] - smooth * mean + static_cast<T>(options.z_loss) * sum * sum;
  }
};

}  // namespace detail

/// Cross-entropy of each token: log(sum(exp(logits))) - the logit of its label, where
/// `label_smoothing` s mixes the label with the mean over all classes, (1 - s) and s, and `z_loss`
/// z adds z log(sum(exp))^2 (Chowdhery et al., 2022). A token whose label is `ignore_index` costs
/// 0. In: logits[Ds..., D], whole or split along D, not changed; labels[Ds...]. Out: loss[Ds...],
/// of floats where the logits are of bf16.
/// Cost: one pass over the logits forward, one backward; 5 numbers a token sent over a split.
template <TensorDim D, class T, class I, TensorDim... Ds, class LX, class LY, class W>
constexpr auto cross_entropy(Var<Tensor<T, Shape<Ds..., D>, LX>, W> const& logits,
                             Var<Tensor<I, Shape<Ds...>, LY>, W> const& labels,
                             std::int64_t ignore_index = -100, double label_smoothing = 0,
                             double z_loss = 0) {
  using X = Tensor<T, Shape<Ds..., D>, LX>;
  using Y = Tensor<I, Shape<Ds...>, LY>;
  using B = typename W::backend;
  using M = Meeting<CrossEntropyOf<D>, X, Y, typename W::mesh>;
  M::check();
  using S = accumulator_t<T>;
  using Z = Tensor<S, Shape<Ds...>, typename M::layout>;
  auto& world = logits.world();
  auto const part = X::template local_slice<D>(world.plan, world.rank());
  CrossEntropy const sizes{Y::local_size(world.plan), part.length, part.valid, part.first,
                           ignore_index};
  CrossEntropyOptions const options{label_smoothing, z_loss, extent<D>(world.plan)};
  auto const z = world.template make<Z>();
  detail::TokenStats<B, S> tokens(sizes.rows);
  tokens.template take<D, X>(world, sizes, data(logits.value()), data(labels.value()));
  if constexpr (B::has_elements)
    for (std::int64_t r = 0; r < sizes.rows; ++r)
      data(z)[r] = data(labels.value())[r] == ignore_index ? S{} : tokens.loss(r, options);
  return world.record_if(
      M{}, z,
      [g = logits.slot(), &world, logits = logits.value(), labels = labels.value(),
       sums = tokens.sums, sizes, options](auto const& dz) {
        auto const dx = world.template make<gradient_t<X, typename W::mesh>>();
        compute<B>([&](auto k) {
          k.cross_entropy_pull(sizes, data(logits), data(labels), B::data(sums), data(dz), options,
                               data(dx));
        });
        g.accumulate(dx);
      },
      logits.slot());
}

}  // namespace nxd
