// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nxd/checkpoint/json.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/core/table.hpp>
#include <nxd/pipeline/grid.hpp>
#include <nxd/plan/step_plan.hpp>
#include <nxd/train/progress.hpp>

namespace nxd {

namespace detail {

inline std::string mebibytes(std::int64_t bytes) {
  return formatted("%.1f", static_cast<double>(bytes) / (1 << 20));
}

/// A table of numbers below its heading.
inline std::string indented(std::vector<std::vector<std::string>> rows) {
  for (auto& row : rows) row.front().insert(0, "  ");
  return table_text(rows, Align::right);
}

inline std::string ranks_text(StepPlan const& plan, std::size_t place) {
  auto const n = plan.ranks_of_place(), first = static_cast<std::int64_t>(place) * n;
  return n == 1 ? std::to_string(first)
                : std::to_string(first) + "-" + std::to_string(first + n - 1);
}

inline std::string line_text(Sort const& sort) {
  auto const name = spelling(sort.exchange);
  if (sort.exchange == Exchange::send || sort.exchange == Exchange::receive)
    return name + " over " + std::to_string(sort.stride);
  return name + " of " + std::to_string(sort.count) +
         (sort.stride > 1 ? ", every " + std::to_string(sort.stride) : "");
}

inline Json bill_json(MemoryBill const& bill) {
  Json::Object uses;
  for (std::size_t i = 0; i < bill.bytes.size(); ++i)
    uses[std::string(names_of(MemoryUse{})[i])] = bill.bytes[i];
  uses["total"] = bill.total();
  return uses;
}

inline Json rank_json(RankPlan const& r) {
  Json::Array exchanges;
  for (auto const& [sort, t] : r.cost.traffic)
    exchanges.push_back(Json::Object{{"exchange", spelling(sort.exchange)},
                                     {"stride", sort.stride},
                                     {"ranks", sort.count},
                                     {"calls", t.calls},
                                     {"messages", t.messages},
                                     {"bytes", t.bytes}});
  double busy = 0;
  for (auto const s : r.seconds) busy += s;
  return Json::Object{{"rank", r.rank},
                      {"layers", r.layers},
                      {"peak_bytes", bill_json(r.cost.peak)},
                      {"bytes_between_steps", bill_json(r.cost.before)},
                      {"activations_per_microbatch", r.kept_per_microbatch},
                      {"forward_flops", r.forward_flops},
                      {"backward_flops", r.cost.flops - r.forward_flops},
                      {"sent_bytes", r.cost.sent().bytes},
                      {"exchanges", exchanges},
                      {"compute_seconds", busy},
                      {"optimizer_seconds", r.optimizer_seconds}};
}

/// What the ranks of a pipeline do, where that has room on a screen.
inline std::string pipeline_text(Schedule const& s) {
  if (s.ranks() > 16 || s.microbatches * s.chunks > 16)
    return "pipeline  of " + std::to_string(s.ranks()) + " ranks and " +
           std::to_string(s.microbatches) + " microbatches: nxd schedule draws it\n";
  return "pipeline, if all passes took as long\n" + grid_text(s, verify(s));
}

}  // namespace detail

/// A plan in words and tables. @param title what is planned, in one line
inline std::string plan_text(StepPlan const& plan, Machine const& machine,
                             std::string const& title) {
  using detail::formatted, detail::mebibytes;
  auto out = title + "\n";
  out += "step     " + formatted("%.4g s, ", plan.seconds) +
         detail::in_thousands(static_cast<double>(plan.tokens) / plan.seconds) + " tokens/s, MFU " +
         formatted("%.1f %%", 100 * plan.mfu);
  if (plan.places.size() > 1) out += formatted(", bubble %.1f %%", 100 * plan.timeline.bubble());
  out += "  (" + machine.source + ")\nmemory   of a rank at its peak, MiB\n";
  std::vector<std::vector<std::string>> memory{{"ranks", "layers", "parameters", "gradients",
                                                "optimizer", "activations", "messages", "snapshot",
                                                "total", "a microbatch keeps"}};
  for (std::size_t i = 0; i < plan.places.size(); ++i) {
    auto const& r = plan.places[i];
    std::vector<std::string> cells{detail::ranks_text(plan, i), std::to_string(r.layers)};
    for (auto const bytes : r.cost.peak.bytes) cells.push_back(mebibytes(bytes));
    cells.push_back(mebibytes(r.cost.peak.total()));
    cells.push_back(mebibytes(r.kept_per_microbatch));
    memory.push_back(std::move(cells));
  }
  out += detail::indented(memory) + "work     of a rank in a step, GFLOP\n";
  std::vector<std::vector<std::string>> work{
      {"ranks", "forward", "backward", "seconds", "optimizer"}};
  for (std::size_t i = 0; i < plan.places.size(); ++i) {
    auto const& r = plan.places[i];
    double busy = 0;
    for (auto const s : r.seconds) busy += s;
    work.push_back({detail::ranks_text(plan, i),
                    formatted("%.4g", static_cast<double>(r.forward_flops) / 1e9),
                    formatted("%.4g", static_cast<double>(r.cost.flops - r.forward_flops) / 1e9),
                    formatted("%.4g", busy), formatted("%.3g", r.optimizer_seconds)});
  }
  out += detail::indented(work) + "traffic  of a rank in a step\n";
  std::vector<std::vector<std::string>> traffic{
      {"ranks", "exchange", "calls", "messages", "MiB sent"}};
  for (std::size_t i = 0; i < plan.places.size(); ++i)
    for (auto const& [sort, t] : plan.places[i].cost.traffic)
      if (sort.count > 1 && t.bytes > 0)
        traffic.push_back({detail::ranks_text(plan, i), detail::line_text(sort),
                           std::to_string(t.calls), std::to_string(t.messages),
                           formatted("%.3f", static_cast<double>(t.bytes) / (1 << 20))});
  out += plan.ranks > 1 ? detail::indented(traffic) : "  none: there is one rank\n";
  return plan.places.size() > 1 ? out + detail::pipeline_text(plan.schedule) : out;
}

/// A plan as JSON: bytes, FLOPs and seconds as they are.
inline std::string plan_json(StepPlan const& plan, Machine const& machine) {
  Json::Array ranks, grid;
  for (std::size_t place = 0; place < plan.places.size(); ++place) {
    ranks.push_back(detail::rank_json(plan.places[place]));
    Json::Array actions;
    for (auto const& a : plan.schedule.actions[place]) actions.push_back(text(a));
    grid.push_back(std::move(actions));
  }
  return to_text(Json(Json::Object{{"ranks", plan.ranks},
                                   {"ranks_of_a_place", plan.ranks_of_place()},
                                   {"places", ranks},
                                   {"pipeline", grid},
                                   {"bubble", plan.timeline.bubble()},
                                   {"tokens", plan.tokens},
                                   {"seconds", plan.seconds},
                                   {"mfu", plan.mfu},
                                   {"model_flops", plan.model_flops()},
                                   {"machine", machine.source}})) +
         "\n";
}

}  // namespace nxd
