// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <iterator>

#include <nxd/autodiff/world.hpp>
#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

/// Cosines and sines of every position's angles: [positions][head_dim / 2].
template <class B> struct Angles {
  using T = accumulator_t<typename B::element>;
  std::int64_t half = 0;  ///< of the head dimension
  typename B::template buffer<T> cosines{}, sines{};
};

/// The angles position * frequencies[i] for `positions` positions. Computed in double.
template <class B> Angles<B> make_angles(std::int64_t positions, auto const& frequencies) {
  using T = typename Angles<B>::T;
  auto const half = static_cast<std::int64_t>(std::size(frequencies));
  Angles<B> angles{half, B::template allocate<T>(positions * half),
                   B::template allocate<T>(positions * half)};
  if constexpr (B::has_elements)
    for (std::int64_t p = 0; p < positions; ++p)
      for (std::int64_t i = 0; i < half; ++i) {
        auto const angle = static_cast<double>(p) * frequencies[static_cast<std::size_t>(i)];
        B::data(angles.cosines)[p * half + i] = static_cast<T>(std::cos(angle));
        B::data(angles.sines)[p * half + i] = static_cast<T>(std::sin(angle));
      }
  return angles;
}

/// Rotation takes pairs. What is not known yet is not judged yet.
constexpr Verdict check_even(std::int64_t extent) {
  if (extent == dynamic || extent % 2 == 0) return {};
  return {Rule::head_dim_must_be_even, extent, 2};
}

/// Rotary position embedding: turns the pairs (i, i + half) of each head by the angles of its place
/// in the sequence (Su et al., 2021; pairs as Hugging Face has them).
/// In and out: x[Batch, Seq, Heads, HeadDim], heads whole along HeadDim.
template <class T, class Batch, class Seq, class Heads, class HeadDim, class L, class W>
constexpr auto rotate(Var<Tensor<T, Shape<Batch, Seq, Heads, HeadDim>, L>, W> const& x,
                      Angles<typename W::backend> const& angles) {
  using X = Tensor<T, Shape<Batch, Seq, Heads, HeadDim>, L>;
  using B = typename W::backend;
  using M = Meeting<Along<HeadDim>, X, X, typename W::mesh>;
  M::check();
  constexpr auto even = check_even(W::plan_type::template static_extent<HeadDim>);
  static_assert(nxd::accepted<even.broken, even.lhs, even.rhs>, "rotate: it turns pairs");
  using Y = relaid_t<X, typename M::layout>;
  auto& world = x.world();
  require(HeadDim::name, check_even(extent<HeadDim>(world.plan)));
  auto const turned = [&world, angles]<class Z>(Local<Z, B> const& from, int direction) {
    auto const to = world.template make<Z>();
    compute<B>([&](auto kernels) {
      auto const& plan = world.plan;
      Rotary const sizes{Z::template local_extent<Batch>(plan), Z::template local_extent<Seq>(plan),
                         Z::template local_extent<Heads>(plan), extent<HeadDim>(plan)};
      auto const first = Z::template local_first<Seq>(plan, world.rank()) * angles.half;
      kernels.rotate(sizes, data(from), B::data(angles.cosines) + first,
                     B::data(angles.sines) + first, data(to), direction);
    });
    return to;
  };
  return world.record_if(
      M{}, as<Y>(turned(x.value(), 1)),
      [gx = x.slot(), turned](auto const& dy) { gx.accumulate(turned(dy, -1)); }, x.slot());
}

}  // namespace nxd
