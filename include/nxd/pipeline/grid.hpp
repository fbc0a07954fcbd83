// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <charconv>
#include <cmath>

#include <nxd/pipeline/report.hpp>

namespace nxd {

enum class Colours : bool { none, ansi };

namespace detail {

inline std::string number_text(double value) {
  std::array<char, 32> buffer{};
  auto const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

/// Texts with commas between them.
template <class T, class TextOf> std::string listed(std::vector<T> const& items, TextOf text_of) {
  std::string list;
  for (auto const& item : items) list += (list.empty() ? "" : ", ") + text_of(item);
  return '[' + list + ']';
}

/// An action of a run on paper.
struct Bar {
  int rank;
  Action action;
  double start;
  double finish;

  double length() const { return finish - start; }
};

/// What the ranks did, rank by rank; of a run that got stuck, what they did before.
inline std::vector<Bar> bars(Schedule const& s, Proof const& proof) {
  std::vector<Bar> bars;
  for (int rank = 0; rank < static_cast<int>(proof.finish.size()); ++rank) {
    auto const& finish = proof.finish[rank];
    for (std::size_t i = 0; i < finish.size(); ++i) {
      auto const& a = s.actions[rank][i];
      bars.push_back({rank, a, finish[i] - proof.times.of(a.kind) / s.chunks, finish[i]});
    }
  }
  return bars;
}

/// The action without its chunk where there is but one.
inline std::string short_text(Schedule const& s, Action const& a) {
  auto const all = text(a);
  return s.chunks > 1 ? all : all.substr(0, all.find('.'));
}

inline std::string summary(Schedule const& s, Proof const& proof) {
  if (!proof) return sentence(proof) + '\n';
  auto const tenths = std::lround(1000 * proof.bubble());
  std::string text = "bubble " + std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10) +
                     " % of " + number_text(std::round(1000 * proof.makespan) / 1000);
  if (s.purpose == Purpose::evaluation) return text + '\n';
  text += "; live chunks";
  for (int const live : proof.live) text += ' ' + std::to_string(live);
  return text + '\n';
}

}  // namespace detail

/// The run of a schedule, one row a rank, one column for the time of the shortest pass; then the
/// bubble and the live chunks.
inline std::string grid_text(Schedule const& s, Proof const& proof,
                             Colours colours = Colours::none) {
  auto const bars = detail::bars(s, proof);
  std::size_t width = 0, rank_width = std::to_string(s.ranks() - 1).size();
  double unit = 0;
  for (auto const& bar : bars) {
    width = std::max(width, detail::short_text(s, bar.action).size() + 1);
    if (unit == 0 || (bar.length() > 0 && bar.length() < unit)) unit = bar.length();
  }
  auto const column = [&](double time) {
    return unit > 0 ? width * static_cast<std::size_t>(std::lround(time / unit)) : 0;
  };

  std::string grid;
  std::size_t next = 0;
  for (int rank = 0; rank < s.ranks(); ++rank) {
    auto const name = std::to_string(rank);
    grid += "rank " + std::string(rank_width - name.size(), ' ') + name + " |";
    std::size_t at = 0;
    for (; next < bars.size() && bars[next].rank == rank; ++next) {
      auto const& [r, action, start, finish] = bars[next];
      if (column(finish) == column(start)) continue;
      auto label = detail::short_text(s, action);
      grid.append(column(start) - at, ' ');
      label.resize(column(finish) - column(start) - 1, ' ');
      constexpr auto paints =
          std::to_array<char const*>({"\x1b[30;44m", "\x1b[30;42m", "\x1b[30;46m", "\x1b[30;43m"});
      auto const* paint = paints[static_cast<std::size_t>(action.kind)];
      grid += colours == Colours::ansi ? paint + label + "\x1b[0m " : label + ' ';
      at = column(finish);
    }
    while (grid.back() == ' ') grid.pop_back();
    grid += '\n';
  }
  return grid + detail::summary(s, proof);
}

/// `{"ranks": [["F0.0", "B0.0"]], "bubble": 0, "live": [1]}`: the actions of every rank in their
/// order, the bubble as a part of the makespan, the live chunks of every rank.
inline std::string grid_json(Schedule const& s, Proof const& proof) {
  auto const quoted = [](Action const& a) { return '"' + text(a) + '"'; };
  auto const rank = [&](auto const& actions) { return detail::listed(actions, quoted); };
  auto const number = [](int value) { return std::to_string(value); };
  return "{\"ranks\": " + detail::listed(s.actions, rank) +
         ", \"bubble\": " + detail::number_text(proof.bubble()) +
         ", \"live\": " + detail::listed(proof.live, number) + "}\n";
}

/// The run as a trace that Chrome and Perfetto open: a thread is a rank, and the forward pass of
/// all layers of a rank takes its time in milliseconds.
inline std::string grid_trace(Schedule const& s, Proof const& proof) {
  std::string events;
  for (int rank = 0; rank < s.ranks(); ++rank)
    events += R"({"name": "thread_name", "ph": "M", "pid": 0, "tid": )" + std::to_string(rank) +
              R"(, "args": {"name": ")" + detail::rank_text(rank) + "\"}},\n";
  for (auto const& bar : detail::bars(s, proof))
    events += R"({"name": ")" + text(bar.action) + R"(", "cat": ")" +
              std::string(name_of(bar.action.kind)) + R"(", "ph": "X", "pid": 0, "tid": )" +
              std::to_string(bar.rank) + ", \"ts\": " + detail::number_text(1000 * bar.start) +
              ", \"dur\": " + detail::number_text(1000 * bar.length()) +
              R"(, "args": {"microbatch": )" + std::to_string(bar.action.microbatch) +
              ", \"chunk\": " + std::to_string(bar.action.chunk) + "}},\n";
  if (!events.empty()) events.resize(events.size() - 2);
  return "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n" + events + "\n]}\n";
}

