// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/plan.hpp>

namespace nxd {

// The dimensions of a transformer, as its plan binds them.

struct Batch : Dim<"batch"> {};       ///< samples of one microbatch, over all data-parallel ranks
struct Seq : Dim<"seq"> {};           ///< tokens of a sample
struct KeySeq : Dim<"key_seq"> {};    ///< the same tokens, looked at
struct Hidden : Dim<"hidden"> {};     ///< of the residual stream
struct Ffn : Dim<"ffn"> {};           ///< of a feed-forward layer
struct GateUp : Dim<"gate_up"> {};    ///< two: gate, then up
struct Heads : Dim<"heads"> {};       ///< of queries
struct KvHeads : Dim<"kv_heads"> {};  ///< of keys and values
struct HeadDim : Dim<"head_dim"> {};  ///< of one head
struct QkvSlot : Dim<"qkv_slot"> {};  ///< of a key head: its queries, its key, its value
struct Vocab : Dim<"vocab", Fit::padded> {};  ///< classes of a token

/// How many tensor-parallel neighbours hold the same key and value heads: the original's
/// `kv_size_multiplier`.
struct KvCopies : Count<"kv_copies"> {};

/// A dimension of alternatives, stored side by side and never split: files know them by names of
/// their own.
template <class D> inline constexpr bool is_bundle = false;
template <> inline constexpr bool is_bundle<GateUp> = true;

}  // namespace nxd
