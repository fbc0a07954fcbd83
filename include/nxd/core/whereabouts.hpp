// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace nxd {

/// What a rank is at, for those who ask when it cannot answer any more: a signal handler, a
/// watchdog. One thread writes; whoever reads sees the present or the one before, whole.
class Whereabouts {
 public:
  void step(std::int64_t step) {
    step_ = "step " + std::to_string(step);
    say(step_);
  }
  /// Within the step. Cost: a copy of some tens of bytes.
  void at(std::string_view what) {
    auto& text = texts_[1 - now_.load(std::memory_order_relaxed)];
    auto const size = put(text, put(text, 0, step_), step_.empty() ? "" : ", ");
    finish(text, put(text, size, what));
  }
  void say(std::string_view what) {
    auto& text = texts_[1 - now_.load(std::memory_order_relaxed)];
    finish(text, put(text, 0, what));
  }

  /// May be called by a signal handler. Ends in a NUL.
  char const* text() const { return texts_[now_.load(std::memory_order_acquire)].data(); }

 private:
  using Text = std::array<char, 128>;

  static std::size_t put(Text& text, std::size_t at, std::string_view what) {
    auto const n = std::min(what.size(), text.size() - 1 - at);
    std::copy_n(what.data(), n, text.data() + at);
    return at + n;
  }
  void finish(Text& text, std::size_t size) {
    text[size] = 0;
    now_.store(&text == &texts_[1] ? 1 : 0, std::memory_order_release);
  }

  std::array<Text, 2> texts_{};
  std::atomic<int> now_{0};
  std::string step_;
};

/// That of a process that is one rank.
inline Whereabouts& this_process() {
  static Whereabouts whereabouts;
  return whereabouts;
}

}  // namespace nxd
