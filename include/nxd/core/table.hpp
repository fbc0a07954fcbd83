// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace nxd {

/// Where the cells of a column stand: words on the left, numbers on the right.
enum class Align : std::uint8_t { left, right };

/// Lines of a table, each column as wide as its widest cell, two blanks between them. The first
/// column is of words always.
inline std::string table_text(std::vector<std::vector<std::string>> const& rows, Align align) {
  std::vector<std::size_t> widths;
  for (auto const& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (auto const& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::string const gap(widths[i] - row[i].size(), ' ');
      if (i > 0) out += "  ";
      out += i == 0 || align == Align::left ? row[i] + gap : gap + row[i];
    }
    while (out.ends_with(' ')) out.pop_back();
    out += '\n';
  }
  return out;
}

}  // namespace nxd
