// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/world.hpp>
#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

namespace detail {

template <class K, class V, class... As> constexpr void check_values(Mesh<As...>) {
  static_assert((matches<Expected<placement_t<K, As>>, Got<placement_t<V, As>>> && ...),
                "attention: the values are not placed as the keys are");
}

template <class Plan, class Heads, class KvHeads> constexpr void check_key_heads() {
  constexpr auto verdict =
      check_groups(Plan::template static_extent<Heads>, Plan::template static_extent<KvHeads>);
  static_assert(nxd::accepted<verdict.broken, verdict.lhs, verdict.rhs>,
                "attention: each key head serves a whole number of query heads");
}

}  // namespace detail

/// Who sees whom.
enum class Mask : std::uint8_t {
  causal,  ///< a query sees the keys up to its own place
  none,    ///< every query sees every key
};

/// Scaled dot-product attention, fused: never more than a tile of scores exists (Dao et al., 2022).
/// In: q[Batch, Seq, Heads, HeadDim], k and v[Batch, KeySeq, KvHeads, HeadDim]; query head h looks
/// at key head h / (Heads / KvHeads). Heads split over an axis meet their key heads there, which
/// neighbours may share (`Shard<KvHeads, A, Copies>`). Out: like q. Cost: 4 Batch Heads Seq KeySeq
/// HeadDim FLOPs, half of it if causal; two and a half times that backward.
template <class T, class Batch, class Seq, class KeySeq, class Heads, class KvHeads, class HeadDim,
          class LQ, class LK, class LV, class W>
constexpr auto attention(Var<Tensor<T, Shape<Batch, Seq, Heads, HeadDim>, LQ>, W> const& q,
                         Var<Tensor<T, Shape<Batch, KeySeq, KvHeads, HeadDim>, LK>, W> const& k,
                         Var<Tensor<T, Shape<Batch, KeySeq, KvHeads, HeadDim>, LV>, W> const& v,
                         double scale, Mask mask = Mask::causal) {
  using Q = Tensor<T, Shape<Batch, Seq, Heads, HeadDim>, LQ>;
  using K = Tensor<T, Shape<Batch, KeySeq, KvHeads, HeadDim>, LK>;
  using V = Tensor<T, Shape<Batch, KeySeq, KvHeads, HeadDim>, LV>;
  using B = typename W::backend;
  using M = Meeting<Attend<Batch, Heads, KvHeads>, Q, K, typename W::mesh>;
  M::check();
  detail::check_values<K, V>(typename W::mesh{});
  detail::check_key_heads<typename W::plan_type, Heads, KvHeads>();
  using Z = relaid_t<Q, typename M::layout>;
  auto& world = q.world();
  auto const& plan = world.plan;
  require(Heads::name, check_groups(extent<Heads>(plan), extent<KvHeads>(plan)));

  auto const group = extent<Heads>(plan) / extent<KvHeads>(plan);
  auto const rank = world.rank();
  Attention const sizes{.batch = Q::template local_extent<Batch>(plan),
                        .queries = Q::template local_extent<Seq>(plan),
                        .keys = K::template local_extent<KeySeq>(plan),
                        .heads = Q::template local_extent<Heads>(plan),
                        .kv_heads = K::template local_extent<KvHeads>(plan),
                        .group = group,
                        .first_head = Q::template local_first<Heads>(plan, rank) -
                                      K::template local_first<KvHeads>(plan, rank) * group,
                        .head_dim = extent<HeadDim>(plan),
                        .scale = scale,
                        .causal = mask == Mask::causal};
  auto const forward = 4 * sizes.batch * sizes.heads * sizes.queries * sizes.keys * sizes.head_dim /
                       (mask == Mask::causal ? 2 : 1);
  world.ledger.flops += forward;
  auto const sums =
      B::template allocate<accumulator_t<T>>(sizes.batch * sizes.heads * sizes.queries);
  auto const z = world.template make<Z>();
  compute<B>([&](auto kernels) {
    kernels.attention(sizes, data(q.value()), data(k.value()), data(v.value()), data(z),
                      B::data(sums));
  });
  return world.record_if(
      M{}, z,
      [gq = q.slot(), gk = k.slot(), gv = v.slot(), &world, q = q.value(), k = k.value(),
       v = v.value(), z, sums, sizes, forward](auto const& dz) {
        world.ledger.flops += forward / 2 * 5;
        auto const dq = world.template make<gradient_t<Q, typename W::mesh>>();
        auto const dk = world.template make<gradient_t<K, typename W::mesh>>();
        auto const dv = world.template make<gradient_t<V, typename W::mesh>>();
        compute<B>([&](auto kernels) {
          kernels.attention_pull(sizes, data(q), data(k), data(v), data(z), B::data(sums), data(dz),
                                 data(dq), data(dk), data(dv));
        });
        gq.accumulate(dq);
        gk.accumulate(dk);
        gv.accumulate(dv);
      },
      q.slot(), k.slot(), v.slot());
}

}  // namespace nxd
