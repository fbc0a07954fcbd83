// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <type_traits>

#include <nxd/core/plan.hpp>

namespace nxd {

/// A type that is not U.
template <class T, class U>
concept OtherThan = !std::same_as<T, U>;

// Where the data of a tensor lives along one mesh axis, and so where its gradient lives:
//
//   placement            each rank of the axis holds            placement of the gradient
//   Shard<D, A>          its slice of dimension D               Shard<D, A>
//   Shard<D, A, C>       a slice that C neighbours hold alike   PartialShard<D, A, C>
//   PartialShard<D,A,C>  one of C terms of a sum of slices      Shard<D, A, C>
//   Replicate<A>         the value, and uses it in its own way  Partial<A>
//   Partial<A>           one term of a sum not yet taken        Replicate<A>
//   Invariant<A>         the value, and all use it the same way Invariant<A>

// clang-format off
template <TensorDim D, MeshAxis A, PlanCount Copies = Once> struct Shard { using axis = A; };
template <TensorDim D, MeshAxis A, PlanCount Copies> struct PartialShard { using axis = A; };
template <MeshAxis A> struct Replicate { using axis = A; };
template <MeshAxis A> struct Partial { using axis = A; };
template <MeshAxis A> struct Invariant { using axis = A; };

/// Where a tensor lies that the compiler has refused to make. Whatever follows takes it for what it
/// needs: one mistake gives one error.
template <MeshAxis A> struct Unknown { using axis = A; };
// clang-format on

template <class P> inline constexpr bool is_unknown = false;
template <class A> inline constexpr bool is_unknown<Unknown<A>> = true;
template <class T, class A> inline constexpr bool matches<Expected<T>, Got<Unknown<A>>> = true;
template <class A, class T> inline constexpr bool matches<Expected<Unknown<A>>, Got<T>> = true;
template <class A> inline constexpr bool matches<Expected<Unknown<A>>, Got<Unknown<A>>> = true;

template <class P>
concept Placement = MeshAxis<typename P::axis>;

namespace detail {

template <class D, class A> Shard<D, A> cotangent(Shard<D, A>);
template <class D, class A, class C> PartialShard<D, A, C> cotangent(Shard<D, A, C>);
template <class D, class A, class C> Shard<D, A, C> cotangent(PartialShard<D, A, C>);
template <class A> Partial<A> cotangent(Replicate<A>);
template <class A> Replicate<A> cotangent(Partial<A>);
template <class A> Invariant<A> cotangent(Invariant<A>);
template <class A> Unknown<A> cotangent(Unknown<A>);

template <class... As> consteval bool in_axis_order() {
  std::array<int, sizeof...(As)> const orders{As::order...};
  return std::ranges::adjacent_find(orders, std::ranges::greater_equal{}) == orders.end();
}

}  // namespace detail

template <Placement P> using cotangent_t = decltype(detail::cotangent(P{}));

/// A placement that slices a dimension, and what it says.
template <class P> struct Slicing { using dim = void; };
template <class D, class A, class C> struct Slicing<Shard<D, A, C>> {
  using dim = D;
  using copies = C;
};
template <class D, class A, class C>
struct Slicing<PartialShard<D, A, C>> : Slicing<Shard<D, A, C>> {};

/// Placement P slices dimension D.
template <class P, class D>
inline constexpr bool slices = std::same_as<typename Slicing<P>::dim, D>;

/// The placements of a tensor, one per mesh axis, outermost first; an axis not listed replicates.
/// Of two axes that slice one dimension, the outer one makes the larger blocks.
template <Placement... Ps> struct Layout {};

/// The axes of a layout are in order, and none of them comes twice.
template <class... As> inline constexpr bool lists_each_axis_once = detail::in_axis_order<As...>();

// Computations on types are written as functions that are declared and never defined.
namespace detail {

template <class... Ps, class... Qs> Layout<Ps..., Qs...> operator+(Layout<Ps...>, Layout<Qs...>);

template <bool Keep, class P> using keep_if = std::conditional_t<Keep, Layout<P>, Layout<>>;

template <class A> Replicate<A> sole(Layout<>);
template <class A, class P, class... Others> P sole(Layout<P, Others...>);

template <class A, class... Ps>
auto on(Layout<Ps...>)
    -> decltype(sole<A>((Layout<>{} + ... + keep_if<std::same_as<typename Ps::axis, A>, Ps>{})));

template <class... Ps, class P, class A = typename P::axis>
auto operator|(Layout<Ps...>, P)
    -> decltype((Layout<>{} + ... + keep_if<(Ps::axis::order < A::order), Ps>{}) +
                keep_if<!std::same_as<P, Replicate<A>>, P>{} +
                (Layout<>{} + ... + keep_if<(Ps::axis::order > A::order), Ps>{}));

template <class... Ps> auto merge(Ps...) -> decltype((Layout<>{} | ... | Ps{}));

template <class L, class... As>
auto cotangent(L, Mesh<As...>) -> decltype(merge(cotangent_t<decltype(on<As>(L{}))>{}...));

/// No axis inside A slices D: the slices of A on D are the innermost, and can be taken or joined.
template <class D, class A, class... Ps> consteval bool innermost(Layout<Ps...>) {
  return ((Ps::axis::order <= A::order || !slices<Ps, D>)&&...);
}

}  // namespace detail

/// The placement of layout L on axis A.
template <class L, MeshAxis A> using on_t = decltype(detail::on<A>(L{}));

/// Layout L with placement P in place of what it has on P's axis.
template <class L, Placement P> using with_t = decltype(detail::operator|(L{}, P{}));

/// The layout of the gradient of a tensor with layout L.
template <class L, class M> using cotangent_layout_t = decltype(detail::cotangent(L{}, M{}));

/// Under layout L, axis A may take up or give up slicing dimension D: no inner axis slices it.
template <class D, class A, class L>
inline constexpr bool slices_innermost = detail::innermost<D, A>(L{});

}  // namespace nxd
