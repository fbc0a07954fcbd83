// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <nxd/autodiff/contract_beside.hpp>
#include <nxd/nn/parameter.hpp>
#include <nxd/nn/region.hpp>

namespace nxd {

namespace detail {

template <TensorDim D> Shape<D> as_shape(D);
template <TensorDim... Ds> Shape<Ds...> as_shape(Shape<Ds...>);

/// One dimension, or several that a matrix has for its rows or its columns.
template <class S> using shape_of = decltype(detail::as_shape(S{}));

/// The dimension that a split takes: the first that is not a bundle.
template <class D, class... Ds> auto split_dim(Shape<D, Ds...>) {
  if constexpr (is_bundle<D>)
    return split_dim(Shape<Ds...>{});
  else
    return D{};
}
template <class S> using split_dim_t = decltype(split_dim(shape_of<S>{}));

}  // namespace detail

/// y = x W^T with the outputs split over axis A: each rank makes a slice of them, which `Copies`
/// neighbours make alike. In: x[..., In] as Region leaves it. Out: y[..., Out], Shard<Out, A>.
template <MeshAxis A, class Region = Duplicated, PlanCount Copies = Once> struct ColumnParallel {
  using axis = A;
  using region = Region;
  using takes = typename Region::template between<A>;
  template <class In, class Out> using weight = Shard<detail::split_dim_t<Out>, A, Copies>;

  /// x, taken to where weights multiply it: whole.
  template <class X, class W> static constexpr auto enter(Var<X, W> const& x) {
    check<X>();
    return redistribute<Replicate<A>>(assume<takes>(x));
  }
  /// The outputs of layers that share their input, x: a tuple of as many as there are weights.
  template <class X, class W, class... Ys>
  static constexpr auto outputs(Var<X, W> const& x, Var<Ys, W> const&... weights) {
    check<X>();
    return contract_from<Replicate<A>>(assume<takes>(x), weights...);
  }
  template <class In, class X, class Y, class W>
  static constexpr auto output(Var<X, W> const& x, Var<Y, W> const& weight) {
    return std::get<0>(outputs(x, weight));
  }

 private:
  template <class X> static constexpr void check() {
    static_assert(
        matches<Expected<takes>, Got<placement_t<X, A>>>,
        "ColumnParallel: x is not placed as its Region leaves activations between blocks");
  }
};

/// y = x W^T with the inputs split over axis A: each rank makes one term of the outputs' sum.
/// In: x[..., In], Shard<In, A>, as ColumnParallel makes it. Out: y[..., Out] as Region wants it.
template <MeshAxis A, class Region = Duplicated> struct RowParallel {
  using axis = A;
  using region = Region;
  template <class In, class Out> using weight = Shard<detail::split_dim_t<In>, A>;

  template <class In, class X, class Y, class W>
  static constexpr auto output(Var<X, W> const& x, Var<Y, W> const& weight) {
    using takes = Shard<detail::split_dim_t<In>, A>;
    static_assert(
        matches<Expected<takes>, Got<placement_t<X, A>>>,
        "RowParallel: x is not a slice of its input dimension, as ColumnParallel makes it");
    return contract_to<typename Region::template between<A>>(assume<takes>(x), weight);
  }
};

/// A linear layer under a parallel strategy, with its weight W[Out, In]: rows and columns as
/// Hugging Face stores them. In and Out are dimensions, or shapes of several.
template <class In, class Out, class Strategy, class World> struct BoundLinear {
  using in = detail::shape_of<In>;
  using out = detail::shape_of<Out>;
  using strategy = Strategy;
  using Weight = Tensor<typename World::weight, decltype(detail::operator+(out{}, in{})),
                        with_t<Layout<>, typename Strategy::template weight<In, Out>>>;

  Var<Weight, World> weight;

  /// The layer: into its region, the product, and out again.
  template <class X> constexpr auto operator()(Var<X, World> const& x) const {
    return Strategy::template output<In>(x, weight);
  }

  /// Calls `f(info, parameter, matrix)` for the weight, by its name below `at`.
  void visit(std::string const& at, Init init, auto const& f) const {
    f(parameter_at(at, {"weight"}, init), weight, Matrix<out, in>{});
  }
};

/// What a linear layer is; `bind` makes one in a world. `Linear<Hidden, Ffn, ColumnParallel<TP>>`
template <class In, class Out, class Strategy> struct Linear {
  template <class World> using bound = BoundLinear<In, Out, Strategy, World>;
};

/// A layer of the given kind, with its weights in `world`, not yet set.
template <class Layer, class W> constexpr auto bind(W& world) {
  using L = typename Layer::template bound<W>;
  if constexpr (requires { typename L::Weight; })
    return L{world.template parameter<typename L::Weight>()};
  else if constexpr (std::constructible_from<L, W&>)
    return L(world);
  else
    return L{};
}

}  // namespace nxd
