// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/autodiff/redistribute.hpp>

#include "judge.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

struct M : Dim<"m"> {};
struct N : Dim<"n"> {};
struct K : Dim<"k"> {};
using Matrices = Shape<M, N, K>;

struct Job : Plan<Let<TP>, Let<Twice, 2>, Let<M, 8>, Let<N, 4>, Let<K, 12>> {
  using Plan::Plan;
};

Array const elements = random({8, 4, 12}, 1);
Array const gradient = random({8, 4, 12}, 2);

template <class P> using Placed = Tensor<double, Matrices, with_t<Layout<>, P>>;

/// Bytes that one of n ranks sends on a road, as textbooks have it, for `bytes` of the whole
/// tensor.
std::int64_t textbook(Way way, std::int64_t bytes, std::int64_t n) {
  switch (way) {
    case Way::all_gather:
    case Way::reduce_scatter: return bytes * (n - 1) / n;
    case Way::all_reduce: return 2 * bytes * (n - 1) / n;
    case Way::all_to_all: return bytes * (n - 1) / (n * n);
    default: return 0;
  }
}

struct Travelled {
  Outcome outcome;
  std::int64_t bytes_there = 0, bytes_back = 0;
};

/// One road there, and its gradient's road back.
template <class From, class To> Travelled travel(std::int64_t n, Threads::Rank comm) {
  auto const r = static_cast<std::size_t>(comm.rank());
  World<Job, Reference<double>, Threads::Rank> world(Job{{"tp", n}}, comm);
  auto const held = [&](auto const& local, Array const& all, Place place) {
    *local.data = spread(all, place, n, 5)[r].values;
    return local;
  };
  auto const x = world.variable(
      held(world.template make<Placed<From>>(), elements, place_of<From, Matrices>()));
  auto const y = redistribute<To>(x);
  Travelled t{{*y.value().data, place_of<To, Matrices>(), {}}, world.ledger.bytes_sent, 0};
  world.backward(y, held(world.template make<Placed<cotangent_t<To>>>(), gradient,
                         place_of<cotangent_t<To>, Matrices>()));
  t.bytes_back = world.ledger.bytes_sent - t.bytes_there;
  t.outcome.gradients.push_back(*x.grad().data);
  return t;
}

/// Value, gradient and bill of every road.
struct Roads {
  int known = 0;
  std::string faults;

  void judge(Place from, Place to, Way there, Way back, std::string const& name,
             std::function<Travelled(std::int64_t, Threads::Rank)> const& run) {
    ++known;
    for (auto const n : {2, 4}) {
      std::vector<Travelled> all(static_cast<std::size_t>(n));
      Threads::run(n,
                   [&](Threads::Rank c) { all[static_cast<std::size_t>(c.rank())] = run(n, c); });
      std::vector<std::vector<double>> values, gradients;
      bool billed = true;
      // Copies of a slice are summed among their holders alone.
      auto const copied = there == Way::all_reduce && from.dim >= 0;
      auto const copied_back = back == Way::all_reduce && to.dim >= 0;
      auto const bytes = std::int64_t{8} * 8 * 4 * 12;
      for (auto const& t : all) {
        values.push_back(t.outcome.value);
        gradients.push_back(t.outcome.gradients[0]);
        billed = billed &&
                 t.bytes_there ==
                     (copied ? textbook(there, bytes * 2 / n, 2) : textbook(there, bytes, n)) &&
                 t.bytes_back ==
                     (copied_back ? textbook(back, bytes * 2 / n, 2) : textbook(back, bytes, n));
      }
      auto const at = name + " on " + std::to_string(n) + "\n";
      if (!is_spread_of(elements, to, values)) faults += "value of " + at;
      if (!is_spread_of(gradient, from.cotangent(), gradients)) faults += "gradient of " + at;
      if (!billed) faults += "bill of " + at;
    }
  }

  template <class From, class To> void add() {
    auto const from = place_of<From, Matrices>(), to = place_of<To, Matrices>();
    if constexpr (has_road<From, To>)
      judge(from, to, way<From, To>, way<cotangent_t<To>, cotangent_t<From>>, name_of({from, to}),
            travel<From, To>);
  }
};

}  // namespace

