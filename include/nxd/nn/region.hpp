// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/redistribute.hpp>

namespace nxd {

/// x, taken to have placement P where a check has just said that it does not: the checks that
/// follow go on from there, and so one mistake gives one error.
template <Placement P, class X, class W> constexpr auto assume(Var<X, W> const& x) {
  if constexpr (std::same_as<P, placement_t<X, typename P::axis>>)
    return x;
  else
    return x.world().template random<placed_t<X, P>>();
}

// How activations live between tensor-parallel blocks, and so how the weights do that meet them
// there: a weight that every rank applies to its own tokens has a gradient that awaits its sum.

/// Every rank holds them whole and computes on them alike.
struct Duplicated {
  template <MeshAxis A> using between = Invariant<A>;
  template <MeshAxis A> using weight = Invariant<A>;
};

/// Every rank holds a slice of the sequence: less memory for the same traffic (Korthikanti et al.,
/// 2022).
template <TensorDim Seq> struct SequenceParallel {
  template <MeshAxis A> using between = Shard<Seq, A>;
  template <MeshAxis A> using weight = Replicate<A>;
};

}  // namespace nxd
