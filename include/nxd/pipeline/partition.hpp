// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <nxd/core/verdict.hpp>

namespace nxd {

/// Which layers a stage has, and whether it has the model's ends.
struct StageSpan {
  std::int64_t first = 0;
  std::int64_t layers = 0;
  bool embeds = true;
  bool heads = true;
  bool ends_together = true;  ///< the ranks of the first stage have the last one too
  bool operator==(StageSpan const&) const = default;
};

/// Where layers go that are left when the stages share them evenly.
enum class Remainder : std::uint8_t {
  last_stages,     ///< one each to the last ones: 19 over 4 is 4, 5, 5, 5
  very_last_stage  ///< all to the last one: 4, 4, 4, 7
};

/// Every stage has a layer. What is not known yet is not judged yet.
constexpr Verdict check_stages(std::int64_t layers, std::int64_t stages) {
  if (stages >= 1 && layers >= stages) return {};
  return {Rule::every_stage_needs_a_layer, layers, stages};
}

/// Stages of so many layers each. @throws PlanError unless every layer is in exactly one stage and
/// every stage has one
inline std::vector<StageSpan> stages_of(std::span<std::int64_t const> counts, std::int64_t layers) {
  auto const total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  if (total != layers)
    throw PlanError("pipeline stages", {Rule::every_layer_must_be_in_one_stage, total, layers});
  std::vector<StageSpan> spans;
  std::int64_t first = 0;
  for (auto const n : counts) {
    if (n < 1) throw PlanError("pipeline stages", {Rule::every_stage_needs_a_layer, n, 1});
    spans.push_back({first, n, first == 0, first + n == layers, counts.size() == 1});
    first += n;
  }
  return spans;
}

/// Layers shared evenly. @throws PlanError if there are fewer layers than stages
inline std::vector<StageSpan> share_layers(std::int64_t layers, std::int64_t stages,
                                           Remainder remainder = Remainder::last_stages) {
  require("pipeline stages", check_stages(layers, stages));
  std::vector<std::int64_t> counts(static_cast<std::size_t>(stages), layers / stages);
  auto const rest = layers % stages;
  if (remainder == Remainder::very_last_stage)
    counts.back() += rest;
  else
    for (std::int64_t i = 0; i < rest; ++i) ++counts[static_cast<std::size_t>(stages - 1 - i)];
  return stages_of(counts, layers);
}

/// Stages that end with the layers `cuts`, the last one aside: as `pipeline_cuts` names them.
/// @throws PlanError unless cuts rise within the model, one fewer than there are stages
inline std::vector<StageSpan> cut_layers(std::int64_t layers, std::int64_t stages,
                                         std::span<std::int64_t const> cuts) {
  if (std::ssize(cuts) + 1 != stages)
    throw PlanError("pipeline_cuts",
                    {Rule::cuts_must_be_one_fewer_than_stages, std::ssize(cuts), stages});
  std::vector<std::int64_t> counts;
  std::int64_t first = 0;
  for (auto const last : cuts) {
    counts.push_back(last + 1 - first);
    first = last + 1;
  }
  counts.push_back(layers - first);
  return stages_of(counts, layers);
}

/// Layers shared so that the most expensive stage costs least: a layer costs 1, the embedding and
/// the head what they cost in layers. Ties leave the earlier stages lighter. Cost: layers^2 *
/// stages.
/// @throws PlanError if there are fewer layers than stages
inline std::vector<StageSpan> balance_layers(std::int64_t layers, std::int64_t stages,
                                             double embedding, double head) {
  require("pipeline stages", check_stages(layers, stages));
  auto const cost = [&](std::int64_t from, std::int64_t to) {
    return static_cast<double>(to - from) + (from == 0 ? embedding : 0) + (to == layers ? head : 0);
  };
  auto const n = static_cast<std::size_t>(layers), p = static_cast<std::size_t>(stages);
  // best[s][i]: the least cost of the worst of the first s + 1 stages, if they have the first i
  // layers.
  std::vector best(p, std::vector<double>(n + 1, 1e300));
  std::vector from(p, std::vector<std::int64_t>(n + 1, 0));
  for (std::size_t i = 1; i <= n; ++i) best[0][i] = cost(0, static_cast<std::int64_t>(i));
  for (std::size_t s = 1; s < p; ++s)
    for (std::size_t i = s + 1; i <= n; ++i)
      for (std::size_t j = s; j < i; ++j)
        if (auto const worst = std::max(
                best[s - 1][j], cost(static_cast<std::int64_t>(j), static_cast<std::int64_t>(i)));
            worst < best[s][i]) {
          best[s][i] = worst;
          from[s][i] = static_cast<std::int64_t>(j);
        }
  std::vector<std::int64_t> counts(p);
  auto end = layers;
  for (auto s = p; s-- > 0;) {
    auto const start = s == 0 ? 0 : from[s][static_cast<std::size_t>(end)];
    counts[s] = end - start;
    end = start;
  }
  return stages_of(counts, layers);
}

}  // namespace nxd
