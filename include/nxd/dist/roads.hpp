// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/dist/tensor.hpp>

namespace nxd {

/// What a rank does to take a tensor from one placement to another along one axis.
enum class Way : std::uint8_t {
  none,            ///< no collective leads there
  stay,            ///< nothing moves
  all_gather,      ///< slices are joined
  reduce_scatter,  ///< terms are summed, each rank keeps its slice of the sum
  all_reduce,      ///< terms are summed, each rank keeps the sum
  all_to_all,      ///< slices of one dimension become slices of another
  cut,             ///< each rank keeps its slice of what all of them have
  embed,           ///< a slice becomes a term of a sum: zeros elsewhere
  once,            ///< the first rank's copy becomes the sum's only term
};

/// The roads: legal moves of a tensor. A move's backward is the move between the cotangents, and it
/// is in the table too.
template <class From, class To> inline constexpr Way way = Way::none;
template <class P> inline constexpr Way way<P, P> = Way::stay;
template <class A> inline constexpr Way way<Invariant<A>, Replicate<A>> = Way::stay;
template <class D, class A> inline constexpr Way way<Shard<D, A>, Replicate<A>> = Way::all_gather;
template <class D, class A> inline constexpr Way way<Shard<D, A>, Invariant<A>> = Way::all_gather;
template <class D, class A> inline constexpr Way way<Partial<A>, Shard<D, A>> = Way::reduce_scatter;
template <class A> inline constexpr Way way<Partial<A>, Replicate<A>> = Way::all_reduce;
template <class A> inline constexpr Way way<Partial<A>, Invariant<A>> = Way::all_reduce;
template <class D, class A, class C>
inline constexpr Way way<PartialShard<D, A, C>, Shard<D, A, C>> = Way::all_reduce;
template <class D, OtherThan<D> E, class A>
inline constexpr Way way<Shard<D, A>, Shard<E, A>> = Way::all_to_all;
template <class D, class A> inline constexpr Way way<Replicate<A>, Shard<D, A>> = Way::cut;
template <class D, class A> inline constexpr Way way<Invariant<A>, Shard<D, A>> = Way::cut;
template <class D, class A> inline constexpr Way way<Shard<D, A>, Partial<A>> = Way::embed;
template <class A> inline constexpr Way way<Replicate<A>, Partial<A>> = Way::once;

template <class A, OtherThan<Unknown<A>> To> inline constexpr Way way<Unknown<A>, To> = Way::stay;

template <class From, class To> inline constexpr bool has_road = way<From, To> != Way::none;

/// Bytes that one rank puts on the wire, a ring or a direct exchange alike, for a tensor of which
/// `whole` bytes lie on a rank where the axis does not slice it.
constexpr std::int64_t bytes_sent(Way way, std::int64_t whole, std::int64_t ranks) {
  auto const pass = whole / ranks * (ranks - 1);
  switch (way) {
    case Way::all_gather:
    case Way::reduce_scatter: return pass;
    case Way::all_reduce: return 2 * pass;
    case Way::all_to_all: return pass / ranks;
    default: return 0;
  }
}

}  // namespace nxd
