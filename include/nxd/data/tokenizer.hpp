// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/core/error.hpp>
#include <nxd/core/random.hpp>

namespace nxd {

/// Text to tokens and back.
template <class T>
concept Tokenizer = requires(T const& t, std::string_view text, std::span<std::int32_t const> ids) {
  { t.vocabulary() } -> std::convertible_to<std::int64_t>;
  { t.encode(text) } -> std::same_as<std::vector<std::int32_t>>;
  { t.decode(ids) } -> std::same_as<std::string>;
  { t.end_of_text() } -> std::convertible_to<std::int32_t>;
  { t.fingerprint() } -> std::convertible_to<std::uint64_t>;
};

/// A token for each byte, and three that no text has: any text, in any encoding, comes back as it
/// was.
struct ByteTokenizer {
  static constexpr std::int32_t bos = 256;  ///< a text begins
  static constexpr std::int32_t eos = 257;  ///< a text ends
  static constexpr std::int32_t pad = 258;  ///< no text at all

  static constexpr std::int64_t vocabulary() { return 259; }
  static constexpr std::int32_t end_of_text() { return eos; }
  static constexpr std::uint64_t fingerprint() { return hash("bytes, bos 256, eos 257, pad 258"); }

  static std::vector<std::int32_t> encode(std::string_view text) {
    std::vector<std::int32_t> ids;
    ids.reserve(text.size());
    for (char const c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  /// The bytes; what is no byte says nothing. @throws Error at an id that is no token
  static std::string decode(std::span<std::int32_t const> ids) {
    std::string text;
    for (auto const id : ids) {
      if (id < 0 || id >= vocabulary())
        throw Error(ExitCode::corrupt,
                    "token " + std::to_string(id) + " is not one of the byte tokenizer's 259");
      if (id < 256) text += static_cast<char>(id);
    }
    return text;
  }
};

static_assert(Tokenizer<ByteTokenizer>);

}  // namespace nxd
