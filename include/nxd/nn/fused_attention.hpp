// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/slots.hpp>
#include <nxd/nn/attention.hpp>

namespace nxd {

/// The matrix of queries, keys and values in one: rows by key head, of each its queries, its key,
/// its value. Files have three tensors, named in this order.
struct QkvMatrix {};

/// What `rank` holds of the three tensors: of each a box for every key head that it has.
template <class X>
std::vector<Portion> portions(ParameterInfo const& info, auto const& plan, std::int64_t rank,
                              QkvMatrix) {
  NXD_EXPECTS(info.names.size() == 3);
  auto const heads = X::template local_slice<KvHeads>(plan, rank);
  auto const slots = extent<QkvSlot>(plan), rows = extent<HeadDim>(plan);
  auto const columns = extent<Hidden>(plan);
  std::vector<Portion> all;
  for (std::int64_t h = 0; h < heads.valid; ++h) {
    std::int64_t slot = 0;
    for (auto const& name : info.names) {
      auto const taken = &name == info.names.data() ? slots - 2 : 1;
      all.push_back({name,
                     {extent<KvHeads>(plan) * taken * rows, columns},
                     {(heads.first + h) * taken * rows, 0},
                     {taken * rows, columns},
                     (h * slots + slot) * rows * columns});
      slot += taken;
    }
  }
  return all;
}

/// `GroupedQueryAttention` with one product for queries, keys and values, whose weight keeps what
/// belongs to a key head together. Every rank of axis A needs a key head of its own: there are no
/// copies.
template <MeshAxis A, class Region = Duplicated> struct FusedGroupedQueryAttention {
  using Qkv = Linear<Hidden, Shape<KvHeads, QkvSlot, HeadDim>, ColumnParallel<A, Region>>;
  using Out = typename GroupedQueryAttention<A, Region>::Out;

  template <class World> struct bound {
    typename Qkv::template bound<World> qkv;
    typename Out::template bound<World> out;

    constexpr explicit bound(World& world) : qkv(bind<Qkv>(world)), out(bind<Out>(world)) {}

    template <class X>
    constexpr auto operator()(Var<X, World> const& x, Angles<typename World::backend> const& angles,
                              Recompute how = Recompute::none) const {
      auto const all = qkv(x);
      auto const group = extent<QkvSlot>(x.world().plan) - 2;
      return out(detail::attend_rotated(take_slots<KvHeads, QkvSlot, Heads>(all, 0, group),
                                        take_slots<KvHeads, QkvSlot, KvHeads>(all, group, 1),
                                        take_slots<KvHeads, QkvSlot, KvHeads>(all, group + 1, 1),
                                        angles, how));
    }

    /// Calls `f(info, parameter, matrix)` for each, by its Hugging Face names below `at`.
    void visit(std::string const& at, Init init, auto const& f) const {
      f(parameter_at(at, {"q_proj.weight", "k_proj.weight", "v_proj.weight"}, init), qkv.weight,
        QkvMatrix{});
      out.visit(at + "o_proj.", init, f);
    }
  };
};

}  // namespace nxd
