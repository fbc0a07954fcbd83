// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/action.hpp>

namespace nxd {

/// How messages between pipeline ranks complete.
enum class Channel : std::uint8_t {
  buffered,    ///< a send completes at once
  rendezvous,  ///< a rank receives, computes and sends; a send ends when its receiver is there
  posted,      ///< receives are posted one action ahead; a send needs nothing but its receive, and
               ///< is awaited before its buffer is used again
};

/// How long the passes of one microbatch take through all layers of a rank, and a message to the
/// next rank. A chunk takes its part of them.
struct Times {
  double forward = 1;
  double input_gradient = 1;
  double weight_gradient = 1;
  double hop = 0;

  constexpr double of(Pass kind) const {
    return kind == Pass::forward           ? forward
           : kind == Pass::input_gradient  ? input_gradient
           : kind == Pass::weight_gradient ? weight_gradient
                                           : input_gradient + weight_gradient;
  }
  constexpr double all() const { return forward + input_gradient + weight_gradient; }
};

}  // namespace nxd
