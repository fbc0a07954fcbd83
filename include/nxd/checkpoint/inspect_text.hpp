// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <nxd/checkpoint/inspect.hpp>
#include <nxd/checkpoint/manifest_text.hpp>
#include <nxd/core/table.hpp>

namespace nxd {

namespace detail {

/// Three digits of a number and its unit: "1.23 GB".
inline std::string in_bytes(std::int64_t bytes) {
  char const* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s",
                unit == 0 || value >= 99.95 ? 0
                : value >= 9.995            ? 1
                                            : 2,
                value, units[unit]);
  return text;
}

/// How long ago, in the largest unit of which it is two or more.
inline std::string in_words(std::int64_t seconds) {
  if (seconds < 0) return "in the future";
  struct Unit {
    std::int64_t seconds;
    char const* name;
  };
  for (auto const unit : {Unit{86400, " d"}, Unit{3600, " h"}, Unit{60, " min"}})
    if (seconds >= 2 * unit.seconds) return std::to_string(seconds / unit.seconds) + unit.name;
  return std::to_string(seconds) + " s";
}

/// A measured number, short; "-" if there was nothing to measure.
inline std::string in_short(double x) {
  if (std::isnan(x)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", x);
  return text;
}

/// "dp 2, tp 2".
inline std::string layout_text(Manifest const& manifest) {
  std::string said;
  for (auto const& [axis, ranks] : manifest.info.layout)
    said += (said.empty() ? "" : ", ") + axis + " " + std::to_string(ranks);
  return said;
}

inline std::string health_text(Health const& health) {
  return "loss " + in_short(health.loss) + ", gradient norm " + in_short(health.grad_norm) +
         (health.finite ? "" : ", not finite");
}

inline Json facts_json(Manifest const& m) {
  Json::Object layout;
  for (auto const& [axis, ranks] : m.info.layout) layout[axis] = count_json(ranks);
  // What is not finite has no place in JSON.
  auto const number = [](double x) { return std::isfinite(x) ? Json(x) : Json(); };
  return Json(Json::Object{{"finite", Json(m.info.health.finite)},
                           {"loss", number(m.info.health.loss)},
                           {"grad_norm", number(m.info.health.grad_norm)},
                           {"layout", Json(std::move(layout))},
                           {"run_id", Json(m.run_id)},
                           {"save_id", Json(m.save_id)},
                           {"parent_save_id", Json(m.info.parent_save_id)},
                           {"config_hash", Json(m.info.config_hash)},
                           {"dataset_fp", Json(m.info.dataset_fp)},
                           {"tokenizer_fp", Json(m.info.tokenizer_fp)},
                           {"step", count_json(m.step)},
                           {"generation", count_json(m.generation)},
                           {"bytes", count_json(total_bytes(m))}});
}

}  // namespace detail

/// A survey as a table, and a line for each entry that is not sound. `now` in seconds.
inline std::string survey_text(std::vector<EntryFacts> const& all, std::int64_t now) {
  std::vector<std::vector<std::string>> rows{
      {"entry", "step", "loss", "grad norm", "written by", "size", "age", ""}};
  std::string remarks;
  for (auto const& facts : all) {
    std::string mark = facts.state == EntryState::sound ? "" : name(facts.state);
    if (facts.newest) mark = "newest";
    if (facts.pinned) mark += mark.empty() ? "pinned" : ", pinned";
    auto const age = detail::in_words(now - facts.modified);
    if (auto const& m = facts.manifest)
      rows.push_back({facts.name, std::to_string(m->step), detail::in_short(m->info.health.loss),
                      detail::in_short(m->info.health.grad_norm), detail::layout_text(*m),
                      detail::in_bytes(facts.bytes), age, mark});
    else
      rows.push_back({facts.name, "", "", "", "", "", age, mark});
    if (!facts.reason.empty())
      remarks += std::string(name(facts.state)) + ": " + facts.reason + "\n";
  }
  return table_text(rows, Align::left) + remarks;
}

/// The same as a JSON array.
inline std::string survey_json(std::vector<EntryFacts> const& all, std::int64_t now) {
  Json::Array array;
  for (auto const& facts : all) {
    Json::Object object;
    if (facts.manifest) object = std::get<Json::Object>(detail::facts_json(*facts.manifest).value);
    object["entry"] = Json(facts.name);
    object["state"] = Json(name(facts.state));
    object["newest"] = Json(facts.newest);
    object["pinned"] = Json(facts.pinned);
    object["age_seconds"] = Json(now - facts.modified);
    if (!facts.reason.empty()) object["reason"] = Json(facts.reason);
    array.push_back(Json(std::move(object)));
  }
  return to_text(Json(std::move(array))) + "\n";
}

/// A manifest in words: who wrote what, when, and where it lies.
inline std::string manifest_words(Manifest const& m) {
  std::int64_t elements = 0;
  for (auto const& [key, tensor] : m.tensors) elements += volume(whole(tensor.shape));
  auto const or_none = [](std::string const& text) { return text.empty() ? "none" : text; };
  std::string said = table_text(
      {{"step", std::to_string(m.step) + ", generation " + std::to_string(m.generation)},
       {"health", detail::health_text(m.info.health)},
       {"written by", or_none(detail::layout_text(m))},
       {"holds", std::to_string(m.tensors.size()) + " tensors of " + std::to_string(elements) +
                     " elements, " + detail::in_bytes(detail::total_bytes(m)) + " in " +
                     std::to_string(m.files.size()) + " files"},
       {"run", m.run_id},
       {"save", m.save_id + ", after " + or_none(m.info.parent_save_id)},
       {"made from", "configuration " + or_none(m.info.config_hash) + ", data " +
                         or_none(m.info.dataset_fp) + ", tokenizer " +
                         or_none(m.info.tokenizer_fp)}},
      Align::left);
  std::vector<std::vector<std::string>> rows{
      {"kind", "tensor", "type", "shape", "shards", "digest"}};
  for (auto const& [key, tensor] : m.tensors)
    rows.push_back({key.kind, key.name, std::string(name(tensor.dtype)), text(tensor.shape),
                    std::to_string(tensor.chunks.size()), text(tensor.digest)});
  said += "\n" + table_text(rows, Align::left);
  rows = {{"file", "bytes", "chunks", "XXH3-128"}};
  for (auto const& file : m.files)
    rows.push_back({file.name, std::to_string(file.size), std::to_string(file.crcs.size()),
                    or_none(file.xxh128)});
  return said + "\n" + table_text(rows, Align::left);
}

/// The same as a JSON object.
inline std::string manifest_json(Manifest const& m) {
  auto object = std::get<Json::Object>(detail::facts_json(m).value);
  object["tensors"] = detail::tensors_json(m);
  Json::Array files;
  for (auto const& file : m.files)
    files.push_back(Json(Json::Object{{"name", Json(file.name)},
                                      {"size", count_json(file.size)},
                                      {"xxh128", Json(file.xxh128)}}));
  object["files"] = Json(std::move(files));
  return to_text(Json(std::move(object))) + "\n";
}

}  // namespace nxd
