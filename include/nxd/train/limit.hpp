// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <nxd/train/shortest.hpp>

namespace nxd {

/// A range that a configured number must lie in. Texts and switches have no range.
struct Limit {
  double low;
  double high;
  std::string wanted;                ///< the range in words, empty where there is none
  std::vector<std::string> allowed;  ///< the only texts that are known, empty where any is

  /// The range does not hold this number.
  bool refuses(double value) const { return !(value >= low && value <= high); }
  /// The list does not hold this text.
  bool refuses(std::string_view value) const {
    return !allowed.empty() && std::ranges::find(allowed, value) == allowed.end();
  }
};

/// Anything that the type can hold.
inline Limit any() { return {-HUGE_VAL, HUGE_VAL, "", {}}; }
/// `low` and more.
inline Limit at_least(double low) { return {low, HUGE_VAL, "at least " + shortest(low), {}}; }
/// More than zero.
inline Limit positive() { return {5e-324, HUGE_VAL, "more than 0", {}}; }
/// From `low` to `high`, both in.
inline Limit between(double low, double high) {
  return {low, high, "from " + shortest(low) + " to " + shortest(high), {}};
}
/// From 0 to 1, 1 out.
inline Limit below_one() { return {0, std::nextafter(1.0, 0.0), "at least 0 and less than 1", {}}; }
/// One of these texts.
inline Limit one_of(std::initializer_list<std::string_view> texts) {
  Limit limit = any();
  limit.allowed.assign(texts.begin(), texts.end());
  for (auto const& text : limit.allowed)
    limit.wanted += (limit.wanted.empty() ? "" : " or ") + text;
  return limit;
}

}  // namespace nxd
