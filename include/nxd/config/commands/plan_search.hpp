// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <nxd/config/search_llama.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/plan/report.hpp>

namespace nxd::detail {

/// `PP 4 zb-v x 2`: what of a layout the search has chosen.
inline std::vector<std::string> layout_cells(TrainingConfig const& c, std::int64_t ranks) {
  auto const& d = c.distributed_strategy;
  auto const pp = d.pipeline_model_parallel_size;
  auto const kind = spelling(pipeline_kind(c));
  auto const chunks = pipeline_chunks(c);
  auto const& recompute = c.model.activations_checkpoint_granularity;
  return {std::to_string(ranks / (pp * d.tensor_model_parallel_size)),
          std::to_string(d.tensor_model_parallel_size) + (d.sequence_parallel ? " SP" : ""),
          std::to_string(pp) +
              (pp == 1 ? "" : " " + kind + (chunks > 1 ? " x " + std::to_string(chunks) : "")),
          d.zero1 ? "yes" : "no",
          !recompute                        ? "none"
          : *recompute == Granularity::full ? "full"
                                            : "selective",
          std::to_string(c.data.micro_batch_size)};
}

/// The overrides that turn any configuration of the run into this layout.
inline std::string overrides_of(TrainingConfig const& c) {
  auto const& d = c.distributed_strategy;
  auto const yes = [](bool b) { return b ? "true" : "false"; };
  std::string out;
  auto const add = [&](std::string_view key, std::string const& value) {
    out += (out.empty() ? "" : " ") + std::string(key) + "=" + value;
  };
  add("distributed_strategy.tensor_model_parallel_size",
      std::to_string(d.tensor_model_parallel_size));
  add("distributed_strategy.sequence_parallel", yes(d.sequence_parallel));
  add("distributed_strategy.kv_replicator", std::to_string(d.kv_replicator));
  add("distributed_strategy.pipeline_model_parallel_size",
      std::to_string(d.pipeline_model_parallel_size));
  add("distributed_strategy.virtual_pipeline_model_parallel_size",
      std::to_string(pipeline_chunks(c)));
  add("distributed_strategy.pipeline_schedule", spelling(pipeline_kind(c)));
  add("distributed_strategy.pipeline_layers", d.pipeline_layers);
  add("distributed_strategy.zero1", yes(d.zero1));
  add("data.micro_batch_size", std::to_string(c.data.micro_batch_size));
  auto const& recompute = c.model.activations_checkpoint_granularity;
  add("model.activations_checkpoint_granularity", !recompute                        ? "null"
                                                  : *recompute == Granularity::full ? "full"
                                                                                    : "selective");
  return out;
}

/// Why layouts were rejected, and how many for each reason; the numbers of each are left out of it.
inline std::map<std::string, std::int64_t> reasons_of(std::vector<Candidate> const& all) {
  std::map<std::string, std::int64_t> reasons;
  for (auto const& c : all)
    if (c.rejected.starts_with("needs "))
      ++reasons["needs more memory"];
    else if (!c.rejected.empty())
      ++reasons[c.rejected.substr(0, c.rejected.find(" ("))];
  return reasons;
}

inline std::string search_text(std::vector<Candidate> const& all,
                               std::vector<Candidate> const& best, std::int64_t ranks,
                               Machine const& machine) {
  std::int64_t legal = 0;
  for (auto const& c : all) legal += c.rejected.empty() ? 1 : 0;
  auto out = std::to_string(all.size()) + " layouts looked at, " + std::to_string(legal) +
             (best.empty() ? " fit\n"
                           : " fit; none is both faster and smaller than one of these  (" +
                                 machine.source + ")\n");
  std::vector<std::vector<std::string>> table{
      {"DP", "TP", "PP", "ZeRO-1", "recompute", "microbatch", "seconds", "tokens/s", "MiB a rank"}};
  for (auto const& c : best) {
    auto cells = layout_cells(c.config, ranks);
    auto const tokens = c.config.data.global_batch_size * sequence_length(c.config);
    cells.push_back(formatted("%.4g", c.seconds));
    cells.push_back(in_thousands(static_cast<double>(tokens) / c.seconds));
    cells.push_back(mebibytes(c.memory));
    table.push_back(std::move(cells));
  }
  if (!best.empty())
    out += indented(table) + "the fastest: " + overrides_of(best.front().config) + "\n";
  if (legal < std::ssize(all)) out += "rejected\n";
  for (auto const& [reason, count] : reasons_of(all))
    out += formatted("%8.0f  ", static_cast<double>(count)) + reason + "\n";
  return out;
}

inline std::string search_json(std::vector<Candidate> const& all,
                               std::vector<Candidate> const& best, std::int64_t ranks,
                               Machine const& machine) {
  auto const layout = [&](Candidate const& c) {
    auto const& d = c.config.distributed_strategy;
    Json::Object o{{"dp", ranks / (d.tensor_model_parallel_size * d.pipeline_model_parallel_size)},
                   {"tp", d.tensor_model_parallel_size},
                   {"pp", d.pipeline_model_parallel_size},
                   {"schedule", spelling(pipeline_kind(c.config))},
                   {"chunks", pipeline_chunks(c.config)},
                   {"overrides", overrides_of(c.config)}};
    if (c.rejected.empty())
      o["seconds"] = c.seconds, o["bytes"] = c.memory;
    else
      o["rejected"] = c.rejected;
    return Json(std::move(o));
  };
  Json::Array fronts, rejected;
  for (auto const& c : best) fronts.push_back(layout(c));
  for (auto const& c : all)
    if (!c.rejected.empty()) rejected.push_back(layout(c));
  return to_text(Json(Json::Object{{"looked_at", static_cast<std::int64_t>(all.size())},
                                   {"pareto", fronts},
                                   {"rejected", rejected},
                                   {"machine", machine.source}})) +
         "\n";
}

}  // namespace nxd::detail
