// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace nxd {

/// What a training step costs one rank, counted from types and plan alone.
struct Ledger {
  std::int64_t flops = 0;       ///< of matrix products and attention, forward and backward
  std::int64_t bytes_sent = 0;  ///< see `bytes_sent(Way, ...)`
  std::int64_t bytes_of_parameters = 0;
  bool operator==(Ledger const&) const = default;
};

}  // namespace nxd
