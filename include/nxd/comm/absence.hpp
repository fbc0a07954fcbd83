// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nxd/comm/attendance.hpp>

namespace nxd {

/// What is known of a rank from outside, at a time when nothing moves.
struct Presence {
  enum class State : std::uint8_t {
    unknown,  ///< of another node that has not told
    running,
    stopped,  ///< there, but not even its watchdog runs
    gone,
  };

  std::int64_t rank = 0;
  State state = State::unknown;
  bool inside = false;  ///< it waits in `present`
  Attended present;
  std::string at;  ///< "step 12, F3"
  std::vector<Attended> past;

  /// It waits for the ranks of a line, and not for one message.
  bool meets() const { return inside && !is_message(present.what().exchange); }
};

/// Who keeps the others waiting, and what to say of it.
struct Absence {
  std::set<std::int64_t> guilty;  ///< empty where it cannot be told
  std::string sentence;
};

namespace detail {

inline std::vector<std::int64_t> awaited_by(Presence const& p) {
  if (!p.inside) return {};
  auto const line = p.present.line();
  if (is_message(p.present.what().exchange)) return {line.rank(1 - line.place)};
  std::vector<std::int64_t> ranks;
  for (std::int64_t i = 0; i < line.count; ++i) ranks.push_back(line.rank(i));
  return ranks;
}

/// The exchanges of a line that a rank remembers, by their number.
inline std::map<std::int32_t, Attended> on_line(Presence const& p, Attended const& line) {
  std::map<std::int32_t, Attended> all;
  for (auto const& a : p.past)
    if (a.same_line(line) && a.nth > 0) all[a.nth] = a;
  return all;
}

/// The rank has come to `a`, and may have gone on.
inline bool has_come(Presence const& p, Attended const& a) {
  std::int32_t last = p.inside && p.present.same_line(a) ? p.present.nth : 0;
  for (auto const& own : p.past)
    if (own.same_line(a) && own.nth > 0) last = own.nth;
  return last >= a.nth;
}

/// Among `ranks`, those that `p` waits for.
inline std::vector<std::int64_t> missing_for(Presence const& p,
                                             std::vector<Presence> const& ranks) {
  auto missing = awaited_by(p);
  if (p.meets())
    std::erase_if(missing, [&](std::int64_t r) {
      auto const at = std::ranges::find(ranks, r, &Presence::rank);
      return at != ranks.end() && has_come(*at, p.present);
    });
  return missing;
}

inline std::string described(Presence const& p) {
  auto text = "rank " + std::to_string(p.rank);
  switch (p.state) {
    case Presence::State::unknown: return text + " does not answer";
    case Presence::State::gone: return text + " is gone; it was at " + p.at;
    case Presence::State::stopped: text += " is stopped at " + p.at; break;
    case Presence::State::running: text += " is at " + p.at; break;
  }
  return text + (p.inside ? ", in " + nxd::text(p.present.what()) : ", in no exchange");
}

/// "F3: all_reduce of ..."
inline std::string described(Attended const& a) {
  auto const at = std::string(a.at.data());
  return nxd::text(a.what()) + (at.empty() ? "" : " at " + at);
}

/// Those that wait for themselves, over others: each keeps the next one waiting.
inline std::set<std::int64_t> in_circles(std::vector<Presence> const& ranks) {
  std::map<std::int64_t, std::vector<std::int64_t>> missing;
  for (auto const& p : ranks) missing[p.rank] = missing_for(p, ranks);
  std::set<std::int64_t> circles;
  for (auto const& p : ranks) {
    std::set<std::int64_t> seen;
    auto next = missing[p.rank];
    while (!next.empty()) {
      auto const r = next.back();
      next.pop_back();
      if (seen.insert(r).second) next.insert(next.end(), missing[r].begin(), missing[r].end());
    }
    if (seen.contains(p.rank)) circles.insert(p.rank);
  }
  return circles;
}

}  // namespace detail

/// Where ranks of one line have not come to the same exchanges: the first number at which they
/// differ, and those that are not with the most of them; of two, both. Nothing where all agree as
/// far as they remember.
inline std::optional<Absence> find_difference(std::vector<Presence> const& ranks) {
  std::vector<Attended> lines;
  for (auto const& p : ranks)
    for (auto const& a : p.past)
      if (a.nth > 0 && std::ranges::none_of(lines, [&](auto const& l) { return l.same_line(a); }))
        lines.push_back(a);
  for (auto const& line : lines) {
    std::map<std::int64_t, std::map<std::int32_t, Attended>> came;
    std::int32_t first = INT32_MAX, last = 0;
    for (auto const& p : ranks)
      if (auto found = detail::on_line(p, line); !found.empty()) {
        first = std::min(first, found.begin()->first);
        last = std::max(last, found.rbegin()->first);
        came[p.rank] = std::move(found);
      }
    for (auto nth = first; nth <= last; ++nth) {
      std::map<std::uint64_t, std::vector<std::int64_t>> who;
      for (auto const& [rank, all] : came)
        if (auto const a = all.find(nth); a != all.end()) who[a->second.hash].push_back(rank);
      if (who.size() < 2) continue;
      auto const most =
          std::ranges::max_element(who, {}, [](auto const& group) { return group.second.size(); });
      bool const clear = std::ranges::count_if(who, [&](auto const& group) {
                           return group.second.size() == most->second.size();
                         }) == 1;
      Absence found;
      std::string deeds;
      for (auto const& [hash, members] : who) {
        if (!clear || hash != most->first) found.guilty.insert(members.begin(), members.end());
        auto const rank = members.front();
        deeds += (deeds.empty() ? "rank " : ", rank ") + std::to_string(rank) + " comes to " +
                 detail::described(came.at(rank).at(nth));
      }
      for (auto const rank : found.guilty)
        found.sentence += (found.sentence.empty() ? "rank " : ", rank ") + std::to_string(rank);
      found.sentence += (found.guilty.size() > 1 ? " do not do" : " does not do") +
                        std::string(clear ? " what the others do: " : " the same: ") + deeds;
      return found;
    }
  }
  return {};
}

/// Why nothing moves. First come ranks that are gone or stopped, then those that have come to
/// another exchange than their peers, then those that others wait for and that wait for nobody,
/// though they may be inside an exchange to which all have come, then those that wait for each
/// other.
inline Absence find_absence(std::vector<Presence> const& ranks) {
  Absence found;
  auto const accuse = [&](Presence const& p) {
    if (found.guilty.insert(p.rank).second)
      found.sentence += (found.sentence.empty() ? "" : "; ") + detail::described(p);
  };
  for (auto const& p : ranks)
    if (p.state == Presence::State::gone || p.state == Presence::State::stopped) accuse(p);
  if (found.guilty.empty())
    if (auto different = find_difference(ranks)) found = *std::move(different);
  std::set<std::int64_t> awaited;
  for (auto const& p : ranks)
    for (auto const r : detail::missing_for(p, ranks)) awaited.insert(r);
  if (found.guilty.empty())
    for (auto const& p : ranks)
      if (awaited.contains(p.rank) && detail::missing_for(p, ranks).empty()) accuse(p);
  if (found.guilty.empty()) {
    auto const circles = detail::in_circles(ranks);
    if (!circles.empty()) found.sentence = "ranks wait for each other";
    for (auto const& p : ranks)
      if (circles.contains(p.rank)) accuse(p);
  }
  if (found.guilty.empty())
    for (auto const& p : ranks)
      if (!p.inside) accuse(p);
  std::size_t told = 0;
  for (auto const& p : ranks)
    if (!found.guilty.contains(p.rank) && told++ < 8)
      found.sentence += (found.sentence.empty() ? "" : "; ") + detail::described(p);
  if (told > 8) found.sentence += "; and " + std::to_string(told - 8) + " more";
  return found;
}

}  // namespace nxd
