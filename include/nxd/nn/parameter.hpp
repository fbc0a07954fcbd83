// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/autodiff/world.hpp>
#include <nxd/nn/dims.hpp>

namespace nxd {

/// A part of a tensor that files know by a name: the box that a rank holds of it, which lies
/// contiguously, from element `offset` on, in the rank's part of a parameter.
struct Portion {
  std::string name;
  std::vector<std::int64_t> shape;   ///< of the whole tensor, without padding
  std::vector<std::int64_t> start;   ///< of the box
  std::vector<std::int64_t> extent;  ///< of the box
  std::int64_t offset = 0;

  std::int64_t size() const {
    std::int64_t n = 1;
    for (auto const e : extent) n *= e;
    return n;
  }
};

/// How a parameter starts: element i of tensor t is a function of (seed, t, i), on any layout.
struct Init {
  enum class Kind : std::uint8_t { normal, ones, zeros } kind = Kind::normal;
  double deviation = 0.02;  ///< of the normal distribution
};

/// Whether another stage of a pipeline has the same parameter, as a tied head has the embedding's.
/// Its gradient is the sum over both; it counts once, where it is `first`.
enum class Sharing : std::uint8_t { none, first, again };

/// What stages share is one tensor, of which a rank holds the same part in each: gradients are
/// summed element by element.
template <class First, class Again> constexpr void check_tied() {
  static_assert(matches<Expected<First>, Got<Again>>,
                "tied weights: both stages must hold the same part of the weight");
}

/// What is to be known of a parameter besides its type.
struct ParameterInfo {
  std::vector<std::string> names;  ///< one; or one for each place in the bundle that it stores
  Init init{};
  bool decays = true;  ///< weight decay applies
  Sharing sharing = Sharing::none;
};

/// The same with names that begin with `at`. Not inlined: models call it for each parameter, in
/// every visit.
[[gnu::noinline]] inline ParameterInfo parameter_at(std::string_view at,
                                                    std::initializer_list<std::string_view> names,
                                                    Init init = {}, bool decays = true,
                                                    Sharing sharing = Sharing::none) {
  ParameterInfo info{{}, init, decays, sharing};
  for (auto const name : names) info.names.emplace_back(at).append(name);
  return info;
}

namespace detail {

/// Dimensions that are one dimension of the tensor in the file; the first of them may be split.
template <class X, class... Ds>
void add_group(Portion& portion, auto const& plan, std::int64_t rank, Shape<Ds...>) {
  std::int64_t whole = 1, first = 0, held = 1;
  auto const add = [&]<class D>(D) {
    auto const slice = X::template local_slice<D>(plan, rank);
    whole *= extent<D>(plan);
    first = first * extent<D>(plan) + slice.first;
    held *= slice.valid;
  };
  (add(Ds{}), ...);
  portion.shape.push_back(whole);
  portion.start.push_back(first);
  portion.extent.push_back(held);
}

template <class D, class... Ds> consteval bool starts_with_bundle(Shape<D, Ds...>) {
  return is_bundle<D>;
}
template <class D, class... Ds> Shape<Ds...> rest(Shape<D, Ds...>);

}  // namespace detail

/// The dimensions of a parameter that are the rows, and those that are the columns of its matrix.
template <class Rows, class Columns = Shape<>> struct Matrix {};

/// What `rank` holds of the tensors that a parameter X stores. A bundle comes first among the rows
/// and is not part of them: each of its places is a tensor of its own.
template <class X, class Rows, class Columns>
std::vector<Portion> portions(ParameterInfo const& info, auto const& plan, std::int64_t rank,
                              Matrix<Rows, Columns>) {
  std::vector<Portion> all;
  auto const each =
      static_cast<std::int64_t>(X::local_size(plan)) / static_cast<std::int64_t>(info.names.size());
  for (auto const& name : info.names) {
    Portion portion{name, {}, {}, {}, each * static_cast<std::int64_t>(all.size())};
    if constexpr (detail::starts_with_bundle(Rows{}))
      detail::add_group<X>(portion, plan, rank, decltype(detail::rest(Rows{})){});
    else
      detail::add_group<X>(portion, plan, rank, Rows{});
    if constexpr (!std::same_as<Columns, Shape<>>)
      detail::add_group<X>(portion, plan, rank, Columns{});
    all.push_back(std::move(portion));
  }
  return all;
}

/// The ranks that hold the same part of a tensor, and the place of one among them.
struct Holders {
  std::int64_t count = 1;
  std::int64_t place = 0;
};

namespace detail {

/// Those along one axis; along the axes of Apart only the rank itself.
template <class X, class A, class... Apart>
Holders holders_along(auto const& plan, std::int64_t rank, Mesh<Apart...>) {
  using P = placement_t<X, A>;
  auto const along = line<A>(plan, rank);
  if constexpr ((std::same_as<A, Apart> || ...)) {
    return {};
  } else if constexpr (std::same_as<typename Slicing<P>::dim, void>) {
    return {along.count, along.place};
  } else {
    auto const copies = extent<typename Slicing<P>::copies>(plan);
    return {copies, along.place % copies};
  }
}

template <class X, class... As>
Holders holders(auto const& plan, std::int64_t rank, Mesh<As...>, auto apart) {
  Holders all;
  for (auto const h : {Holders{}, holders_along<X, As>(plan, rank, apart)...})
    all = {all.count * h.count, all.place * h.count + h.place};
  return all;
}

}  // namespace detail

/// The ranks that hold the same part of X as `rank` does, and have its place along the axes of
/// Apart. The first of them counts the part in a norm.
template <class X, class Apart = Mesh<>, class Plan>
Holders holders(Plan const& plan, std::int64_t rank) {
  return detail::holders<X>(plan, rank, typename Plan::mesh{}, Apart{});
}

/// Sets a parameter to its start: each portion from the stream of its name.
template <class X, class W>
void initialize(Var<X, W> const& parameter, Init init, std::vector<Portion> const& portions,
                std::uint64_t seed) {
  if constexpr (W::backend::has_elements) {
    using T = typename X::element;
    auto* const to = data(parameter.value());
    std::fill_n(to, X::local_size(parameter.world().plan), T{});
    if (init.kind == Init::Kind::zeros) return;
    for (auto const& p : portions) {
      if (init.kind == Init::Kind::ones) {
        std::fill_n(to + p.offset, p.size(), narrow<T>(1));
        continue;
      }
      Stream const stream(seed, p.name);
      auto const columns = p.extent.back();
      for (std::int64_t i = 0; i < p.size(); ++i) {
        auto const row = p.extent.size() > 1 ? p.start[0] + i / columns : 0;
        auto const global = row * p.shape.back() + p.start.back() + i % columns;
        to[p.offset + i] =
            narrow<T>(init.deviation * stream.normal(static_cast<std::uint64_t>(global)));
      }
    }
  }
}

/// Sets every parameter of a model to its start, the same on any layout.
template <class Model> void initialize(Model const& model, std::uint64_t seed) {
  model.visit(
      [seed]<class X, class W, class M>(ParameterInfo const& info, Var<X, W> const& v, M m) {
        auto& world = v.world();
        initialize(v, info.init, portions<X>(info, world.plan, world.rank(), m), seed);
      });
}

}  // namespace nxd
