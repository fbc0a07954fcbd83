// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/autodiff/along.hpp>
#include <nxd/autodiff/attention.hpp>
#include <nxd/autodiff/cross_entropy.hpp>
#include <nxd/autodiff/elementwise.hpp>
#include <nxd/autodiff/embedding.hpp>
#include <nxd/autodiff/linear_cross_entropy.hpp>
#include <nxd/autodiff/recompute.hpp>
#include <nxd/autodiff/rename.hpp>
#include <nxd/autodiff/rotary.hpp>
#include <nxd/autodiff/swiglu.hpp>
#include <nxd/tensor/reference.hpp>

using namespace nxd;

namespace {

struct B : Dim<"b"> {};
struct S : Dim<"s"> {};
struct T : Dim<"t"> {};
struct H : Dim<"h"> {};
struct G : Dim<"g"> {};
struct D : Dim<"d"> {};
struct Pair : Dim<"pair"> {};
struct V : Dim<"v", Fit::padded> {};

struct Job : Plan<Let<TP, 1>, Let<B, 2>, Let<S, 3>, Let<T, 3>, Let<H, 4>, Let<G, 2>, Let<D, 4>,
                  Let<Pair, 2>, Let<V, 7>> {
  using Plan::Plan;
};

using Oracle = Reference<double>;
using W = World<Job, Oracle>;
template <class... Ds> using Of = Tensor<double, Shape<Ds...>, Layout<Invariant<TP>>>;

/// A number that depends on every element of f(xs...): their sum, each with a weight of its own.
template <class F, class... Xs> auto weighed(W& world, F const& f, Xs const&... xs) {
  auto const y = f(xs...);
  using Y = typename std::remove_cvref_t<decltype(y)>::tensor;
  return contract<Shape<>>(y, world.constant(world.make<Y>(Uniform<double>{99})));
}

/// How far, relative to its norm, a gradient is from slopes taken by fourth-order differences.
template <class... Xs> double error(auto const& f) {
  W world;
  auto const xs = std::tuple{world.random<Xs>()...};
  auto const value = [&] {
    return std::apply(
        [&](auto const&... x) {
          return data(world.unrecorded([&] { return weighed(world, f, x...); }).value())[0];
        },
        xs);
  };
  world.backward(std::apply([&](auto const&... x) { return weighed(world, f, x...); }, xs));
  double furthest = 0;
  auto const compare = [&]<class X>(Var<X, W> const& x) {
    REQUIRE(x.has_grad());
    double difference = 0, norm = 0;
    for (std::int64_t i = 0; i < X::local_size(world.plan); ++i) {
      auto& element = data(x.value())[i];
      auto const before = element;
      auto const at = [&](double by) {
        element = before + by;
        auto const v = value();
        element = before;
        return v;
      };
      constexpr auto step = 5e-4;
      auto const slope = (8 * (at(step) - at(-step)) - at(2 * step) + at(-2 * step)) / (12 * step);
      auto const gradient = data(x.grad())[i];
      difference += (gradient - slope) * (gradient - slope);
      norm += slope * slope;
    }
    REQUIRE(norm > 0);
    furthest = std::max(furthest, std::sqrt(difference / norm));
  };
  std::apply([&](auto const&... x) { (compare(x), ...); }, xs);
  return furthest;
}

constexpr double bound = 1e-7;

/// Integers as a constant.
template <class X> auto integers(W& world, std::initializer_list<std::int32_t> values) {
  auto const local = world.make<X>();
  std::ranges::copy(values, data(local));
  return world.constant(local);
}

using Labels = Tensor<std::int32_t, Shape<B, S>, Layout<Invariant<TP>>>;

}  // namespace

TEST_CASE("the gradients of products are slopes") {
  CHECK(error<Of<S, D>, Of<T, D>>([](auto x, auto y) { return contract(x, y); }) < bound);
  CHECK(error<Of<B, S, D>, Of<B, T, D>>(
            [](auto x, auto y) { return contract<Shape<B, S, T>>(x, y); }) < bound);
  CHECK(error<Of<B, S, D>, Of<H, D>>([](auto x, auto w) { return contract(x, w); }) < bound);
  CHECK(error<Of<B, S, H, D>, Of<T, H, D>>([](auto x, auto w) { return contract(x, w); }) < bound);
  CHECK(error<Of<B, S, D>, Of<D>>([](auto x, auto w) { return contract<Shape<B, S, D>>(x, w); }) <
        bound);
  CHECK(error<Of<B, S>, Of<T, H>>([](auto x, auto y) { return contract(x, y); }) < bound);
  CHECK(error<Of<B, S>, Of<B, S>>([](auto x, auto y) { return contract(x, y); }) < bound);
  CHECK(error<Of<S, B, T>, Of<D, T, B>>(
            [](auto x, auto y) { return contract<Shape<D, B, S>>(x, y); }) < bound);
}

