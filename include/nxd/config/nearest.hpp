// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace nxd {

/// Insertions, deletions, replacements and swaps of neighbours that make one text the other.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> all((a.size() + 1) * (b.size() + 1));
  auto const d = [&](std::size_t i, std::size_t j) -> std::size_t& {
    return all[i * (b.size() + 1) + j];
  };
  for (std::size_t i = 0; i <= a.size(); ++i) d(i, 0) = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d(0, j) = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d(i, j) = std::min(
          {d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d(i, j) = std::min(d(i, j), d(i - 2, j - 2) + 1);
    }
  return all.back();
}

/// The path that was most likely meant: near in its last part, and rather in the same section than
/// elsewhere. Empty where nothing is near.
inline std::string nearest_path(std::string_view path, std::vector<std::string> const& known) {
  auto const split = [](std::string_view text) {
    auto const dot = text.rfind('.');
    return dot == text.npos ? std::pair{std::string_view{}, text}
                            : std::pair{text.substr(0, dot), text.substr(dot + 1)};
  };
  auto const wanted = split(path.substr(0, 200));
  std::size_t best = std::max<std::size_t>(2, wanted.second.size() / 3) * 2 + 1;
  std::string found;
  for (auto const& candidate : known) {
    auto const other = split(candidate);
    auto const elsewhere = other.first == wanted.first ? 0 : 1;
    auto const length = other.second.size(), most = elsewhere != 0 ? 1 : wanted.second.size() / 2;
    if (length > wanted.second.size() + most || wanted.second.size() > length + most) continue;
    auto const distance = edit_distance(wanted.second, other.second);
    if (elsewhere != 0 && distance > 1) continue;
    auto const cost = 2 * distance + static_cast<std::size_t>(elsewhere);
    if (cost >= best || distance * 2 > wanted.second.size()) continue;
    best = cost;
    found = candidate;
  }
  return found;
}

}  // namespace nxd
