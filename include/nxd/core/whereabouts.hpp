// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include <nxd/core/fixed_text.hpp>
#include <nxd/core/random.hpp>

namespace nxd {

/// What a rank is at, for those who ask when it cannot answer any more: a signal handler, a
/// watchdog, another process. One thread writes; whoever reads sees the present or the one before,
/// whole.
class Whereabouts {
 public:
  /// Where it is written: this object, or memory that others see too.
  struct Spot {
    using Text = std::array<char, 128>;
    std::array<Text, 2> texts{};
    std::atomic<int> now{0};
    std::atomic<std::int64_t> step{-1};  ///< the number of the step; none yet: -1
  };

  Whereabouts() = default;
  Whereabouts(Whereabouts const&) = delete;
  Whereabouts& operator=(Whereabouts const&) = delete;

  void step(std::int64_t step) {
    step_ = {};
    step_ << "step " << step;
    spot().step.store(step, std::memory_order_relaxed);
    say(step_.view());
  }
  /// Within the step. Cost: a copy of some tens of bytes, and their hash.
  void at(std::string_view what) {
    auto& text = next();
    auto const size = put(text, put(text, 0, step_.view()), step_.empty() ? "" : ", ");
    finish(text, put(text, size, what), size);
  }
  void say(std::string_view what) {
    auto& text = next();
    finish(text, put(text, 0, what), 0);
  }

  /// May be called by a signal handler. Ends in a NUL.
  char const* text() const { return text_of(spot()); }
  std::int64_t step() const { return spot().step.load(std::memory_order_relaxed); }

  static char const* text_of(Spot const& spot) {
    return spot.texts[static_cast<std::size_t>(spot.now.load(std::memory_order_acquire))].data();
  }

  /// A number for the text, the same on all ranks that are at the same; and the text without its
  /// step. Only the thread that writes asks.
  std::uint64_t code() const { return code_; }
  std::string_view within() const { return {text() + within_, size_ - within_}; }

  /// From now on it is written to `spot`, which outlives this object. @return what was there before
  void move_to(Spot& to) {
    auto& from = spot();
    auto const now = from.now.load(std::memory_order_relaxed);
    to.texts = from.texts;
    to.step.store(step(), std::memory_order_relaxed);
    to.now.store(now, std::memory_order_release);
    spot_.store(&to, std::memory_order_release);
  }
  void move_home() {
    if (&spot() != &home_) move_to(home_);
  }

 private:
  using Text = Spot::Text;

  Spot& spot() const { return *spot_.load(std::memory_order_acquire); }
  Text& next() {
    return spot().texts[static_cast<std::size_t>(1 - spot().now.load(std::memory_order_relaxed))];
  }
  static std::size_t put(Text& text, std::size_t at, std::string_view what) {
    auto const n = std::min(what.size(), text.size() - 1 - at);
    std::copy_n(what.data(), n, text.data() + at);
    return at + n;
  }
  void finish(Text& text, std::size_t size, std::size_t within) {
    text[size] = 0;
    size_ = size, within_ = within;
    code_ = hash({text.data(), size});
    spot().now.store(&text == &spot().texts[1] ? 1 : 0, std::memory_order_release);
  }

  mutable Spot home_;
  std::atomic<Spot*> spot_{&home_};
  FixedText<32> step_;
  std::size_t size_ = 0, within_ = 0;
  std::uint64_t code_ = 0;
};

/// That of a process that is one rank.
inline Whereabouts& this_process() {
  static Whereabouts whereabouts;
  return whereabouts;
}

}  // namespace nxd
