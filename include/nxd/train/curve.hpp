// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/train/terminal.hpp>

namespace nxd {

/// A point of a curve.
struct CurvePoint {
  double x;
  double y;
};

/// How a curve is drawn.
struct CurveStyle {
  int width = 72;   ///< columns, labels included
  int height = 14;  ///< lines of the plot; labels come below
  Charset charset = Charset::ascii;
  std::string_view title = "loss";
  std::string_view x_label = "step";
};

namespace detail {

/// A grid of dots, `across` by `down` to a character.
class DotGrid {
 public:
  DotGrid(int columns, int lines, Charset charset)
      : columns_(columns),
        lines_(lines),
        braille_(charset == Charset::unicode),
        dots_(static_cast<std::size_t>(width() * height())) {}

  int width() const { return columns_ * (braille_ ? 2 : 1); }
  int height() const { return lines_ * (braille_ ? 4 : 1); }
  void set(int x, int y) { dots_[static_cast<std::size_t>(y * width() + x)] = true; }

  std::string line(int number) const {
    std::string out;
    for (int column = 0; column < columns_; ++column) out += cell(column, number);
    return out;
  }

 private:
  bool at(int x, int y) const { return dots_[static_cast<std::size_t>(y * width() + x)]; }

  std::string cell(int column, int number) const {
    if (!braille_) return at(column, number) ? "*" : " ";
    constexpr std::array<std::array<unsigned, 2>, 4> bits{
        {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}};
    unsigned mask = 0;
    for (int y = 0; y < 4; ++y)
      for (int x = 0; x < 2; ++x)
        if (at(column * 2 + x, number * 4 + y))
          mask |= bits[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)];
    if (mask == 0) return " ";
    return {static_cast<char>(0xe2), static_cast<char>(0xa0U | (mask >> 6U)),
            static_cast<char>(0x80U | (mask & 0x3fU))};
  }

  int columns_;
  int lines_;
  bool braille_;
  std::vector<bool> dots_;
};

/// The mean of the points over each column of dots; NaN where there are none.
inline std::vector<double> column_means(std::span<CurvePoint const> points, double low, double high,
                                        int columns) {
  std::vector<double> sums(static_cast<std::size_t>(columns));
  std::vector<int> counts(sums.size());
  for (auto const& p : points) {
    double const part = high > low ? (p.x - low) / (high - low) : 0;
    auto const column = static_cast<std::size_t>(std::lround(part * (columns - 1)));
    sums[column] += p.y;
    ++counts[column];
  }
  for (std::size_t i = 0; i < sums.size(); ++i)
    sums[i] = counts[i] > 0 ? sums[i] / counts[i] : std::nan("");
  return sums;
}

/// Sets the dots of the means, with upright lines where neighbours are far apart.
inline void trace(DotGrid& grid, std::vector<double> const& means, double low, double high) {
  int last_x = -1;
  int last_y = 0;
  for (int x = 0; x < grid.width(); ++x) {
    double const mean = means[static_cast<std::size_t>(x)];
    if (std::isnan(mean)) continue;
    double const part = high > low ? (mean - low) / (high - low) : 0.5;
    int const y = static_cast<int>(std::lround((1 - part) * (grid.height() - 1)));
    int const steps = last_x < 0 ? 1 : std::max(x - last_x, std::abs(y - last_y));
    for (int k = 1; k <= steps; ++k) {
      double const t = last_x < 0 ? 1 : static_cast<double>(k) / steps;
      int const from_x = last_x < 0 ? x : last_x;
      int const from_y = last_x < 0 ? y : last_y;
      grid.set(from_x + static_cast<int>(std::lround(t * (x - from_x))),
               from_y + static_cast<int>(std::lround(t * (y - from_y))));
    }
    last_x = x;
    last_y = y;
  }
}

inline std::string label(double value) {
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.4g", value);
  return out.data();
}

inline std::string right_aligned(std::string text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

}  // namespace detail

/// A curve as lines of text: braille dots where the terminal has them, stars elsewhere. Points that
/// are not finite are left out; many points to a column are averaged.
inline std::string draw_curve(std::span<CurvePoint const> all, CurveStyle const& style) {
  std::vector<CurvePoint> points;
  for (auto const& p : all)
    if (std::isfinite(p.x) && std::isfinite(p.y)) points.push_back(p);
  if (points.empty()) return std::string(style.title) + ": no finite values to draw\n";

  constexpr int margin = 10;
  int const columns = std::max(8, style.width - margin);
  int const lines = std::max(3, style.height);
  auto const [left, right] =
      std::ranges::minmax_element(points, {}, [](CurvePoint const& p) { return p.x; });
  double const first = left->x;
  double const last = right->x;

  detail::DotGrid grid(columns, lines, style.charset);
  auto const means = detail::column_means(points, first, last, grid.width());
  double low = HUGE_VAL;
  double high = -HUGE_VAL;
  for (double const mean : means)
    if (!std::isnan(mean)) {
      low = std::min(low, mean);
      high = std::max(high, mean);
    }
  detail::trace(grid, means, low, high);

  bool const unicode = style.charset == Charset::unicode;
  std::string out = std::string(style.title) + "\n";
  for (int line = 0; line < lines; ++line) {
    bool const ticked = line == lines / 2 || (high > low && (line == 0 || line == lines - 1));
    double const value = high - (high - low) * line / (lines - 1);
    out += detail::right_aligned(ticked ? detail::label(value) : "", margin - 2);
    out += ticked ? (unicode ? " ┤" : " +") : (unicode ? " │" : " |");
    auto text = grid.line(line);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    out += text + "\n";
  }
  out += std::string(margin - 1, ' ') + (unicode ? "└" : "+");
  for (int i = 0; i < columns; ++i) out += unicode ? "─" : "-";
  auto const from = std::string(style.x_label) + " " + detail::label(first);
  auto const until = detail::label(last);
  auto const gap = static_cast<std::size_t>(columns) > from.size() + until.size()
                       ? static_cast<std::size_t>(columns) - from.size() - until.size()
                       : 1;
  return out + "\n" + std::string(margin, ' ') + from + std::string(gap, ' ') + until + "\n";
}

}  // namespace nxd
