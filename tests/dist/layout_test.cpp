// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/dist/roads.hpp>
#include <nxd/dist/rules.hpp>
#include <nxd/tensor/indices.hpp>

using namespace nxd;

namespace {

struct G : Dim<"heads"> {};
struct B : Dim<"batch"> {};
struct K : Dim<"hidden"> {};
struct N : Dim<"ffn"> {};
struct V : Dim<"vocab", Fit::padded> {};
struct Two : Count<"two"> {};

// A layout has one spelling, whatever order its placements were given in.
using L = Layout<Shard<B, DP>, Partial<TP>>;
static_assert(std::same_as<with_t<Layout<Partial<TP>>, Shard<B, DP>>, L>);
static_assert(std::same_as<with_t<Layout<Shard<B, DP>>, Partial<TP>>, L>);
static_assert(std::same_as<with_t<with_t<L, Invariant<CP>>, Invariant<PP>>,
                           Layout<Invariant<PP>, Shard<B, DP>, Invariant<CP>, Partial<TP>>>);

// What it does not name replicates; what replicates is not named.
static_assert(std::same_as<on_t<Layout<Shard<B, DP>>, TP>, Replicate<TP>>);
static_assert(std::same_as<with_t<L, Replicate<TP>>, Layout<Shard<B, DP>>>);
static_assert(std::same_as<with_t<with_t<L, Replicate<TP>>, Replicate<DP>>, Layout<>>);

// A placement takes the place of the one on its axis.
static_assert(std::same_as<with_t<L, Shard<K, TP>>, Layout<Shard<B, DP>, Shard<K, TP>>>);

// An axis gives up a dimension only from the inside out.
using Nested = Layout<Shard<B, DP>, Shard<B, TP>>;
static_assert(slices_innermost<B, TP, Nested> && !slices_innermost<B, DP, Nested>);
static_assert(slices_innermost<K, DP, Nested>);
static_assert(!slices_innermost<B, DP, Layout<Partial<DP>, PartialShard<B, TP, Two>>>);

static_assert(slices<Shard<B, TP>, B> && slices<PartialShard<B, TP, Two>, B>);
static_assert(!slices<Shard<B, TP>, K> && !slices<Partial<TP>, B>);

// The gradient of a gradient lives where the value does.
template <class... Ps>
inline constexpr bool are_dual = (std::same_as<cotangent_t<cotangent_t<Ps>>, Ps> && ...);
static_assert(are_dual<Shard<B, TP>, Shard<B, TP, Two>, PartialShard<B, TP, Two>, Replicate<TP>,
                       Partial<TP>, Invariant<TP>>);
static_assert(std::same_as<cotangent_t<Shard<B, TP>>, Shard<B, TP>>);
static_assert(std::same_as<cotangent_t<Shard<B, TP, Two>>, PartialShard<B, TP, Two>>);
static_assert(std::same_as<cotangent_t<Replicate<TP>>, Partial<TP>>);
static_assert(std::same_as<cotangent_t<Invariant<TP>>, Invariant<TP>>);

// On every axis of the mesh, named or not.
static_assert(std::same_as<cotangent_layout_t<Layout<Shard<B, DP>>, Mesh<DP, TP>>,
                           Layout<Shard<B, DP>, Partial<TP>>>);
static_assert(std::same_as<cotangent_layout_t<Layout<Partial<TP>>, Mesh<TP>>, Layout<>>);

// Whenever z[G, B, N] = x[G, B, K] w[G, K, N] needs no communication, neither do the gradients of x
// and w, and they come out exactly where the table of cotangents says.
template <class X, class W> constexpr bool gradients_follow() {
  using Z = decltype(Contraction<Summed<K>, Kept<G>>::of(X{}, W{}));
  if constexpr (std::same_as<Z, NeedsCommunication>)
    return true;
  else {
    using dZ = cotangent_t<Z>;
    using dX = decltype(Contraction<Summed<N>, Kept<G>>::of(dZ{}, W{}));
    using dW = decltype(Contraction<Summed<B>, Kept<G>>::of(X{}, dZ{}));
    return std::same_as<dX, cotangent_t<X>> && std::same_as<dW, cotangent_t<W>>;
  }
}

template <class... Ps> struct Each {};
template <class... Ds>
using Every = Each<Shard<Ds, TP>..., Shard<Ds, TP, Two>..., PartialShard<Ds, TP, Two>...,
                   Replicate<TP>, Partial<TP>, Invariant<TP>>;

template <class X, class... Ws> constexpr bool for_every_weight(Each<Ws...>) {
  return (gradients_follow<X, Ws>() && ...);
}
template <class... Xs> constexpr bool for_every_pair(Each<Xs...>) {
  return (for_every_weight<Xs>(Every<G, K, N>{}) && ...);
}
static_assert(for_every_pair(Every<G, B, K>{}));

// Layouts meet axis by axis.
struct Job : Plan<Let<DP>, Let<TP>, Let<Two, 2>, Let<B>, Let<K>, Let<N>, Let<V>> {
  using Plan::Plan;
};
using X = Tensor<float, Shape<B, K>, Layout<Shard<B, DP>, Shard<K, TP>>>;
using W = Tensor<float, Shape<N, K>, Layout<Shard<K, TP>>>;
using Met = Meeting<Contraction<Summed<K>, Kept<>>, X, W, Mesh<DP, TP>>;
static_assert(Met::ok && std::same_as<Met::layout, Layout<Shard<B, DP>, Partial<TP>>>);

// What a rank holds, as numbers.
constexpr Job job{{"dp", 2}, {"tp", 4}, {"batch", 16}, {"hidden", 24}, {"ffn", 8}, {"vocab", 10}};
static_assert(X::local_extent<B>(job) == 8 && X::local_extent<K>(job) == 6);
static_assert(X::local_size(job) == 48 && X::local_bytes(job) == 4 * 48);
static_assert(X::local_first<B>(job, 5) == 8 && X::local_first<K>(job, 5) == 6);
static_assert(W::local_extent<N>(job) == 8 && W::local_first<N>(job, 7) == 0);

// Copies: neighbours hold the same slice.
using Copied = Tensor<float, Shape<K>, Layout<Shard<K, TP, Two>>>;
static_assert(Copied::local_extent<K>(job) == 12);
static_assert(Copied::local_first<K>(job, 0) == 0 && Copied::local_first<K>(job, 1) == 0 &&
              Copied::local_first<K>(job, 2) == 12 && Copied::local_first<K>(job, 3) == 12);

// Two axes on one dimension: the outer one makes the larger blocks.
using Twofold = Tensor<float, Shape<B>, Layout<Shard<B, DP>, Shard<B, TP>>>;
static_assert(Twofold::local_extent<B>(job) == 2 && Twofold::local_first<B>(job, 6) == 8 + 4);

// Ten words on four ranks: three each, and one on the last.
using Padded = Tensor<float, Shape<V>, Layout<Shard<V, TP>>>;
static_assert(Padded::local_slice<V>(job, 2).valid == 3 &&
              Padded::local_slice<V>(job, 3).first == 9 &&
              Padded::local_slice<V>(job, 3).valid == 1 && Padded::local_extent<V>(job) == 3);

// Ranks are numbered with the innermost axis fastest.
static_assert(line<TP>(job, 6) == Line{4, 1, 4, 2} && line<DP>(job, 6) == Line{2, 4, 2, 1});
static_assert(line<TP>(job, 6).neighbours(2) == Line{6, 1, 2, 0} && line<TP>(job, 6).rank(3) == 7);
static_assert(ranks(job) == 8);

/// Every element of the whole is on as many ranks as the layout says.
template <class Y> bool is_covered(Job const& plan, int holders) {
  std::vector<int> seen(static_cast<std::size_t>(extent<B>(plan) * extent<V>(plan)));
  for (std::int64_t r = 0; r < ranks(plan); ++r)
    for (auto const& [local, global] : global_indices<Y>(plan, r)) {
      if (local < 0 || local >= Y::local_size(plan)) return false;
      ++seen[static_cast<std::size_t>(global)];
    }
  return std::ranges::count(seen, holders) == std::ssize(seen);
}

Job with(std::int64_t dp, std::int64_t tp) {
  return {{"dp", dp}, {"tp", tp}, {"batch", 12}, {"hidden", 6}, {"ffn", 4}, {"vocab", 10}};
}

Rule broken_by(auto const& program) try {
  program();
  return Rule::none_broken;
} catch (PlanError const& e) {
  return e.verdict.broken;
}

}  // namespace

