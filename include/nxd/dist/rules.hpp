// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/dist/shapes.hpp>

namespace nxd {

// What an operation on two tensors makes of their placements on one mesh axis, when each rank works
// on what it holds. The tables are the rules: a pair that is not listed needs communication first.

struct NeedsCommunication {};

// clang-format off

/// What a contraction does with the dimensions that both operands have.
template <TensorDim... Ds> struct Summed {};
template <TensorDim... Ds> struct Kept {};

/// A sum of products: z[Kept, M, N] = x[Kept, M, Summed] y[Kept, N, Summed].
template <class Summed, class Kept> struct Contraction;

template <class... Ss, class... Ks>
struct Contraction<Summed<Ss...>, Kept<Ks...>> {
  template <class D, class A> requires detail::among<D, Ss...>
  static Partial<A> of(Shard<D, A>, Shard<D, A>);
  template <class D, class A, class C> requires detail::among<D, Ks...>
  static Shard<D, A, C> of(Shard<D, A, C>, Shard<D, A, C>);
  template <class D, class A, class C> requires(!detail::among<D, Ss..., Ks...>)
  static Shard<D, A, C> of(Shard<D, A, C>, Replicate<A>);
  template <class D, class A, class C> requires(!detail::among<D, Ss..., Ks...>)
  static Shard<D, A, C> of(Replicate<A>, Shard<D, A, C>);

  // A term of a sum of slices meets slices as a slice would, and each rank's share counts once.
  template <class D, class A, class C> requires detail::among<D, Ss...>
  static Partial<A> of(PartialShard<D, A, C>, Shard<D, A, C>);
  template <class D, class A, class C> requires detail::among<D, Ss...>
  static Partial<A> of(Shard<D, A, C>, PartialShard<D, A, C>);
  template <class D, class A, class C> requires detail::among<D, Ks...>
  static PartialShard<D, A, C> of(PartialShard<D, A, C>, Shard<D, A, C>);
  template <class D, class A, class C> requires detail::among<D, Ks...>
  static PartialShard<D, A, C> of(Shard<D, A, C>, PartialShard<D, A, C>);
  template <class D, class A, class C> requires(!detail::among<D, Ss..., Ks...>)
  static PartialShard<D, A, C> of(PartialShard<D, A, C>, Replicate<A>);
  template <class D, class A, class C> requires(!detail::among<D, Ss..., Ks...>)
  static PartialShard<D, A, C> of(Replicate<A>, PartialShard<D, A, C>);

