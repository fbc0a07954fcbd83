// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace nxd {

/// What a pipeline rank does with one microbatch in one of its chunks.
enum class Pass : std::uint8_t {
  forward,          ///< F: from the input of the chunk to its output
  backward,         ///< B: the gradients of the input and of the weights
  input_gradient,   ///< I: the gradient of the input alone, which the stage before waits for
  weight_gradient,  ///< W: the gradients of the weights, which nobody waits for
};

/// F, B, I or W.
constexpr char letter(Pass pass) { return "FBIW"[static_cast<int>(pass)]; }

/// In words.
constexpr std::string_view name_of(Pass pass) {
  constexpr auto names =
      std::to_array<std::string_view>({"forward", "backward", "input gradient", "weight gradient"});
  return names[static_cast<std::size_t>(pass)];
}

/// The pass makes the gradient of its input.
constexpr bool makes_gradient(Pass pass) {
  return pass == Pass::backward || pass == Pass::input_gradient;
}

/// The pass is the last of its microbatch in its chunk: after it the activations are free.
constexpr bool frees_activations(Pass pass) {
  return pass == Pass::backward || pass == Pass::weight_gradient;
}

/// One pass of one microbatch through one of a rank's model chunks.
struct Action {
  Pass kind = Pass::forward;
  int microbatch = 0;
  int chunk = 0;
  bool operator==(Action const&) const = default;
};

}  // namespace nxd
