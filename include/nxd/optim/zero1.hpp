// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>

#include <nxd/autodiff/redistribute.hpp>
#include <nxd/optim/chunk.hpp>

namespace nxd {

namespace detail {

/// The data axes of a mesh.
template <class... As>
auto data_axes(Mesh<As...>)
    -> decltype((Mesh<>{} + ... + std::conditional_t<is_data_axis<As>, Mesh<As>, Mesh<>>{}));

template <class M, MeshAxis... Axes>
using axes_or_data_t =
    std::conditional_t<sizeof...(Axes) == 0, decltype(data_axes(M{})), Mesh<Axes...>>;

template <class A, class... As> inline constexpr bool axis_among = (std::same_as<A, As> || ...);

}  // namespace detail

/// On axis A, a gradient so placed awaits a sum.
template <class P> inline constexpr bool awaits_sum = false;
template <class A> inline constexpr bool awaits_sum<Partial<A>> = true;
template <class D, class A, class C> inline constexpr bool awaits_sum<PartialShard<D, A, C>> = true;

/// A gradient so placed is whole, but for sums over axes As.
template <class P, class... As>
inline constexpr bool is_whole_but_for =
    !awaits_sum<P> || detail::axis_among<typename P::axis, As...>;

/// What an optimizer's gradient must look like, checked where it is handed over.
template <class G, class... As, class... Ms>
constexpr void check_gradient(Mesh<As...>, Mesh<Ms...>) {
  static_assert((matches<Expected<Partial<As>>, Got<placement_t<G, As>>> && ...),
                "optimizer: the gradient must still await its sum over the data axes");
  if constexpr ((matches<Expected<Partial<As>>, Got<placement_t<G, As>>> && ...))
    static_assert((is_whole_but_for<placement_t<G, Ms>, As...> && ...),
                  "optimizer: the gradient awaits a sum over another axis too; redistribute it");
}

/// Splits the state of Update over Axes, which are the data axes if none are named: gradients are
/// reduce-scattered, each rank updates its chunk, and weights are gathered (Rajbhandari et al.,
/// 2020). A parameter is cut as one flat array, evenly, whatever its shape. Memory: state over the
/// ranks of Axes. Messages: those of an all-reduce.
template <class Update, MeshAxis... Axes> struct Zero1 {
  using update = Update;
  static constexpr bool shards_state() { return true; }
  template <class M> using axes = detail::axes_or_data_t<M, Axes...>;

  /// The chunk of `size` elements that `rank` holds.
  static constexpr Chunk chunk(std::int64_t size, Line along) {
    auto const room = (size + along.count - 1) / along.count;
    auto const first = std::min(size, along.place * room);
    return {first, std::min(room, size - first), room};
  }

  /// chunk = this rank's part of the sum of the gradients, of `chunk.room` elements.
  template <class G, class W, class B>
  static void reduce(W& world, Line along, Local<G, B> const& gradient, Chunk const& chunk,
                     typename G::element* to) {
    using T = typename G::element;
    check_gradient<G>(axes<typename W::mesh>{}, typename W::mesh{});
    auto const size = G::local_size(world.plan);
    auto const room = static_cast<std::size_t>(chunk.room);
    auto const padded = chunk.room * along.count;
    auto const scatter = [&](std::span<T const> from) {
      exchange<B>(world.comm,
                  [&](auto& comm) { reduce_scatter(comm, along, from, std::span<T>(to, room)); });
    };
    if (padded == size) return scatter(detail::constants(world.plan, gradient));
    For<B> const purpose(MemoryUse::messages);
    auto const copy = B::template allocate<T>(padded);
    if constexpr (B::has_elements) {
      std::copy_n(data(gradient), size, B::data(copy));
      std::fill_n(B::data(copy) + size, padded - size, T{});
    }
    scatter(std::span<T const>(B::data(copy), static_cast<std::size_t>(padded)));
  }

  static constexpr std::int64_t bytes_sent(std::int64_t gradients, std::int64_t weights,
                                           std::int64_t ranks) {
    return (gradients / ranks + weights / ranks) * (ranks - 1);
  }
};

/// Every rank of Axes, the data axes if none are named, keeps the whole state of Update: gradients
/// are all-reduced, and all ranks take the same step.
template <class Update, MeshAxis... Axes> struct Replicated {
  using update = Update;
  static constexpr bool shards_state() { return false; }
  template <class M> using axes = detail::axes_or_data_t<M, Axes...>;

  static constexpr Chunk chunk(std::int64_t size, Line) { return {0, size, size}; }

  template <class G, class W, class B>
  static void reduce(W& world, Line along, Local<G, B> const& gradient, Chunk const& chunk,
                     typename G::element* to) {
    check_gradient<G>(axes<typename W::mesh>{}, typename W::mesh{});
    if constexpr (B::has_elements) std::copy_n(data(gradient), chunk.count, to);
    std::span<typename G::element> const sum(to, static_cast<std::size_t>(chunk.count));
    exchange<B>(world.comm, [&](auto& comm) { all_reduce(comm, along, sum); });
  }

  static constexpr std::int64_t bytes_sent(std::int64_t gradients, std::int64_t,
                                           std::int64_t ranks) {
    return 2 * (gradients / ranks * (ranks - 1));
  }
};

/// `Zero1` or `Replicated`, as a program chooses when it starts.
template <class Update, MeshAxis... Axes> struct Zero1OrReplicated {
  using update = Update;
  template <class M> using axes = detail::axes_or_data_t<M, Axes...>;

  bool zero1 = true;

  bool shards_state() const { return zero1; }
  Chunk chunk(std::int64_t size, Line along) const {
    return zero1 ? Zero1<Update, Axes...>::chunk(size, along)
                 : Replicated<Update, Axes...>::chunk(size, along);
  }
  template <class G, class W, class B>
  void reduce(W& world, Line along, Local<G, B> const& gradient, Chunk const& chunk,
              typename G::element* to) const {
    zero1 ? Zero1<Update, Axes...>::reduce(world, along, gradient, chunk, to)
          : Replicated<Update, Axes...>::reduce(world, along, gradient, chunk, to);
  }
  std::int64_t bytes_sent(std::int64_t gradients, std::int64_t weights, std::int64_t ranks) const {
    return zero1 ? Zero1<Update, Axes...>::bytes_sent(gradients, weights, ranks)
                 : Replicated<Update, Axes...>::bytes_sent(gradients, weights, ranks);
  }
};

}  // namespace nxd
