// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace nxd {

/// Gradient clipping by the global norm, in which every parameter counts once over every axis.
struct Clip {
  enum class Norm : std::uint8_t { l2, infinity } norm = Norm::l2;
  double max = std::numeric_limits<double>::infinity();  ///< no clipping

  /// What gradients are multiplied by. The 1e-6 is PyTorch's.
  double coefficient(double total) const { return std::min(1.0, max / (total + 1e-6)); }
};

}  // namespace nxd
