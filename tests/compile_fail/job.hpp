// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/contract.hpp>
#include <nxd/nn/dims.hpp>
#include <nxd/tensor/meta.hpp>

// The plan of the wrong programs: eight ranks, a small transformer. Nothing here ever runs.

struct Job : nxd::Plan<nxd::Let<nxd::DP, 2>, nxd::Let<nxd::TP, 4>, nxd::Let<nxd::Batch, 8>,
                       nxd::Let<nxd::Seq, 64>, nxd::Let<nxd::KeySeq, 64>, nxd::Let<nxd::Hidden, 32>,
                       nxd::Let<nxd::Ffn, 96>, nxd::Let<nxd::GateUp, 2>, nxd::Let<nxd::Heads, 8>,
                       nxd::Let<nxd::KvHeads, 4>, nxd::Let<nxd::HeadDim, 4>,
                       nxd::Let<nxd::Vocab, 100>, nxd::Let<nxd::KvCopies, 2>> {};

using Here = nxd::World<Job, nxd::Meta<float>>;

/// A tensor of floats with these dimensions, its batch split over DP, and placed so on TP.
template <class Shape, class OnTp>
using Batched =
    nxd::Tensor<float, Shape, nxd::with_t<nxd::Layout<nxd::Shard<nxd::Batch, nxd::DP>>, OnTp>>;

/// A weight: whole on every rank of DP, and placed so on TP.
template <class Shape, class OnTp>
using Weight = nxd::Tensor<float, Shape, nxd::with_t<nxd::Layout<>, OnTp>>;