/// The run as a picture: one row a rank, a box an action, darker in later chunks.
inline std::string grid_svg(Schedule const& s, Proof const& proof) {
  constexpr int row = 24, left = 56, unit = 30;
  constexpr auto fills = std::to_array<char const*>({"#8fb8de", "#9fd3a5", "#8ed3d0", "#f0d58c"});
  std::string boxes;
  double end = 0;
  for (auto const& bar : detail::bars(s, proof)) {
    double const scale = unit * s.chunks, x = left + scale * bar.start;
    double const wide = scale * bar.length(), middle = x + wide / 2;
    int const y = 4 + row * bar.rank;
    end = std::max(end, x + wide);
    auto const number = detail::number_text;
    boxes += "<rect x=\"" + number(x) + "\" y=\"" + std::to_string(y) + "\" width=\"" +
             number(wide) + "\" height=\"" + std::to_string(row - 4) + "\" fill=\"" +
             fills[static_cast<std::size_t>(bar.action.kind)] + "\" stroke=\"#444\"/>";
    if (bar.action.chunk > 0)
      boxes += "<rect x=\"" + number(x) + "\" y=\"" + std::to_string(y) + "\" width=\"" +
               number(wide) + "\" height=\"" + std::to_string(row - 4) +
               "\" fill=\"#000\" fill-opacity=\"" + number(0.3 * bar.action.chunk / s.chunks) +
               "\"/>";
    boxes += "<text x=\"" + number(middle) + "\" y=\"" + std::to_string(y + 14) +
             "\" text-anchor=\"middle\">" + detail::short_text(s, bar.action) + "</text>\n";
  }
  std::string names;
  for (int rank = 0; rank < s.ranks(); ++rank)
    names += "<text x=\"4\" y=\"" + std::to_string(18 + row * rank) + "\">" +
             detail::rank_text(rank) + "</text>\n";
  auto const height = std::to_string(4 + row * (s.ranks() + 1));
  auto footer = detail::summary(s, proof);
  footer.pop_back();
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" +
         detail::number_text(std::max(end + 4, 400.0)) + "\" height=\"" + height +
         "\" font-family=\"sans-serif\" font-size=\"10\">\n" + names + boxes +
         "<text x=\"4\" y=\"" + std::to_string(18 + row * s.ranks()) + "\">" + footer +
         "</text>\n</svg>\n";
}

}  // namespace nxd
