// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/checkpoint/json.hpp>
#include <nxd/core/trace.hpp>

namespace nxd {

/// What the events of a run are called, in the column that Perfetto calls category. A step has all
/// the others within it; exchanges and waits are within what they are for.
inline constexpr auto trace_categories = std::to_array<std::string_view>(
    {"forward", "backward", "input gradient", "weight gradient", "optimizer", "exchange", "wait",
     "step", "data", "validation", "save", "beside"});

/// What a trace is of: numbers and choices of the run by their names.
using TraceFacts = std::map<std::string, std::string>;

/// What one rank did, or will do.
struct RankTrace {
  std::int64_t rank = 0;
  std::string name;  ///< as Perfetto shows it
  std::vector<Trace::Event> events;
  TraceFacts facts{};
};

/// Events from the first to the last, an outer one before those that it has within it.
inline std::vector<Trace::Event> in_order(std::vector<Trace::Event> events) {
  std::ranges::reverse(events);  // they come in the order in which they ended: the outer one last
  std::ranges::stable_sort(events, [](auto const& a, auto const& b) {
    return a.start < b.start || (a.start == b.start && a.finish > b.finish);
  });
  return events;
}

/// Calls `visit(event, around)` for events in order; `around` are those that it is within, the
/// outermost first. @return the first event that begins in another one and ends after it, or
/// nullptr
template <class Visit>
Trace::Event const* walk(std::vector<Trace::Event> const& events, Visit const& visit) {
  std::vector<Trace::Event const*> around;
  for (auto const& event : events) {
    auto const over = [&](Trace::Event const& e) {
      return e.finish < event.start || (e.finish == event.start && event.finish > event.start);
    };
    while (!around.empty() && over(*around.back())) around.pop_back();
    if (!around.empty() && event.finish > around.back()->finish) return &event;
    visit(event, std::span<Trace::Event const* const>(around));
    around.push_back(&event);
  }
  return nullptr;
}

namespace detail {

/// Chrome counts in microseconds. Nanoseconds are whole numbers here, so that events that touch or
/// nest do so in the text.
inline std::string microseconds(double nanoseconds) {
  std::array<char, 64> buffer{};
  auto const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), nanoseconds / 1000,
                                 std::chars_format::fixed, 3);
  return {buffer.data(), end.ptr};
}

inline std::string json_text(std::string_view text) {
  std::string out;
  add_quoted(out, text);
  return out;
}

inline std::string event_text(Trace::Event const& e, std::string const& rank, double origin) {
  auto const start = std::round(1e9 * (e.start - origin));
  auto const finish = std::round(1e9 * (e.finish - origin));
  return R"({"name": )" + json_text(e.name) + R"(, "cat": )" + json_text(e.category) +
         R"(, "ph": "X", "pid": )" + rank + R"(, "tid": 0, "ts": )" + microseconds(start) +
         R"(, "dur": )" + microseconds(finish - start) +
         (e.bytes > 0 ? R"(, "args": {"bytes": )" + std::to_string(e.bytes) + "}" : "") + "}";
}

}  // namespace detail

/// Traces as Chrome and Perfetto open them: a rank is a process. Files of ranks can be opened
/// together.
/// @param origin what the clock of the trace shows at the beginning of the picture
inline std::string trace_text(std::span<RankTrace const> traces, TraceFacts const& facts,
                              double origin = 0) {
  std::string about, events;
  for (auto const& [name, value] : facts)
    about +=
        (about.empty() ? "" : ", ") + detail::json_text(name) + ": " + detail::json_text(value);
  for (auto const& trace : traces) {
    auto const rank = std::to_string(trace.rank);
    auto const note = [&](std::string const& what, std::string const& value) {
      events += (events.empty() ? "" : ",\n") + (R"({"name": ")" + what) +
                R"(", "ph": "M", "pid": )" + rank + R"(, "tid": 0, "args": {)" + value + "}}";
    };
    note("process_name", R"("name": )" + detail::json_text(trace.name));
    note("process_sort_index", R"("sort_index": )" + rank);
    for (auto const& event : in_order(trace.events))
      events += ",\n" + detail::event_text(event, rank, origin);
  }
  return "{\"displayTimeUnit\": \"ms\", \"otherData\": {" + about + "},\n\"traceEvents\": [\n" +
         events + "\n]}\n";
}

/// Reads what `trace_text` has written of one rank; `file` stands for it in sentences.
/// @throws CorruptInput if it is torn, or another kind of trace
inline RankTrace parse_trace(std::string const& text, std::string const& file) {
  if (text.empty())
    throw CorruptInput(file + ": is empty; the run has not come to the end of its traced steps");
  auto const root = parse_json(text, file);
  JsonView const json(root, file);
  RankTrace trace;
  auto const facts = json["otherData"];
  for (auto const& [name, value] : facts.object()) trace.facts[name] = facts[name].string();
  auto const all = json["traceEvents"];
  auto const& elements = all.array();
  for (std::size_t i = 0; i < elements.size(); ++i) {
    JsonView const event(elements[i], all.where() + ": " + std::to_string(i));
    auto const rank = event["pid"].count();
    if (i == 0) trace.rank = rank;
    if (rank != trace.rank) event["pid"].refuse(std::to_string(trace.rank) + ", as the others are");
    auto const name = event["name"].string();
    if (event["ph"].string() == "M") {
      if (name == "process_name") trace.name = event["args"]["name"].string();
      continue;
    }
    if (event["ph"].string() != "X") event["ph"].refuse("\"X\" or \"M\"");
    auto const* const category = std::ranges::find(trace_categories, event["cat"].string());
    if (category == trace_categories.end()) event["cat"].refuse("a category that runs have");
    auto const start = std::round(1e3 * event["ts"].number());
    auto const length = std::round(1e3 * event["dur"].number());
    if (!(length >= 0)) event["dur"].refuse("a number that is not negative");
    if (!std::isfinite(start + length)) event["ts"].refuse("a time of a run");
    trace.events.push_back({*category, name, start / 1e9, (start + length) / 1e9,
                            event.has("args") ? event["args"]["bytes"].count() : 0});
  }
  // An outer event stands before what it has within it; `in_order` wants it after that.
  std::ranges::reverse(trace.events);
  trace.events = in_order(std::move(trace.events));
  if (auto const* const wrong = walk(trace.events, [](auto const&, auto) {}))
    throw CorruptInput(file + ": " + wrong->name + " at " + std::to_string(wrong->start) +
                       " s begins in another event and ends after it");
  return trace;
}

}  // namespace nxd
