// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include <nxd/train/curve.hpp>
#include <nxd/train/metrics.hpp>
#include <nxd/train/terminal.hpp>

namespace nxd::detail {

inline std::string hex(std::uint64_t n) {
  std::string text(16, '0');
  for (auto at = text.rbegin(); n != 0; n >>= 4) *at++ = "0123456789abcdef"[n & 15];
  return text;
}

inline std::string percent(double share) { return std::to_string(std::lround(100 * share)) + " %"; }

/// Draws what `metrics.jsonl` holds.
inline void draw_losses(std::ostream& out, std::string const& folder) {
  std::vector<CurvePoint> points;
  for (auto const& m : read_metrics(folder + "/metrics.jsonl"))
    points.push_back({static_cast<double>(m.step), m.loss});
  CurveStyle style;
  style.charset = environment_charset();
  if (points.size() > 1) out << draw_curve(points, style);
}

}  // namespace nxd::detail
