// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/plan.hpp>

namespace nxd {

/// Evenly spaced ranks, seen from one of them: those that differ in their place along one axis
/// only, or the neighbours among them that hold copies of one slice.
struct Line {
  std::int64_t first;   ///< its lowest rank
  std::int64_t stride;  ///< from one of its ranks to the next
  std::int64_t count;
  std::int64_t place;  ///< of the rank that looks

  constexpr std::int64_t rank(std::int64_t at) const { return first + at * stride; }

  /// The line of this rank's `count` neighbours within the line, itself included.
  constexpr Line neighbours(std::int64_t among) const {
    return {rank(place / among * among), stride, among, place % among};
  }
  bool operator==(Line const&) const = default;
};

namespace detail {

template <MeshAxis A, MeshAxis... As>
constexpr Line line(auto const& plan, std::int64_t rank, Mesh<As...>) {
  std::int64_t stride = 1;
  ((stride *= As::order > A::order ? extent<As>(plan) : 1), ...);
  auto const count = extent<A>(plan);
  auto const place = rank / stride % count;
  return {rank - place * stride, stride, count, place};
}

template <MeshAxis... As> constexpr std::int64_t ranks(auto const& plan, Mesh<As...>) {
  return (std::int64_t{1} * ... * extent<As>(plan));
}

}  // namespace detail

/// The line of `rank` along axis A. Ranks are numbered with the innermost axis fastest.
template <MeshAxis A, class Plan> constexpr Line line(Plan const& plan, std::int64_t rank) {
  return detail::line<A>(plan, rank, typename Plan::mesh{});
}

/// How many ranks a plan runs on.
template <class Plan> constexpr std::int64_t ranks(Plan const& plan) {
  return detail::ranks(plan, typename Plan::mesh{});
}

}  // namespace nxd
