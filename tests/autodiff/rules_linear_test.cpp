// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/autodiff/broadcast.hpp>
#include <nxd/autodiff/dropout.hpp>
#include <nxd/autodiff/recompute.hpp>
#include <nxd/autodiff/slots.hpp>

#include "judge.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

struct M : Dim<"m"> {};
struct K : Dim<"k"> {};
struct N : Dim<"n"> {};

struct Group : Dim<"group"> {};
struct Slot : Dim<"slot"> {};
struct Taken : Dim<"taken"> {};

struct Job : Plan<Let<TP>, Let<Twice, 2>, Let<M, 4>, Let<K, 4>, Let<N, 4>, Let<Group, 4>,
                  Let<Slot, 4>, Let<Taken, 8>> {
  using Plan::Plan;
};

template <class P, class S> using Ones = typename nxd::detail::OnesBeside<P, S>::type;
template <class Op, class P, class Q> using result_t = decltype(Op::of(P{}, Q{}));

struct SumOverOne {
  using shapes = std::tuple<Shape<M, N>>;
  static constexpr std::size_t constants = 1;
  template <class P>
  static constexpr bool accepts = is_local<Contraction<Summed<M>, Kept<>>, P, Ones<P, Shape<M>>>;
  static auto typed(auto const& x) { return sum_over<M>(x); }
  static Held by_hand(std::vector<Operands> const& ranks, std::size_t r) {
    auto const& x = ranks[r][0];
    auto const columns = static_cast<std::size_t>(x.shape[1]);
    std::vector<double> z(columns);
    for (std::size_t i = 0; i < x.values.size(); ++i) z[i % columns] += x.values[i];
    return z;
  }
  static Experiment experiment() { return {by_hand, {random({4, 4}, 1)}, {4}, 1}; }
};

struct Bias {
  using shapes = std::tuple<Shape<M, K, N>, Shape<N>>;
  using spread = Contraction<Summed<>, Kept<>>;
  static constexpr std::size_t constants = 2;
  template <class P, class Q>
  static constexpr bool accepts = [] {
    using O = Ones<P, Shape<M, K>>;
    if constexpr (is_local<spread, O, Q>)
      return is_local<Sum, P, result_t<spread, O, Q>>;
    else
      return false;
  }();
  static auto typed(auto const& x, auto const& b) { return add_bias(x, b); }
  static Held by_hand(std::vector<Operands> const& ranks, std::size_t r) {
    auto const& [x, b] = std::tie(ranks[r][0], ranks[r][1]);
    if (x.shape.back() != b.shape[0]) return {};
    auto z = x.values;
    for (std::size_t i = 0; i < z.size(); ++i) z[i] += b.values[i % b.values.size()];
    return z;
  }
  static Experiment experiment() {
    return {by_hand, {random({4, 4, 4}, 1), random({4}, 2)}, {4, 4, 4}, 2};
  }
};

constexpr double rate = 0.4;
Stream const draws(7, "dropout", 3);

struct Dropout {
  using shapes = std::tuple<Shape<M, N>>;
  static constexpr std::size_t constants = 1;
  template <class P> static constexpr bool accepts = true;
  static auto typed(auto const& x) { return dropout(x, rate, draws); }
  static Held by_hand(std::vector<Operands> const& ranks, std::size_t r) {
    auto const& x = ranks[r][0];
    auto z = x.values;
    for (std::size_t i = 0; i < z.size(); ++i) {
      auto const columns = static_cast<std::size_t>(x.shape[1]);
      auto const row = static_cast<std::size_t>(x.first[0]) + i / columns;
      auto const column = static_cast<std::size_t>(x.first[1]) + i % columns;
      z[i] *= draws.uniform(row * 4 + column) < rate ? 0 : 1 / (1 - rate);
    }
    return z;
  }
  static Experiment experiment() { return {by_hand, {random({4, 4}, 1)}, {4, 4}, 1}; }
};

/// Two of the four slots of every group, side by side.
struct Slots {
  using shapes = std::tuple<Shape<M, Group, Slot, N>>;
  static constexpr std::size_t constants = 1;
  template <class P> static constexpr bool accepts = is_local<Along<Slot>, P, P>;
  static auto typed(auto const& x) { return take_slots<Group, Slot, Taken>(x, 1, 2); }
  static Held by_hand(std::vector<Operands> const& ranks, std::size_t r) {
    auto const& x = ranks[r][0];
    if (x.shape[2] != 4) return {};
    std::vector<double> z;
    for (std::size_t i = 0; i < x.values.size(); ++i)
      if (auto const slot = i / static_cast<std::size_t>(x.shape[3]) % 4; slot == 1 || slot == 2)
        z.push_back(x.values[i]);
    return z;
  }
  static Experiment experiment() { return {by_hand, {random({4, 4, 4, 4}, 1)}, {4, 8, 4}, 1}; }
};

using Whole = Tensor<double, Shape<M, N>, Layout<Invariant<TP>>>;

}  // namespace

TEST_CASE("a sum over a dimension takes every placement but copies that would count twice") {
  auto const tally = judge_each<Job, SumOverOne>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 8);
  CHECK(tally.refused == 1);
}

TEST_CASE("a bias is added to what does not await a sum, and its gradient is summed over tokens") {
  auto const tally = judge_pairs<Job, Bias>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 10);
  CHECK(tally.refused == 12 * 6 - 10);
}

TEST_CASE("dropout takes any placement, and any placement drops the same elements") {
  auto const tally = judge_each<Job, Dropout>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 9);
}

TEST_CASE(
    "dropout drops its share, differs from step to step, and is the same when computed anew") {
  struct Wide : Plan<Let<TP, 1>, Let<M, 100>, Let<N, 100>> {};
  World<Wide, Reference<double>> world;
  auto const ones = world.constant(world.make<Whole>([](auto) { return 1; }));
  auto const dropped = [&](std::uint64_t step) {
    auto const y = dropout(ones, rate, Stream(1, "here", step));
    return std::vector<double>(data(y.value()), data(y.value()) + 10'000);
  };
  auto const first = dropped(1);
  auto const share = static_cast<double>(std::ranges::count(first, 0.0)) / 10'000;
  CHECK(share == doctest::Approx(rate).epsilon(0.05));
  CHECK(first == dropped(1));
  CHECK(first != dropped(2));

  auto const x = world.random<Whole>();
  auto const drop = [](auto const& v) { return dropout(v, rate, Stream(1, "here", 1)); };
  world.backward(sum_over<M, N>(recompute(drop, x)));
  auto const* const g = data(x.grad());
  CHECK(std::vector<double>(g, g + 10'000) == first);
}

TEST_CASE("slots are taken where a group has all of them") {
  auto const tally = judge_each<Job, Slots>();
  CHECK(tally.accepted == 8);
  CHECK(tally.refused == 7);
  // It is linear, and so it could take terms of sums too; one rule serves all functions of lines.
  CHECK(
      faults(tally) ==
      "PartialShard<0, twice> is refused, and right\nPartialShard<1, twice> is refused, and right\n"
      "PartialShard<3, twice> is refused, and right\nPartial is refused, and right\n");
}
