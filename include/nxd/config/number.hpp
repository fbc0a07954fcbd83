// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>

namespace nxd {

/// Why a text is not a number, as the rest of a sentence.
struct NotANumber {
  std::string reason;  ///< empty: it does not look like one at all
};

/// A number of a configuration, or the reason why it is none.
using Number = std::variant<NotANumber, std::int64_t, double>;

namespace detail {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes digits with single underscores between them; false where there are none or one is astray.
inline bool take_digits(std::string_view& text, std::string& out) {
  if (text.empty() || !is_digit(text[0])) return false;
  while (!text.empty()) {
    if (is_digit(text[0]))
      out += text[0];
    else if (text[0] != '_' || text.size() < 2 || !is_digit(text[1]))
      break;
    text.remove_prefix(1);
  }
  return true;
}

inline Number whole_number(std::string const& digits) {
  auto const first = digits.find_first_not_of('-');
  if (digits[first] == '0' && digits.size() > first + 1)
    return NotANumber{"which some readers take for octal; write it without leading zeros"};
  std::int64_t value = 0;
  auto const end = digits.data() + digits.size();
  if (std::from_chars(digits.data(), end, value).ec != std::errc{})
    return NotANumber{"which does not fit 64 bits; lower it"};
  return value;
}

}  // namespace detail

/// Reads a number: `[+-] digits` is whole; with a point or an exponent (`1.5`, `.5`, `2.`, `1e-5`)
/// it is not. Single underscores may stand between digits. No octal, no hexadecimal, no infinity.
inline Number parse_number(std::string_view text) {
  std::string_view rest = text;
  std::string plain;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    if (rest[0] == '-') plain = "-";
    rest.remove_prefix(1);
  }
  bool const whole = detail::take_digits(rest, plain);
  if (whole && rest.empty()) return detail::whole_number(plain);

  if (!whole) plain += '0';
  bool fraction = false;
  if (!rest.empty() && rest[0] == '.') {
    rest.remove_prefix(1);
    plain += '.';
    fraction = detail::take_digits(rest, plain);
    if (!fraction) plain += '0';
  }
  if (!whole && !fraction) return NotANumber{};
  if (!rest.empty() && (rest[0] == 'e' || rest[0] == 'E')) {
    plain += 'e';
    rest.remove_prefix(1);
    if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
      if (rest[0] == '-') plain += '-';
      rest.remove_prefix(1);
    }
    if (!detail::take_digits(rest, plain)) return NotANumber{};
  }
  if (!rest.empty()) return NotANumber{};

  double value = 0;
  auto const read = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  if (read.ec != std::errc{} || !std::isfinite(value))
    return NotANumber{"which does not fit a double; write a number between 1e-307 and 1e308"};
  return value;
}

}  // namespace nxd
