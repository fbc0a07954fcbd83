// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/autodiff/along.hpp>
#include <nxd/autodiff/elementwise.hpp>
#include <nxd/autodiff/rotary.hpp>
#include <nxd/autodiff/swiglu.hpp>

#include "judge.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

struct M : Dim<"m"> {};
struct N : Dim<"n"> {};

struct S : Dim<"s"> {};
struct D : Dim<"d"> {};
struct Pair : Dim<"pair"> {};

struct Job
    : Plan<Let<TP>, Let<Twice, 2>, Let<M, 4>, Let<N, 4>, Let<S, 8>, Let<D, 4>, Let<Pair, 2>> {
  using Plan::Plan;
};

struct GeluOfEach {
  using shapes = std::tuple<Shape<M, N>>;
  static constexpr std::size_t constants = 1;
  template <class P> static constexpr bool accepts = is_local<Nonlinear, P, P>;
  static auto typed(auto const& x) { return gelu(x); }
  static Experiment experiment() {
    return {element_wise([](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }),
            {random({4, 4}, 1)},
            {4, 4},
            1};
  }
};

struct SoftmaxAlong {
  using shapes = std::tuple<Shape<M, N>>;
  static constexpr std::size_t constants = 1;
  template <class P> static constexpr bool accepts = is_local<Along<N>, P, P>;
  static auto typed(auto const& x) { return softmax<N>(x); }
  static Experiment experiment() { return {softmax_by_hand, {random({4, 4}, 1)}, {4, 4}, 1}; }
};

/// A nonlinear function of lines, and then a product with a weight that all lines share.
struct NormAlong {
  using shapes = std::tuple<Shape<M, N>, Shape<N>>;
  using product = Contraction<Summed<>, Kept<N>>;
  static constexpr std::size_t constants = 2;
  template <class P, class Q>
  static constexpr bool accepts = is_local<Along<N>, P, P>&& is_local<product, P, Q>;
  static auto typed(auto const& x, auto const& w) { return rms_norm<N>(x, w); }
  static Experiment experiment() {
    return {rms_norm_by_hand, {random({4, 4}, 1), random({4}, 2)}, {4, 4}, 2};
  }
};

struct GatedUnit {
  using shapes = std::tuple<Shape<M, Pair, N>>;
  static constexpr std::size_t constants = 1;
  template <class P> static constexpr bool accepts = is_local<Along<Pair>, P, P>;
  static auto typed(auto const& x) { return swiglu<Pair>(x); }
  static Experiment experiment() { return {swiglu_by_hand, {random({4, 2, 4}, 1)}, {4, 4}, 1}; }
};

struct Rotation {
  using shapes = std::tuple<Shape<M, S, N, D>>;
  static constexpr std::size_t constants = 1;
  template <class P> static constexpr bool accepts = is_local<Along<D>, P, P>;
  static auto typed(auto const& x) {
    return rotate(x, make_angles<Reference<double>>(8, std::vector{1.0, 0.3}));
  }
  static Experiment experiment() {
    return {rotate_by_hand, {random({4, 8, 4, 4}, 1)}, {4, 8, 4, 4}, 1};
  }
};

}  // namespace

TEST_CASE("a nonlinear function takes all placements but those that await a sum") {
  auto const tally = judge_each<Job, GeluOfEach>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 6);
  CHECK(tally.refused == 3);
}

TEST_CASE("a function of lines takes them whole") {
  auto const softmaxes = judge_each<Job, SoftmaxAlong>();
  CHECK(faults(softmaxes) == "");
  CHECK(softmaxes.accepted == 4);
  CHECK(softmaxes.refused == 5);
  auto const norms = judge_pairs<Job, NormAlong>();
  CHECK(faults(norms) == "");
  CHECK(norms.accepted == 5);
  CHECK(norms.refused == 9 * 6 - 5);
}

TEST_CASE(
    "gates and rotations take whatever does not split their pairs, and rotations know places") {
  auto const gates = judge_each<Job, GatedUnit>();
  CHECK(faults(gates) == "");
  CHECK(gates.accepted == 6);
  CHECK(gates.refused == 6);
  // A rotation is linear, and so it could turn the terms of a sum; one rule serves both.
  auto const rotations = judge_each<Job, Rotation>();
  CHECK(rotations.accepted == 8);
  CHECK(rotations.refused == 7);
  CHECK(
      faults(rotations) ==
      "PartialShard<0, twice> is refused, and right\nPartialShard<1, twice> is refused, and right\n"
      "PartialShard<2, twice> is refused, and right\nPartial is refused, and right\n");
}

/// A gradient at G meets a derivative at P: right if y at G's dual is what x at P makes.
template <class G_, class P> void judge_chain(Experiment const& e, Tally& tally) {
  auto const y = place_of<G_, Shape<M, N>>().cotangent();
  auto const x = place_of<P, Shape<M, N>>();
  auto const right = e.is_right({x}, y, 2) && e.is_right({x}, y, 4);
  ++(is_local<ChainRule, G_, P> ? tally.accepted : tally.refused);
  if (is_local<ChainRule, G_, P> != right) tally.faults.push_back(name_of({y, x}));
  if constexpr (is_local<ChainRule, G_, P>)
    static_assert(std::same_as<decltype(ChainRule::of(G_{}, P{})), cotangent_t<P>>);
}

TEST_CASE("the chain rule takes a gradient exactly where a nonlinear function leaves it") {
  auto const e = GeluOfEach::experiment();
  Tally tally;
  auto const with = [&]<class P, class... Gs>(P, Placements<Gs...>) {
    (judge_chain<Gs, P>(e, tally), ...);
  };
  [&]<class... Ps>(Placements<Ps...> all) { (with(Ps{}, all), ...); }(placements_t<Shape<M, N>>{});
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 6);
  CHECK(tally.refused == 9 * 9 - 6);
}
