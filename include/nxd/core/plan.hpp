// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <initializer_list>
#include <span>
#include <utility>

#include <nxd/core/verdict.hpp>

namespace nxd {

/// An extent that is known only when the program starts.
inline constexpr std::int64_t dynamic = -1;

/// A string literal as a template argument. Only base classes take one: printed, it is long.
template <std::size_t N> struct Name {
  char text[N]{};
  consteval Name(char const (&literal)[N]) { std::ranges::copy(literal, text); }
};

enum class Role : std::uint8_t { mesh_axis, tensor_dim, count };

/// Whether a dimension may split unevenly: a padded one is stored up to the next multiple, and what
/// is stored beyond its extent is zero and counts for nothing.
enum class Fit : bool { exact, padded };

/// One axis of the device mesh. The ranks along an axis of higher order are closer neighbours.
template <Name Text, int Order> struct Axis {
  static constexpr Role role = Role::mesh_axis;
  static constexpr std::string_view name = Text.text;
  static constexpr int order = Order;
};

/// One dimension of a tensor: `struct Hidden : Dim<"hidden"> {};`
template <Name Text, Fit How = Fit::exact> struct Dim {
  static constexpr Role role = Role::tensor_dim;
  static constexpr std::string_view name = Text.text;
  static constexpr Fit fit = How;
};

/// A number of a plan that is neither an axis nor a dimension: how many copies, how many chunks.
template <Name Text> struct Count {
  static constexpr Role role = Role::count;
  static constexpr std::string_view name = Text.text;
};

template <class T>
concept MeshAxis = T::role == Role::mesh_axis;
template <class T>
concept TensorDim = T::role == Role::tensor_dim;
template <class T>
concept PlanCount = T::role == Role::count;

struct PP : Axis<"pp", 0> {};  ///< pipeline parallelism
struct DP : Axis<"dp", 1> {};  ///< data parallelism
struct CP : Axis<"cp", 2> {};  ///< context parallelism
struct EP : Axis<"ep", 3> {};  ///< expert parallelism
struct TP : Axis<"tp", 4> {};  ///< tensor parallelism

struct Microbatches : Count<"microbatches"> {};

/// The number one, which every plan knows.
struct Once : Count<"once"> {};

/// The axes along which ranks work on different samples of one batch.
template <class A> inline constexpr bool is_data_axis = false;
template <> inline constexpr bool is_data_axis<DP> = true;
template <> inline constexpr bool is_data_axis<CP> = true;

template <MeshAxis... As> struct Mesh {};

/// T has this extent, or one that is known only when the program starts.
template <class T, std::int64_t Extent = dynamic> struct Let {};

/// Binds the axes and dimensions of a program to numbers. Name yours, to keep diagnostics short:
/// `struct Job : Plan<Let<TP, 8>, Let<DP>, Let<Hidden, 4096>> { using Plan::Plan; };`
template <class... Lets> class Plan;

namespace detail {

template <class... As, class... Bs> Mesh<As..., Bs...> operator+(Mesh<As...>, Mesh<Bs...>);
template <MeshAxis A> Mesh<A> axes_of(A);
template <TensorDim D> Mesh<> axes_of(D);
template <PlanCount C> Mesh<> axes_of(C);
template <class... Ts> auto mesh_of(Ts...) -> decltype((Mesh<>{} + ... + axes_of(Ts{})));

}  // namespace detail

template <class... Ts, std::int64_t... Extents> class Plan<Let<Ts, Extents>...> {
  template <class T> static consteval std::size_t position() {
    std::array const same{std::same_as<T, Ts>...};
    return std::ranges::find(same, true) - same.begin();
  }

 public:
  using mesh = decltype(detail::mesh_of(Ts{}...));

  static constexpr bool is_static = ((Extents != dynamic) && ...);

  /// The extent of T as far as types tell it.
  template <class T>
  static constexpr std::int64_t static_extent = [] {
    if constexpr (std::same_as<T, Once>)
      return std::int64_t{1};
    else
      return std::array{Extents...}[position<T>()];
  }();

  /// The plan binds T to a number.
  template <class T>
  static constexpr bool binds = std::same_as<T, Once> || (std::same_as<T, Ts> || ...);

  constexpr Plan() requires is_static = default;

  /// From a configuration. @throws PlanError if a value is missing or contradicts a type.
  constexpr Plan(std::initializer_list<std::pair<std::string_view, std::int64_t>> config)
      : Plan(std::span<std::pair<std::string_view, std::int64_t> const>(config)) {}
  constexpr explicit Plan(std::span<std::pair<std::string_view, std::int64_t> const> config) {
    (bind<Ts>(config), ...);
  }

  /// The extent of T.
  template <class T> constexpr std::int64_t extent() const {
    if constexpr (std::same_as<T, Once>)
      return 1;
    else
      return extents_[position<T>()];
  }

 private:
  template <class T> constexpr void bind(auto const& config) {
    auto const given = std::ranges::find(config, T::name, [](auto const& c) { return c.first; });
    auto& extent = extents_[position<T>()];
    if (given != config.end()) extent = given->second;
    if (extent == dynamic) require(T::name, {Rule::every_dynamic_extent_needs_a_value});
    if (static_extent<T> != dynamic && static_extent<T> != extent)
      require(T::name, {Rule::configured_extent_must_match_its_type, static_extent<T>, extent});
  }

  std::array<std::int64_t, sizeof...(Ts)> extents_{Extents...};
};

/// The extent of axis or dimension T under a plan.
template <class T> constexpr std::int64_t extent(auto const& plan) {
  return plan.template extent<T>();
}

/// A dimension sharded over an axis splits evenly. What is not known yet is not judged yet.
constexpr Verdict check_split(std::int64_t extent, std::int64_t parts) {
  if (extent == dynamic || parts == dynamic || extent % parts == 0) return {};
  return {Rule::sharded_dim_must_split_evenly_over_its_axis, extent, parts};
}

/// The ranks of an axis hold whole numbers of slices, if each slice has `copies` holders.
constexpr Verdict check_copies(std::int64_t ranks, std::int64_t copies) {
  if (ranks == dynamic || copies == dynamic || (copies > 0 && ranks % copies == 0)) return {};
  return {Rule::copies_of_a_shard_must_divide_its_axis, ranks, copies};
}

/// Each key head serves a whole number of query heads. What is not known yet is not judged yet.
constexpr Verdict check_groups(std::int64_t heads, std::int64_t key_heads) {
  if (heads == dynamic || key_heads == dynamic || heads % key_heads == 0) return {};
  return {Rule::query_heads_must_be_a_multiple_of_key_heads, heads, key_heads};
}

/// The ranks of a job are whole replicas, of `replica` ranks each.
constexpr Verdict check_ranks(std::int64_t ranks, std::int64_t replica) {
  if (replica > 0 && ranks % replica == 0) return {};
  return {Rule::ranks_must_fill_the_mesh, ranks, replica};
}

/// `check_split`, for the compiler to print.
template <TensorDim D, MeshAxis A, std::int64_t Extent, std::int64_t Parts>
inline constexpr bool splits_evenly = D::fit == Fit::padded || bool(check_split(Extent, Parts));

}  // namespace nxd
