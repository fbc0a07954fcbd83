// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace nxd {

/// The part of a parameter whose optimizer state a rank holds: `count` elements of its flat part,
/// from `first` on. Every rank has room for `room`.
struct Chunk {
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t room = 0;
  bool operator==(Chunk const&) const = default;
};

}  // namespace nxd