TEST_CASE("the gradients of element-wise functions are slopes") {
  CHECK(error<Of<S, D>, Of<S, D>>([](auto x, auto y) { return x + y; }) < bound);
  CHECK(error<Of<S, D>>([](auto x) { return scale(-3, x); }) < bound);
  CHECK(error<Of<S, D>>([](auto x) { return gelu(scale(4, x)); }) < bound);
  CHECK(error<Of<S, D>>([](auto x) { return silu(scale(4, x)); }) < bound);
  CHECK(error<Of<B, S, Pair, D>>([](auto x) { return swiglu<Pair>(scale(4, x)); }) < bound);
}

TEST_CASE("the gradients of functions of lines are slopes") {
  CHECK(error<Of<B, S, D>>([](auto x) { return softmax<D>(x, 3); }) < bound);
  CHECK(error<Of<B, S, D>, Of<D>>([](auto x, auto w) { return rms_norm<D>(x, w); }) < bound);
  CHECK(error<Of<B, S, D>, Of<D>>([](auto x, auto w) { return rms_norm<D>(x, w, 0.5); }) < bound);
}

TEST_CASE("the gradients of attention are slopes, with grouped heads and without") {
  auto const causal = [](auto q, auto k, auto v) { return attention(q, k, v, 2.5); };
  auto const open = [](auto q, auto k, auto v) { return attention(q, k, v, 2.5, Mask::none); };
  CHECK(error<Of<B, S, H, D>, Of<B, T, G, D>, Of<B, T, G, D>>(causal) < bound);
  CHECK(error<Of<B, S, H, D>, Of<B, T, G, D>, Of<B, T, G, D>>(open) < bound);
  CHECK(error<Of<B, S, G, D>, Of<B, T, G, D>, Of<B, T, G, D>>(causal) < bound);
}

TEST_CASE("the gradients of rotations and of renamed dimensions are slopes") {
  auto const angles = make_angles<Oracle>(3, std::vector{1.0, 0.1});
  CHECK(error<Of<B, S, H, D>>([&](auto x) { return rotate(x, angles); }) < bound);
  CHECK(error<Of<B, S, D>>([](auto x) { return contract<Shape<B, S, T>>(x, rename<S, T>(x)); }) <
        bound);
}

TEST_CASE("the gradients of the cross-entropy are slopes, whatever its options") {
  struct Options {
    double smoothing, z_loss;
  };
  for (auto const& o : {Options{0, 0}, {0.2, 0}, {0, 0.3}, {0.2, 0.3}})
    CHECK(error<Of<B, S, V>>([&](auto x) {
            auto const labels = integers<Labels>(x.world(), {3, 0, 9, 6, 2, 9});
            return cross_entropy<V>(scale(5, x), labels, 9, o.smoothing, o.z_loss);
          }) < bound);
}

TEST_CASE("the gradients of a head with its loss are slopes, however many tokens at a time") {
  for (std::int64_t const tokens : {0, 1, 4})
    for (auto const& o : {CrossEntropyOptions{}, CrossEntropyOptions{0.2, 0.3}}) {
      CAPTURE(tokens);
      CHECK(error<Of<B, S, D>, Of<V, D>>([&](auto x, auto w) {
              auto& world = x.world();
              auto const labels = integers<Labels>(world, {3, 0, 9, 6, 2, 9});
              auto const weights =
                  world.constant(world.template make<Of<B, S>>(Uniform<double>{7}));
              return linear_cross_entropy<V>(scale(5, x), scale(2, w), labels, weights, 9, o,
                                             {tokens});
            }) < bound);
    }
}

