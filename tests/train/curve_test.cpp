// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/train/curve.hpp>

using nxd::Charset;
using nxd::CurvePoint;

TEST_CASE("A falling line goes from the upper left to the lower right") {
  std::vector<CurvePoint> points;
  for (int i = 0; i <= 8; ++i) points.push_back({static_cast<double>(i), 8.0 - i});
  CHECK(nxd::draw_curve(points, {.width = 19, .height = 5}) ==
        "loss\n"
        "       8 +*\n"
        "         | **\n"
        "       4 +   **\n"
        "         |     **\n"
        "       0 +       **\n"
        "         +---------\n"
        "          step 0  8\n");
}

TEST_CASE("Braille draws with eight dots to a character") {
  std::vector<CurvePoint> points{{0, 1}, {1, 0}};
  auto const text =
      nxd::draw_curve(points, {.width = 18, .height = 3, .charset = Charset::unicode});
  CHECK(text.find("1 ┤⠑⠢⡀\n") != text.npos);
  CHECK(text.find("0 ┤     ⠈⠢⢄\n") != text.npos);
  CHECK(text.find("└────────\n") != text.npos);
}

TEST_CASE("Many points to a column are averaged") {
  std::vector<CurvePoint> points;
  for (int i = 0; i < 10'000; ++i)
    points.push_back({static_cast<double>(i), i % 2 == 0 ? 1.0 : 3.0});
  auto const text = nxd::draw_curve(points, {.width = 40, .height = 5});
  CHECK(text.find(" 3 ") == text.npos);
  CHECK(text.find("step 0") != text.npos);
  CHECK(text.find("9999\n") != text.npos);
}

TEST_CASE("What is not finite is left out; nothing finite is said") {
  std::vector<CurvePoint> points{{0, 1}, {1, std::nan("")}, {2, HUGE_VAL}};
  CHECK(nxd::draw_curve(points, {}).find("nan") == std::string::npos);
  CHECK(nxd::draw_curve(std::vector<CurvePoint>{{0, HUGE_VAL}}, {}) ==
        "loss: no finite values to draw\n");
}

TEST_CASE("One point and a level line are drawn in the middle") {
  auto const text = nxd::draw_curve(std::vector<CurvePoint>{{5, 2}}, {.width = 18, .height = 5});
  CHECK(text.find("2 +*\n") != text.npos);
  CHECK(text.find("2 +\n") == text.npos);
}

TEST_CASE("No line is wider than asked for") {
  std::vector<CurvePoint> points;
  for (int i = 0; i < 300; ++i) points.push_back({i * 1.0, 9 * std::exp(-i / 60.0) + 2});
  auto const text =
      nxd::draw_curve(points, {.width = 60, .height = 10, .charset = Charset::unicode});
  std::size_t from = 0;
  for (auto end = text.find('\n'); end != text.npos; from = end + 1, end = text.find('\n', from))
    CHECK(nxd::detail::columns(text.substr(from, end - from)) <= 60);
}
