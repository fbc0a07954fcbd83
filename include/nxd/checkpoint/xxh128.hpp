// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <string>

#include <xxhash.h>

#if __has_include(<xxh_x86dispatch.h>)  // it is there where the library chooses by the processor
#include <xxh_x86dispatch.h>
#endif

#include <nxd/checkpoint/digest.hpp>

namespace nxd {

/// The XXH3-128 of a stream of bytes: of a file, what `xxhsum -H128 FILE` says, so that a shard can
/// be checked without us. Cost: one pass over the bytes.
class Xxh128 {
 public:
  /// @throws std::bad_alloc if there is no memory for its half a KiB of state
  Xxh128() : state_(XXH3_createState()) {
    if (!state_ || XXH3_128bits_reset(state_.get()) != XXH_OK) throw std::bad_alloc();
  }

  void add(std::span<std::byte const> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }

  /// Of all bytes so far: 32 hexadecimal digits.
  std::string text() const {
    auto const sum = XXH3_128bits_digest(state_.get());
    return hex(sum.high64) + hex(sum.low64);
  }

 private:
  struct Freed {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Freed> state_;
};

}  // namespace nxd