TEST_CASE("a head with its loss is the product and the loss, and gathers where others did") {
  W world;
  auto const x = world.random<Of<B, S, D>>();
  auto const w = world.random<Of<V, D>>();
  auto const labels = integers<Labels>(world, {3, 0, 9, 6, 2, 9});
  auto const weights = world.constant(world.make<Of<B, S>>(Uniform<double>{7}));
  auto const fused = [&] { return linear_cross_entropy<V>(x, w, labels, weights, 9, {}, {4}); };
  auto const apart = [&] {
    return contract<Shape<>>(cross_entropy<V>(contract(x, w), labels, 9), weights);
  };
  auto const flops = [&](auto const& run) {
    auto const before = world.ledger.flops;
    run();
    world.forget();
    return world.ledger.flops - before;
  };
  CHECK(data(fused().value())[0] == doctest::Approx(data(apart().value())[0]).epsilon(1e-14));
  world.forget();
  CHECK_FALSE(x.has_grad());  // nothing is gathered without a backward pass
  CHECK(flops([&] { world.unrecorded(fused); }) == 2 * 6 * 7 * 4);
  CHECK(flops(fused) == 6 * 6 * 7 * 4);
  world.backward(apart());
  std::vector<double> const once(data(w.grad()), data(w.grad()) + 28);
  world.backward(fused());
  for (std::size_t i = 0; i < once.size(); ++i)
    CHECK(data(w.grad())[i] == doctest::Approx(2 * once[i]).epsilon(1e-12));
}

TEST_CASE("tokens at a time fill 64 MiB with logits, or are as many as features, in even parts") {
  constexpr TokensAtATime how;
  CHECK(how.of(2048, 288, 4 * 32000) == 512);
  CHECK(how.of(100, 288, 4 * 32000) == 100);
  CHECK(how.of(4096, 4096, 4 * 128256) == 4096);
  CHECK(how.of(8192, 4096, 4 * 128256) == 4096);
  CHECK(how.of(0, 4096, 4 * 128256) == 0);
}

TEST_CASE("an ignored label costs nothing and pulls at nothing") {
  W world;
  auto const x = world.random<Of<B, S, V>>();
  auto const loss = cross_entropy<V>(x, integers<Labels>(world, {3, 0, 9, 6, 2, 1}), 9, 0.2, 0.3);
  CHECK(data(loss.value())[2] == 0);
  world.backward(
      contract<Shape<>>(loss, world.constant(world.make<Of<B, S>>([](auto) { return 1; }))));
  for (int c = 0; c < 7; ++c) {
    CHECK(data(x.grad())[2 * 7 + c] == 0);
    CHECK(data(x.grad())[3 * 7 + c] != 0);
  }
}

TEST_CASE("the gradient of a look-up gathers those of all uses of a row") {
  CHECK(error<Of<V, D>>([](auto table) {
          return gelu(look_up(integers<Labels>(table.world(), {3, 0, 3, 6, 2, 3}), table));
        }) < bound);
}

TEST_CASE("a value that is used twice gathers both gradients") {
  CHECK(error<Of<S, D>>([](auto x) { return x + gelu(x) + x; }) < bound);
  CHECK(error<Of<S, D>>([](auto x) {
          auto const h = gelu(x);
          return contract<Shape<S, T>>(h, rename<S, T>(h));
        }) < bound);
}

TEST_CASE("a region computed anew has the gradients of one that is kept") {
  CHECK(error<Of<B, S, D>, Of<D>, Of<H, D>>([](auto x, auto w, auto u) {
          auto const region = [w, u](auto const& in) {
            return gelu(contract(rms_norm<D>(in, w), u));
          };
          return recompute(region, gelu(x));
        }) < bound);
  CHECK(error<Of<B, S, D>, Of<D>>([](auto x, auto w) {
          auto const outer = [w](auto const& in) {
            auto const inner = [w](auto const& at) { return gelu(rms_norm<D>(at, w)) + at; };
            return recompute(inner, recompute(inner, in)) + in;
          };
          return recompute(outer, x) + x;
        }) < bound);
}

TEST_CASE("a constant gathers no gradient, and neither does what is detached") {
  W world;
  auto const x = world.random<Of<S, D>>();
  auto const y = world.constant(world.make<Of<S, D>>(Uniform<double>{5}));
  world.backward(contract<Shape<>>(gelu(x) + gelu(y), gelu(x).detached()));
  CHECK(x.has_grad());
  CHECK(!y.has_grad());
  auto const z = world.random<Of<S, D>>();
  world.backward(contract<Shape<>>(gelu(z.detached()), gelu(z.detached())));
  CHECK(!z.has_grad());
}
