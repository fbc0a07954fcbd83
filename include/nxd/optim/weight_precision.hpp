// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace nxd {

/// How a number of many bits becomes one of few.
enum class Rounding : std::uint8_t {
  nearest,     ///< ties to even: an update of less than half a step of the weight is lost
  stochastic,  ///< up or down by chance, so that the mean is exact: no update is lost on average
};

/// How weights that are shorter than the numbers they are updated in are kept. It has no meaning
/// for weights of floats.
struct WeightPrecision {
  bool master = true;  ///< a float for each weight, from which it is rounded; or else weights and
                       ///< moments are rounded to the weights' own type after each step
  Rounding rounding = Rounding::nearest;
  std::uint64_t seed = 0;  ///< of stochastic rounding: the same bits on any layout
};

}  // namespace nxd
