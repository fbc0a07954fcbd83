// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace nxd {

/// The characters that an output can show.
enum class Charset : std::uint8_t { ascii, unicode };

/// A file descriptor leads to a terminal that understands a carriage return.
inline bool is_terminal(int descriptor) {
  char const* term = std::getenv("TERM");
  return ::isatty(descriptor) == 1 && !(term != nullptr && std::string_view(term) == "dumb");
}

/// Columns of a terminal, 80 where it does not say.
inline int terminal_width(int descriptor) {
  ::winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

/// What the locale of the environment can show.
inline Charset environment_charset() {
  for (auto const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    char const* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string low;
    for (char const c : std::string_view(value))
      low += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return low.find("utf-8") != low.npos || low.find("utf8") != low.npos ? Charset::unicode
                                                                         : Charset::ascii;
  }
  return Charset::ascii;
}

namespace detail {

/// Characters of a UTF-8 text, as far as a terminal gives each one column.
inline std::size_t columns(std::string_view text) {
  std::size_t count = 0;
  for (char const c : text)
    if ((static_cast<unsigned char>(c) & 0xc0U) != 0x80U) ++count;
  return count;
}

}  // namespace detail

}  // namespace nxd