TEST_CASE("every road brings a tensor, and its gradient back, for the price of the textbook") {
  Roads roads;
  auto const from = [&]<class P, class... Qs>(P, Placements<Qs...>) { (roads.add<P, Qs>(), ...); };
  [&]<class... Ps>(Placements<Ps...> all) { (from(Ps{}, all), ...); }(placements_t<Matrices>{});
  CHECK(roads.faults == "");
  // 12 stay, Invariant to Replicate; of 3 dims: 2 joined, 1 summed, 2 cut, 1 embedded, 1 sum of
  // copies each; 2 sums, 6 exchanges of dims, and the first rank's copy as the only term.
  CHECK(roads.known == 12 + 1 + 3 * (2 + 1 + 2 + 1 + 1) + 2 + 6 + 1);
}

TEST_CASE("a road leads one way only if its gradient's road leads back") {
  auto const from = []<class P, class... Qs>(P, Placements<Qs...>) {
    return ((has_road<P, Qs> == has_road<cotangent_t<Qs>, cotangent_t<P>>)&&...);
  };
  CHECK([&]<class... Ps>(Placements<Ps...> all) {
    return (from(Ps{}, all) && ...);
  }(placements_t<Matrices>{}));
}

namespace {

struct Grid : Plan<Let<DP>, Let<TP>, Let<M, 8>, Let<N, 4>, Let<K, 12>> {
  using Plan::Plan;
};

/// Row m of a matrix that two axes slice, the outer one into the larger blocks.
template <class L> using Sliced = Tensor<double, Shape<N, M>, L>;

/// What a rank holds is what the layout says, by index.
template <class X, class W> bool holds(W const& world, Local<X, Reference<double>> const& x) {
  for (auto const& [local, global] : global_indices<X>(world.plan, world.rank()))
    if ((*x.data)[static_cast<std::size_t>(local)] != Uniform<double>{3}(global)) return false;
  return std::ssize(*x.data) == X::local_size(world.plan);
}

}  // namespace

TEST_CASE("two axes slice one dimension, the inner one first to join and last to cut") {
  for (auto const& [dp, tp] : {std::pair{2, 2}, {4, 2}, {2, 4}}) {
    std::vector<char> right(static_cast<std::size_t>(dp * tp), 0);
    Threads::run(dp * tp, [&, d = dp, t = tp](Threads::Rank comm) {
      World<Grid, Reference<double>, Threads::Rank> world(Grid{{"dp", d}, {"tp", t}}, comm);
      using Both = Sliced<Layout<Shard<M, DP>, Shard<M, TP>>>;
      auto const x = world.variable(world.make<Both>(Uniform<double>{3}));
      auto const block = 8 / (d * t);
      auto const place = Both::local_first<M>(world.plan, world.rank());
      bool ok = place == block * (comm.rank() / t * t + comm.rank() % t);

      auto const over_tp = redistribute<Replicate<TP>>(x);
      ok = ok && holds(world, over_tp.value());
      auto const everywhere = redistribute<Replicate<DP>>(over_tp);
      ok = ok && holds(world, everywhere.value());
      auto const cut_dp = redistribute<Shard<M, DP>>(everywhere);
      auto const y = redistribute<Shard<M, TP>>(cut_dp);
      ok = ok && holds(world, cut_dp.value()) && holds(world, y.value());
      world.backward(y, world.make<Both>(Uniform<double>{3}));
      right[static_cast<std::size_t>(comm.rank())] = ok && holds(world, x.grad());
    });
    CHECK(std::ranges::count(right, 1) == dp * tp);
  }
}

static_assert(
    !nxd::detail::slices_in_order<Shard<M, DP>, Replicate<DP>, Layout<Shard<M, DP>, Shard<M, TP>>>);
static_assert(
    nxd::detail::slices_in_order<Shard<M, TP>, Replicate<TP>, Layout<Shard<M, DP>, Shard<M, TP>>>);
static_assert(
    !nxd::detail::slices_in_order<Partial<DP>, Shard<M, DP>, Layout<Partial<DP>, Shard<M, TP>>>);
