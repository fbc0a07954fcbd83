// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <nxd/autodiff/world.hpp>

namespace nxd {

/// What is kept of a forward pass for its backward pass.
enum class Recompute : std::uint8_t {
  none,       ///< all that it needs
  selective,  ///< all but the inside of attention: queries, keys and values are kept unturned
  full,       ///< the input of each block alone; the block is computed once more
};

/// f(x...), of which nothing is kept but the operands: the backward pass computes it once more,
/// with what it needs kept, and goes on from there. f must be a pure function of them and of
/// parameters. Memory: x instead of all that f makes; cost: one more forward pass of f, its
/// communication included.
template <class F, class W, class... Xs> constexpr auto recompute(F f, Var<Xs, W> const&... xs) {
  auto& world = std::get<0>(std::tie(xs...)).world();
  auto const y = world.unrecorded([&] { return f(xs...); });
  using Y = std::remove_cvref_t<decltype(y)>;
  return world.record(y.value(), [f, slots = std::tuple{xs.slot()...}, &world,
                                  values = std::tuple{xs.value()...}](auto const& dy) {
    std::tuple<typename Var<Xs, W>::Cell...> cells;
    auto* const mark = world.mark();
    [&]<std::size_t... Is>(std::index_sequence<Is...>) {
      Y const again = f(Var<Xs, W>(world, std::get<Is>(values), &std::get<Is>(cells))...);
      again.slot().accumulate(dy);
      world.backward_to(mark);
      auto const pass_on = [](auto const& slot, auto const& cell) {
        if (cell.has_gradient) slot.accumulate(cell.gradient);
      };
      (pass_on(std::get<Is>(slots), std::get<Is>(cells)), ...);
    }
    (std::index_sequence_for<Xs...>{});
  });  // recorded even if x is constant: f may use parameters
}

}  // namespace nxd