  template <class A> static Partial<A> of(Partial<A>, Replicate<A>);
  template <class A> static Partial<A> of(Replicate<A>, Partial<A>);
  template <class A> static Replicate<A> of(Replicate<A>, Replicate<A>);
  template <class A> static Invariant<A> of(Invariant<A>, Invariant<A>);
  static NeedsCommunication of(...);
};

/// A sum, element by element.
struct Sum {
  template <Placement P> static P of(P, P);
  static NeedsCommunication of(...);
};

/// A nonlinear function, element by element: f(a) + f(b) is not f(a + b).
struct Nonlinear {
  template <class D, class A, class C> static Shard<D, A, C> of(Shard<D, A, C>, Shard<D, A, C>);
  template <class A> static Replicate<A> of(Replicate<A>, Replicate<A>);
  template <class A> static Invariant<A> of(Invariant<A>, Invariant<A>);
  static NeedsCommunication of(...);
};

/// A nonlinear function of the lines along dimension D, each of them whole on one rank.
template <TensorDim D>
struct Along {
  template <OtherThan<D> E, class A, class C>
  static Shard<E, A, C> of(Shard<E, A, C>, Shard<E, A, C>);
  template <class A> static Replicate<A> of(Replicate<A>, Replicate<A>);
  template <class A> static Invariant<A> of(Invariant<A>, Invariant<A>);
  static NeedsCommunication of(...);
};

/// A gradient times a derivative, element by element.
struct ChainRule {
  template <class D, class A> static Shard<D, A> of(Shard<D, A>, Shard<D, A>);
  template <class D, class A, class C>
  static PartialShard<D, A, C> of(PartialShard<D, A, C>, Shard<D, A, C>);
  template <class A> static Partial<A> of(Partial<A>, Replicate<A>);
  template <class A> static Invariant<A> of(Invariant<A>, Invariant<A>);
  static NeedsCommunication of(...);
};

/// Attention of queries, split by batch or by heads, to the keys that their heads look at: a rank has
/// these, or more of them, or all.
template <TensorDim Batch, TensorDim Heads, TensorDim KvHeads>
struct Attend {
  template <class A, class C> static Shard<Batch, A, C> of(Shard<Batch, A, C>, Shard<Batch, A, C>);
  template <class A, class C> static Shard<Heads, A> of(Shard<Heads, A>, Shard<KvHeads, A, C>);
  template <class A, OtherThan<Once> C>
  static Shard<Heads, A, C> of(Shard<Heads, A, C>, Shard<KvHeads, A, C>);
  template <class A, class C> static Shard<Heads, A, C> of(Shard<Heads, A, C>, Replicate<A>);
  template <class A> static Replicate<A> of(Replicate<A>, Replicate<A>);
  template <class A> static Invariant<A> of(Invariant<A>, Invariant<A>);
  static NeedsCommunication of(...);
};

/// Every rank has all of it. Of integers, which have no gradient, no more needs to be known.
template <class P> inline constexpr bool is_everywhere = false;
template <class A> inline constexpr bool is_everywhere<Replicate<A>> = true;
template <class A> inline constexpr bool is_everywhere<Invariant<A>> = true;

/// Look-up of ids in a table whose rows are dimension D: as if each id were a row of zeros and a one.
/// A rank that holds some of the rows contributes those.
template <TensorDim D>
struct LookUp {
  template <class Ids, class A> requires is_everywhere<Ids>
  static Partial<A> of(Ids, Shard<D, A>);
  template <class Ids, class A, class C> requires is_everywhere<Ids>
  static Partial<A> of(Ids, PartialShard<D, A, C>);
  template <class Ids, class Q> requires(is_everywhere<Ids> && !slices<Q, D>)
  static Q of(Ids, Q);
  template <OtherThan<D> E, class A, class C>
  static Shard<E, A, C> of(Shard<E, A, C>, Replicate<A>);
  static NeedsCommunication of(...);
};

/// Cross-entropy of logits over the classes D against labels. Where the classes are split, the ranks
/// combine their shares of each token's sums, and all of them know the token's loss.
template <TensorDim D>
struct CrossEntropyOf {
  template <class A, class Labels> requires is_everywhere<Labels>
  static Invariant<A> of(Shard<D, A>, Labels);
  template <OtherThan<D> E, class A, class C>
  static Shard<E, A, C> of(Shard<E, A, C>, Shard<E, A, C>);
  template <class P, class Labels> requires(is_everywhere<P> && is_everywhere<Labels>)
  static P of(P, Labels);
  static NeedsCommunication of(...);
};

// clang-format on

/// Operation Op can be done on placements P and Q, each rank on what it holds.
template <class Op, class P, class Q>
inline constexpr bool is_local = !std::same_as<decltype(Op::of(P{}, Q{})), NeedsCommunication>;
template <class Op, class A, class Q> inline constexpr bool is_local<Op, Unknown<A>, Q> = true;
template <class Op, class P, class A> inline constexpr bool is_local<Op, P, Unknown<A>> = true;
template <class Op, class A> inline constexpr bool is_local<Op, Unknown<A>, Unknown<A>> = true;

/// Operation Op on tensors X and Y over a mesh.
template <class Op, class X, class Y, class M> struct Meeting;

template <class Op, class X, class Y, class... As> struct Meeting<Op, X, Y, Mesh<As...>> {
  /// They can meet, and no mistake before this one is the reason.
  static constexpr bool ok = (is_local<Op, placement_t<X, As>, placement_t<Y, As>> && ...) &&
                             !(is_unknown<placement_t<X, As>> || ...) &&
                             !(is_unknown<placement_t<Y, As>> || ...);

  template <class A, class P = decltype(Op::of(placement_t<X, A>{}, placement_t<Y, A>{}))>
  using on = std::conditional_t<std::same_as<P, NeedsCommunication>, Unknown<A>, P>;

  /// The layout of the result; where they cannot meet, it is `Unknown`.
  using layout = decltype(detail::merge(on<As>{}...));

  /// Refuses what cannot meet. In a function, for clang takes nothing from a class that fails.
  static constexpr void check() {
    static_assert((is_local<Op, placement_t<X, As>, placement_t<Y, As>> && ...),
                  "the operands cannot meet as they are placed; redistribute one of them");
  }
};

}  // namespace nxd
