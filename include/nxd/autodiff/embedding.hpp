// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/contract.hpp>
#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

/// The rows of a table that ids name. In: ids[Ds...], integers without a gradient; table[D, E].
/// Out: y[Ds..., E]; if the rows are split, each rank contributes those that it holds: `Partial`.
/// The gradient of the table gathers, row by row, those of its uses.
template <class I, class T, TensorDim... Ds, class L, class D, class E, class M, class W>
constexpr auto look_up(Var<Tensor<I, Shape<Ds...>, L>, W> const& ids,
                       Var<Tensor<T, Shape<D, E>, M>, W> const& table) {
  using X = Tensor<I, Shape<Ds...>, L>;
  using Y = Tensor<T, Shape<D, E>, M>;
  using B = typename W::backend;
  using Met = Meeting<LookUp<D>, X, Y, typename W::mesh>;
  Met::check();
  using Z = Tensor<T, Shape<Ds..., E>, typename Met::layout>;
  auto& world = table.world();
  auto const part = Y::template local_slice<D>(world.plan, world.rank());
  Rows const rows{X::local_size(world.plan), part.first, part.valid,
                  Y::template local_extent<E>(world.plan)};
  auto const z = world.template make<Z>();
  compute<B>([&](auto k) { k.gather_rows(rows, data(ids.value()), data(table.value()), data(z)); });
  return world.record_if(
      Met{}, z,
      [g = table.slot(), &world, ids = ids.value(), rows](auto const& dz) {
        using dY = gradient_t<Y, typename W::mesh>;
        g.template gather<dY>([&](auto* sum, [[maybe_unused]] bool accumulate) {
          [[maybe_unused]] auto const size = dY::local_size(world.plan);
          if constexpr (B::has_elements)
            if (!accumulate) std::fill_n(sum, size, std::remove_pointer_t<decltype(sum)>{});
          compute<B>([&](auto k) { k.scatter_add_rows(rows, data(ids), data(dz), sum); });
        });
      },
      table.slot());
}

}  // namespace nxd
