// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <nxd/autodiff/contract.hpp>
#include <nxd/autodiff/cross_entropy.hpp>

namespace nxd {

/// How many tokens `linear_cross_entropy` takes at a time: as many as their logits fill 64 MiB, but
/// no fewer than a token has features, or passes over the weight's gradient would cost more than
/// products.
struct TokensAtATime {
  std::int64_t tokens = 0;  ///< 0: as said

  constexpr std::int64_t of(std::int64_t all, std::int64_t features,
                            std::int64_t bytes_of_logits) const {
    constexpr std::int64_t enough = std::int64_t{64} << 20;
    auto const most = tokens > 0 ? tokens : std::max(features, enough / bytes_of_logits);
    auto const chunks = std::max<std::int64_t>(1, (all + most - 1) / most);
    return (all + chunks - 1) / chunks;
  }
};

namespace detail {

/// The products of some tokens of x[tokens, E] with weight[D, E], and their pullbacks.
struct HeadProducts {
  std::int64_t tokens, classes, features;

  constexpr Product logits() const {
    return {{tokens, features, 0, classes}, {classes, 0, features, 1}, {features, 1, 1, 0}, {}, 0};
  }
  constexpr Product inputs() const {
    return {{tokens, classes, 0, features}, {features, 0, 1, 1}, {classes, 1, features, 0}, {}, 0};
  }
  constexpr Product weights() const {
    return {{classes, 1, 0, features}, {features, 0, 1, 1}, {tokens, classes, features, 0}, {}, 0};
  }
};

/// Multiplies g, made before the number dz that scales it was known, by that number.
template <class G, class Z, class B>
constexpr void scale_late(auto const& plan, Local<G, B> const& g, Local<Z, B> const& dz) {
  [[maybe_unused]] auto const n = G::local_size(plan);
  if constexpr (B::has_elements)
    if (auto const factor = data(dz)[0]; factor != 1)
      compute<B>([&](auto k) { k.scale(n, factor, data(g), data(g)); });
}

/// Gives `slot` such a gradient.
template <class S, class G, class Z, class B>
constexpr void pass_on(auto const& plan, S const& slot, Local<G, B> const& g,
                       Local<Z, B> const& dz) {
  if (!slot.wanted()) return;
  scale_late(plan, g, dz);
  slot.accumulate(g);
}

/// The head of a model with its loss, some tokens at a time: see `linear_cross_entropy`.
template <class D, class X, class Y, class Logits, class W> struct ChunkedHead {
  using B = typename W::backend;
  using E = typename X::element;
  using S = accumulator_t<E>;
  using DLogits = gradient_t<Logits, typename W::mesh>;
  using DX = product_tensor_t<typename X::shape, DLogits, Y, W>;
  using DY = sum_of_t<product_tensor_t<typename Y::shape, X, DLogits, W>>;

  W& world;
  Local<X, B> const& x;
  Local<Y, B> const& weight;
  std::int32_t const* labels;
  S const* token_weights;
  CrossEntropy all;  ///< tokens
  CrossEntropyOptions options;
  std::int64_t at_a_time;
  bool wants_x, wants_weight;  ///< somebody asks for the gradient
  Local<DLogits, B> slopes{};  ///< of the last tokens, if any gradient is wanted
  Local<DX, B> dx{};
  Local<DY, B> dweight{};

  /// All tokens at a time: the slopes are what is kept, and no gradient is made yet.
  bool keeps_slopes() const { return at_a_time == all.rows; }

  /// Makes the gradients that are wanted. @return the weighted sum of the losses
  double run() {
    bill_product<Logits, X, Y>(world);
    if (makes_dx()) {
      bill_product<DX, DLogits, Y>(world);
      dx = world.template make<DX>();
    }
    if (makes_dweight()) {
      bill_product<DY, X, DLogits>(world);
      For<B> const purpose(MemoryUse::gradients);
      dweight = world.template make<DY>();
    }
    slopes.data = B::template allocate<E>(at_a_time * all.columns);
    TokenStats<B, S> tokens(at_a_time);
    double sum = 0;
    for (std::int64_t first = 0; first < all.rows; first += at_a_time)
      sum += run(first, std::min(at_a_time, all.rows - first), data(slopes), tokens);
    if (!keeps_slopes()) slopes = {};
    return sum;
  }

 private:
  bool makes_dx() const { return wants_x && !keeps_slopes(); }
  bool makes_dweight() const { return wants_weight && !keeps_slopes(); }

  double run(std::int64_t first, std::int64_t count, E* logits, TokenStats<B, S>& tokens) {
    auto part = all;
    part.rows = count;
    auto const features = X::local_size(world.plan) / all.rows;
    HeadProducts const products{count, all.columns, features};
    auto const* const inputs = advance<E const>(data(x), first * features);
    auto const* const wanted = advance(labels, first);
    auto const* const scale = advance(token_weights, first);
    compute<B>([&](auto k) { k.multiply(products.logits(), inputs, data(weight), logits, false); });
    tokens.template take<D, Logits>(world, part, logits, wanted);
    if (wants_x || wants_weight)
      compute<B>([&](auto k) {
        k.cross_entropy_pull(part, static_cast<E const*>(logits), wanted,
                             static_cast<S const*>(B::data(tokens.sums)), scale, options, logits);
        if (makes_dx())
          k.multiply(products.inputs(), logits, data(weight), advance(data(dx), first * features),
                     false);
        if (makes_dweight())
          k.multiply(products.weights(), logits, inputs, data(dweight), first > 0);
      });
    double sum = 0;
    if constexpr (B::has_elements)
      for (std::int64_t r = 0; r < count; ++r)
        if (wanted[r] != all.ignore_index)
          sum += static_cast<double>(scale[r]) * static_cast<double>(tokens.loss(r, options));
    return sum;
  }
};

}  // namespace detail

/// The sum over all tokens of `token_weights` times `cross_entropy` of the logits x weight^T, which
/// never exist but for some tokens at a time: the gradients are made with them, in the forward
/// pass, and wait for the backward pass. Where all tokens are taken at a time, their slopes wait.
/// In: x[Ds..., E], whole along E; weight[D, E], whole or split along D, and rounded if it is of
/// floats where x is of bf16; labels and
/// token_weights[Ds...]. Out: the sum, a scalar. Cost: 6 tokens D E FLOPs, 2 of 6 if nothing is
/// recorded; 5 numbers a token sent over a split. Memory: the logits of some tokens, and, if they
/// are not all, the gradients of x and of the weight.
template <TensorDim D, class T, class I, TensorDim... Ds, class X, class Y, class LY, class LV,
          class W>
constexpr auto linear_cross_entropy(Var<X, W> const& x, Var<Y, W> const& weight,
                                    Var<Tensor<I, Shape<Ds...>, LY>, W> const& labels,
                                    Var<Tensor<T, Shape<Ds...>, LV>, W> const& token_weights,
                                    std::int64_t ignore_index = -100,
                                    CrossEntropyOptions options = {}, TokensAtATime how = {}) {
  using Labels = Tensor<I, Shape<Ds...>, LY>;
  using B = typename W::backend;
  using Multiplied = detail::product_t<Shape<Ds..., D>, X, Y, W>;
  Multiplied::check();
  using E = typename X::element;
  static_assert(nxd::is_one_element_type<T, accumulator_t<E>>,
                "linear_cross_entropy: the weights of tokens are summed with, not multiplied with");
  using Logits = Tensor<E, Shape<Ds..., D>, typename Multiplied::layout>;
  using M = Meeting<CrossEntropyOf<D>, Logits, Labels, typename W::mesh>;
  M::check();
  using Losses = Tensor<T, Shape<Ds...>, typename M::layout>;
  using Summed = detail::product_t<Shape<>, Losses, Tensor<T, Shape<Ds...>, LV>, W>;
  Summed::check();
  using Z = Tensor<T, Shape<>, typename Summed::layout>;
  auto& world = x.world();
  auto const part = Logits::template local_slice<D>(world.plan, world.rank());
  CrossEntropy const sizes{Labels::local_size(world.plan), part.length, part.valid, part.first,
                           ignore_index};
  options.vocabulary = extent<D>(world.plan);
  auto const features = X::local_size(world.plan) / sizes.rows;
  auto const rounded = cast<E>(world, weight.value());
  detail::ChunkedHead<D, X, with_element_t<Y, E>, Logits, W> head{
      world,
      x.value(),
      rounded,
      data(labels.value()),
      data(token_weights.value()),
      sizes,
      options,
      how.of(sizes.rows, features, part.length * static_cast<std::int64_t>(sizeof(E))),
      world.records() && x.slot().wanted(),
      world.records() && weight.slot().wanted()};
  auto const sum = head.run();
  auto const z = world.template make<Z>();
  if constexpr (B::has_elements) data(z)[0] = static_cast<T>(sum);
  if (head.keeps_slopes())
    return world.record_if(
        Summed{}, z,
        [gx = x.slot(), gw = weight.slot(), &world, x = x.value(), weight = weight.value(),
         slopes = head.slopes](auto const& dz) {
          detail::scale_late(world.plan, slopes, dz);
          if (gx.wanted()) detail::contract_into(gx, world, slopes, cast<E>(world, weight));
          detail::contract_into(gw, world, x, slopes);
        },
        x.slot(), weight.slot());
  return world.record_if(
      Summed{}, z,
      [gx = x.slot(), gw = weight.slot(), &plan = world.plan, dx = head.dx,
       dw = head.dweight](auto const& dz) {
        detail::pass_on(plan, gx, dx, dz);
        detail::pass_on(plan, gw, dw, dz);
      },
      x.slot(), weight.slot());
}

}  // namespace nxd
