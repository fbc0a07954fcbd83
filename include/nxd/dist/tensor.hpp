// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/dtype.hpp>
#include <nxd/dist/layout.hpp>
#include <nxd/dist/mesh.hpp>

namespace nxd {

template <TensorDim... Ds> struct Shape { static constexpr std::size_t rank = sizeof...(Ds); };

/// What a placement names belongs to the tensor.
template <class P, class S> inline constexpr bool names_dim_of = true;
template <class D, class A, class C, class... Ds>
inline constexpr bool names_dim_of<Shard<D, A, C>, Shape<Ds...>> = (std::same_as<D, Ds> || ...);
template <class D, class A, class C, class... Ds>
inline constexpr bool names_dim_of<PartialShard<D, A, C>, Shape<Ds...>> =
    names_dim_of<Shard<D, A, C>, Shape<Ds...>>;

/// The part of a dimension that one rank holds: `length` elements are stored, from global index
/// `first` on, and the first `valid` of them exist; the rest is padding.
struct Slice {
  std::int64_t first;
  std::int64_t length;
  std::int64_t valid;
};

/// What a tensor is: elements of type T, global shape S, layout L. It has no elements; the part
/// that one rank holds is a `Local`, and how it is held is the backend's business.
template <class T, class S, class L = Layout<>> struct Tensor;

template <class T, TensorDim... Ds, Placement... Ps> struct Tensor<T, Shape<Ds...>, Layout<Ps...>> {
  using element = T;
  using shape = Shape<Ds...>;
  using layout = Layout<Ps...>;

  /// Length of dimension D on one rank. @throws PlanError if it does not split evenly.
  template <class D> static constexpr std::int64_t local_extent(auto const& plan) {
    auto length = extent<D>(plan);
    (split<D, Ps>(length, plan), ...);
    return length;
  }

  /// The first global index along dimension D that `rank` holds.
  template <class D>
  static constexpr std::int64_t local_first(auto const& plan, [[maybe_unused]] std::int64_t rank) {
    std::int64_t first = 0;
    [[maybe_unused]] auto length = extent<D>(plan);
    ((split<D, Ps>(length, plan), first += place<D, Ps>(plan, rank) * length), ...);
    return first;
  }

  /// What of dimension D `rank` holds.
  template <class D> static constexpr Slice local_slice(auto const& plan, std::int64_t rank) {
    auto const first = local_first<D>(plan, rank);
    auto const length = local_extent<D>(plan);
    return {first, length, std::clamp<std::int64_t>(extent<D>(plan) - first, 0, length)};
  }

  /// Elements and bytes held by one rank. @throws PlanError likewise.
  static constexpr std::int64_t local_size(auto const& plan) {
    return (local_extent<Ds>(plan) * ... * 1);
  }
  static constexpr std::int64_t local_bytes(auto const& plan) {
    return local_size(plan) * static_cast<std::int64_t>(sizeof(T));
  }

 private:
  template <class D, class P> static constexpr void split(std::int64_t& length, auto const& plan) {
    if constexpr (slices<P, D>) {
      auto const ranks = extent<typename P::axis>(plan);
      auto const copies = extent<typename Slicing<P>::copies>(plan);
      require(D::name, check_copies(ranks, copies));
      auto const parts = ranks / copies;
      if constexpr (D::fit == Fit::exact) require(D::name, check_split(length, parts));
      length = (length + parts - 1) / parts;
    }
  }

  template <class D, class P>
  static constexpr std::int64_t place(auto const& plan, std::int64_t rank) {
    if constexpr (slices<P, D>)
      return line<typename P::axis>(plan, rank).place / extent<typename Slicing<P>::copies>(plan);
    else
      return 0;
  }
};

namespace detail {

/// What one rank holds of the last dimension of X.
template <class X> constexpr std::int64_t last_extent(auto const& plan) {
  std::int64_t last = 1;
  [&]<class... Ds>(Shape<Ds...>) {
    ((last = X::template local_extent<Ds>(plan)), ...);
  }(typename X::shape{});
  return last;
}

}  // namespace detail

/// The placement of tensor type X on axis A.
template <class X, MeshAxis A> using placement_t = on_t<typename X::layout, A>;

/// X with elements of another type.
template <class X, class E> using with_element_t = Tensor<E, typename X::shape, typename X::layout>;
/// X as a sum of many of its kind is held: of floats where X is of bf16.
template <class X> using sum_of_t = with_element_t<X, accumulator_t<typename X::element>>;

/// X with its layout changed to L, or with placement P in place of what it has on P's axis.
template <class X, class L> using relaid_t = Tensor<typename X::element, typename X::shape, L>;
template <class X, class P> using placed_t = relaid_t<X, with_t<typename X::layout, P>>;

}  // namespace nxd