TEST_CASE("the parts of the ranks make up the whole, however it is laid out") {
  for (auto const& [dp, tp] : {std::pair{1, 1}, {2, 2}, {3, 2}, {2, 6}}) {
    auto const plan = with(dp, tp);
    CHECK(is_covered<Tensor<float, Shape<B, V>>>(plan, dp * tp));
    CHECK(is_covered<Tensor<float, Shape<B, V>, Layout<Shard<B, DP>>>>(plan, tp));
    CHECK(is_covered<Tensor<float, Shape<B, V>, Layout<Shard<V, TP>>>>(plan, dp));
    CHECK(is_covered<Tensor<float, Shape<V, B>, Layout<Shard<B, DP>, Shard<V, TP>>>>(plan, 1));
    CHECK(is_covered<Tensor<float, Shape<B, V>, Layout<Shard<B, DP>, Shard<B, TP>>>>(plan, 1));
    if (tp % 2 == 0)
      CHECK(is_covered<Tensor<float, Shape<B, V>, Layout<Shard<B, TP, Two>>>>(plan, 2 * dp));
  }
}

TEST_CASE("a dimension that does not split evenly is refused, unless it is padded") {
  auto const plan = with(5, 3);
  CHECK(broken_by([&] { Tensor<float, Shape<B>, Layout<Shard<B, DP>>>::local_size(plan); }) ==
        Rule::sharded_dim_must_split_evenly_over_its_axis);
  CHECK(broken_by([&] { Tensor<float, Shape<B>, Layout<Shard<B, TP>>>::local_size(plan); }) ==
        Rule::none_broken);
  CHECK(broken_by([&] { Tensor<float, Shape<V>, Layout<Shard<V, TP>>>::local_size(plan); }) ==
        Rule::none_broken);
  CHECK(broken_by([&] { Tensor<float, Shape<B>, Layout<Shard<B, TP, Two>>>::local_size(plan); }) ==
        Rule::copies_of_a_shard_must_divide_its_axis);
}

TEST_CASE("a road's bill is what a ring sends") {
  CHECK(bytes_sent(Way::all_reduce, 800, 4) == 1200);
  CHECK(bytes_sent(Way::all_gather, 800, 4) == 600);
  CHECK(bytes_sent(Way::reduce_scatter, 800, 4) == 600);
  CHECK(bytes_sent(Way::all_to_all, 800, 4) == 150);
  for (auto const free : {Way::none, Way::stay, Way::cut, Way::embed, Way::once})
    CHECK(bytes_sent(free, 800, 4) == 0);
  for (auto const way : {Way::all_reduce, Way::all_gather, Way::reduce_scatter, Way::all_to_all})
    CHECK(bytes_sent(way, 800, 1) == 0);
}
