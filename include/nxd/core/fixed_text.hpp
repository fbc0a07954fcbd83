// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>

namespace nxd {

/// A text of at most N - 1 characters, put together without memory from the system: a signal
/// handler may. What has no room is cut off. Ends in a NUL.
template <std::size_t N> class FixedText {
 public:
  FixedText& operator<<(std::string_view text) {
    auto const n = std::min(text.size(), N - 1 - size_);
    std::copy_n(text.data(), n, text_.data() + size_);
    size_ += n;
    return *this;
  }
  FixedText& operator<<(std::int64_t number) {
    std::array<char, 24> digits{};
    auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    return *this << std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
  }

  std::string_view view() const { return {text_.data(), size_}; }
  char const* c_str() const { return text_.data(); }
  bool empty() const { return size_ == 0; }

 private:
  std::array<char, N> text_{};
  std::size_t size_ = 0;
};

}  // namespace nxd
