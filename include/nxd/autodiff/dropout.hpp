// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/world.hpp>
#include <nxd/core/expects.hpp>

namespace nxd {

/// x with a share `rate` of its elements, in [0, 1), set to zero and the others scaled by
/// 1 / (1 - rate). Element i is dropped if number i of `draws` says so, i counted over all ranks:
/// any layout drops the same, and a region that is computed anew drops them again. Give each place
/// in a model and each step a stream of its own: `Stream(seed, "model.layers.3.dropout", step)`. It
/// is linear, and so every placement will do. Nothing is kept for the backward pass.
template <class X, class W>
constexpr auto dropout(Var<X, W> const& x, double rate, Stream const& draws) {
  NXD_EXPECTS(rate >= 0 && rate < 1);
  auto& world = x.world();
  using B = typename W::backend;
  auto const thinned = [&world, rate, draws]<class Y>(Local<Y, B> const& from) {
    auto const to = world.template make<Y>();
    if constexpr (B::has_elements) {
      using T = typename Y::element;
      auto const factor = static_cast<T>(1 / (1 - rate));
      auto const* const in = data(from);
      auto* const out = data(to);
      std::fill_n(out, Y::local_size(world.plan), T{});
      for_each_run(local_part<Y>(world.plan, world.rank()),
                   [&](auto local, auto global, auto length) {
                     for (std::int64_t i = 0; i < length; ++i)
                       if (draws.uniform(static_cast<std::uint64_t>(global + i)) >= rate)
                         out[local + i] = factor * in[local + i];
                   });
    }
    return to;
  };
  return world.record(
      thinned(x.value()),
      [gx = x.slot(), thinned](auto const& dy) {
        if (gx.wanted()) gx.accumulate(thinned(dy));
      },
      x.slot());
}

}  // namespace nxd
