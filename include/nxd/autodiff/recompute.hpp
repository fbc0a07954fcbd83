// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/world.hpp>

namespace nxd {

/// f(x), of which nothing is kept but x: the backward pass computes it once more, with what it needs
/// kept, and goes on from there. f must be a pure function of x and of parameters. Memory: x instead
/// of all that f makes; cost: one more forward pass of f, its communication included.
template <class F, class X, class W>
constexpr auto recompute(F f, Var<X, W> const& x) {
  auto& world = x.world();
  auto const y = world.unrecorded([&] { return f(x); });
  using Y = std::remove_cvref_t<decltype(y)>;
  return world.record(
      y.value(),
      [f, gx = x.slot(), &world, x = x.value()](auto const& dy) {
        typename Var<X, W>::Cell cell;
        auto* const mark = world.mark();
        Y const again = f(Var<X, W>(world, x, &cell));
        again.slot().accumulate(dy);
        world.backward_to(mark);
        if (cell.has_gradient) gx.accumulate(cell.gradient);
      });  // recorded even if x is constant: f may use parameters
}

}  // namespace nxd
