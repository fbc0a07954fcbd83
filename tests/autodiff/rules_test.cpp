// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/autodiff/contract.hpp>
#include <nxd/autodiff/elementwise.hpp>

#include "judge.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

struct G : Dim<"g"> {};
struct M : Dim<"m"> {};
struct K : Dim<"k"> {};
struct N : Dim<"n"> {};

struct Job : Plan<Let<TP>, Let<Twice, 2>, Let<G, 4>, Let<M, 4>, Let<K, 4>, Let<N, 4>> {
  using Plan::Plan;
};

/// z[G, M, N] = x[G, M, K] y[G, N, K]: a dimension kept, one summed, one of each operand's own.
struct BatchedProduct {
  using shapes = std::tuple<Shape<G, M, K>, Shape<G, N, K>>;
  static constexpr std::size_t constants = 2;
  template <class P, class Q>
  static constexpr bool accepts = is_local<Contraction<Summed<K>, Kept<G>>, P, Q>;
  static auto typed(auto const& x, auto const& y) { return contract<Shape<G, M, N>>(x, y); }
  static Experiment experiment() {
    return {
        einsum("gmk", "gnk", "gmn"), {random({4, 4, 4}, 1), random({4, 4, 4}, 2)}, {4, 4, 4}, 2};
  }
};

/// A number: every dimension is summed.
struct InnerProduct {
  using shapes = std::tuple<Shape<M, K>, Shape<M, K>>;
  static constexpr std::size_t constants = 2;
  template <class P, class Q>
  static constexpr bool accepts = is_local<Contraction<Summed<M, K>, Kept<>>, P, Q>;
  static auto typed(auto const& x, auto const& y) { return contract(x, y); }
  static Experiment experiment() {
    return {einsum("mk", "mk", ""), {random({4, 4}, 1), random({4, 4}, 2)}, {}, 2};
  }
};

struct Addition {
  using shapes = std::tuple<Shape<M, N>, Shape<M, N>>;
  static constexpr std::size_t constants = 2;
  template <class P, class Q> static constexpr bool accepts = is_local<Sum, P, Q>;
  static auto typed(auto const& x, auto const& y) { return x + y; }
  static Experiment experiment() {
    return {add_by_hand, {random({4, 4}, 1), random({4, 4}, 2)}, {4, 4}, 2};
  }
};

struct Scaling {
  using shapes = std::tuple<Shape<M, N>>;
  static constexpr std::size_t constants = 1;
  template <class P> static constexpr bool accepts = true;
  static auto typed(auto const& x) { return scale(3, x); }
  static Experiment experiment() {
    return {element_wise([](double x) { return 3 * x; }), {random({4, 4}, 1)}, {4, 4}, 1};
  }
};

}  // namespace

TEST_CASE("a contraction takes placements exactly where it is right without communication") {
  auto const batched = judge_pairs<Job, BatchedProduct>();
  CHECK(faults(batched) == "");
  CHECK(batched.accepted == 17);
  CHECK(batched.refused == 12 * 12 - 17);
  CHECK(batched.unfit > 0);
  auto const inner = judge_pairs<Job, InnerProduct>();
  CHECK(faults(inner) == "");
  CHECK(inner.accepted == 2 + 4 + 4);
  CHECK(inner.refused == 9 * 9 - 10);
}

TEST_CASE("a sum takes terms that are placed alike, and no others would do") {
  auto const tally = judge_pairs<Job, Addition>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 9);
  CHECK(tally.refused == 9 * 9 - 9);
}

TEST_CASE("a factor scales any placement") {
  auto const tally = judge_each<Job, Scaling>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 9);
}
