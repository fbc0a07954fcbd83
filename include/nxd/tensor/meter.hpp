// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace nxd {

/// What memory is for.
enum class MemoryUse : std::uint8_t {
  parameters,       ///< weights
  gradients,        ///< of weights, until the optimizer has taken its step
  optimizer_state,  ///< moments
  activations,      ///< values of the step, their gradients, and the tape
  messages,         ///< what is on its way to or from other ranks
  snapshot,         ///< the copy that a save writes while training goes on
};
/// Spellings.
constexpr auto names_of(MemoryUse) {
  return std::to_array<std::string_view>(
      {"parameters", "gradients", "optimizer_state", "activations", "messages", "snapshot"});
}

/// Bytes of each use.
struct MemoryBill {
  std::array<std::int64_t, names_of(MemoryUse{}).size()> bytes{};

  constexpr std::int64_t operator[](MemoryUse use) const {
    return bytes[static_cast<std::size_t>(use)];
  }
  constexpr std::int64_t total() const {
    std::int64_t sum = 0;
    for (auto const b : bytes) sum += b;
    return sum;
  }
  bool operator==(MemoryBill const&) const = default;
};

/// Counts what is in use, and the most there has been.
class Meter {
 public:
  void add(MemoryUse use, std::int64_t bytes) {
    live_.bytes[static_cast<std::size_t>(use)] += bytes;
    if ((total_ += bytes) <= peak_total_) return;
    peak_total_ = total_;
    peak_ = live_;
  }
  void remove(MemoryUse use, std::int64_t bytes) {
    live_.bytes[static_cast<std::size_t>(use)] -= bytes;
    total_ -= bytes;
  }

  MemoryBill const& live() const { return live_; }
  MemoryBill const& peak() const { return peak_; }
  void reset_peak() { peak_ = live_, peak_total_ = total_; }

  /// What is allocated from now on is for this.
  MemoryUse now = MemoryUse::activations;

 private:
  MemoryBill live_, peak_;
  std::int64_t total_ = 0, peak_total_ = 0;
};

/// A backend that counts its memory, thread by thread: `B::meter()`.
template <class B>
concept Metered = requires {
  { B::meter() } -> std::same_as<Meter&>;
};

/// While it lives, what backend B allocates is for one use.
template <class B> class For {
 public:
  constexpr explicit For(MemoryUse use) {
    if constexpr (Metered<B>) before_ = std::exchange(B::meter().now, use);
  }
  For(For const&) = delete;
  For& operator=(For const&) = delete;
  constexpr ~For() {
    if constexpr (Metered<B>) B::meter().now = before_;
  }

 private:
  MemoryUse before_ = MemoryUse::activations;
};

}  // namespace nxd
