// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/autodiff/attention.hpp>
#include <nxd/autodiff/cross_entropy.hpp>
#include <nxd/autodiff/embedding.hpp>

#include "judge.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

struct M : Dim<"m"> {};
struct V : Dim<"v", Fit::padded> {};
struct E : Dim<"e"> {};
struct B : Dim<"b"> {};
struct S : Dim<"s"> {};
struct T : Dim<"t"> {};
struct H : Dim<"h"> {};
struct G : Dim<"g"> {};
struct D : Dim<"d"> {};

/// Two ranks have three of the six rows V each; of four, the first three have two, the last has
/// none.
struct Job : Plan<Let<TP>, Let<Twice, 2>, Let<M, 8>, Let<V, 6>, Let<E, 4>, Let<B, 4>, Let<S, 4>,
                  Let<T, 4>, Let<H, 8>, Let<G, 4>, Let<D, 4>> {
  using Plan::Plan;
};

Array const ids = whole({8}, {3, 0, 5, 3, 1, 2, 4, 5});

struct RowsOfTable {
  using shapes = std::tuple<Shape<V, E>, Shape<M>>;
  static constexpr std::size_t constants = 1;
  template <class P, class Q> static constexpr bool accepts = is_local<LookUp<V>, Q, P>;
  static auto typed(auto const& table, auto const& of) { return look_up(of, table); }
  static Experiment experiment() { return {look_up_by_hand, {random({6, 4}, 1), ids}, {8, 4}, 1}; }
};

struct Losses {
  using shapes = std::tuple<Shape<M, V>, Shape<M>>;
  static constexpr std::size_t constants = 1;
  template <class P, class Q> static constexpr bool accepts = is_local<CrossEntropyOf<V>, P, Q>;
  static auto typed(auto const& logits, auto const& labels) {
    return cross_entropy<V>(logits, labels, -100, smoothing, z_loss);
  }
  static Experiment experiment() {
    return {cross_entropy_by_hand(6), {random({8, 6}, 1), ids}, {8}, 1};
  }
};

struct CausalAttention {
  using shapes = std::tuple<Shape<B, S, H, D>, Shape<B, T, G, D>, Shape<B, T, G, D>>;
  static constexpr std::size_t constants = 3;
  template <class P, class Q, class>
  static constexpr bool accepts = is_local<Attend<B, H, G>, P, Q>;
  static auto typed(auto const& q, auto const& k, auto const& v) { return attention(q, k, v, 0.5); }
  static Experiment experiment() {
    return {attend_by_hand,
            {random({4, 4, 8, 4}, 1), random({4, 4, 4, 4}, 2), random({4, 4, 4, 4}, 3)},
            {4, 4, 8, 4},
            3};
  }
};

}  // namespace

TEST_CASE("rows are looked up exactly where that is right without communication") {
  auto const tally = judge_pairs<Job, RowsOfTable>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 18);
  CHECK(tally.refused == 9 * 6 - 18);
}

TEST_CASE("losses are taken exactly where ranks need no more than each other's sums") {
  auto const tally = judge_pairs<Job, Losses>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 8);
  CHECK(tally.refused == 9 * 6 - 8);
}

TEST_CASE("attention takes placements exactly where it is right without communication") {
  auto const tally = judge_pairs<Job, CausalAttention>();
  CHECK(faults(tally) == "");
  CHECK(tally.accepted == 9);
  CHECK(tally.refused == 15 * 15 - 9);
}
