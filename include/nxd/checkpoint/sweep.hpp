// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/checkpoint/storage.hpp>

namespace nxd {

/// How long nothing may change in a save that is under way.
inline constexpr std::int64_t stale_after = 3600;

namespace detail {

/// When something in a folder, or a file, was last changed; nothing if the storage does not tell.
template <Storage S>
std::optional<std::int64_t> last_change(S& storage, std::string const& parent,
                                        DirectoryEntry const& found) {
  if (found.modified == 0) return {};
  auto newest = found.modified;
  auto const path = parent.empty() ? found.name : parent + "/" + found.name;
  if (found.is_directory)
    for (auto const& inner : storage.list(path)) {
      auto const change = last_change(storage, path, inner);
      if (!change) return {};
      newest = std::max(newest, *change);
    }
  return newest;
}

}  // namespace detail

/// The time by the clock of the storage, in seconds: that of a file made now.
template <Storage S> std::int64_t clock_of(S& storage, std::string const& unique) {
  auto const probe = ".tmp-clock-" + unique;
  storage.create(probe).close();
  std::int64_t now = 0;
  for (auto const& found : storage.list(""))
    if (found.name == probe) now = found.modified;
  storage.remove(probe);
  return now;
}

/// What jobs that died have left in a directory of checkpoints, and no running job can need:
/// `.trash-...` of removals, which nobody reads; and `.tmp-...` of saves in which nothing has
/// changed for an hour (`stale_after`) by the storage's own clock, which says `now`. A save writes
/// all the time; one that was stopped for so long fails when it goes on, and the next one succeeds.
template <Storage S> std::vector<std::string> left_behind(S& storage, std::int64_t now) {
  std::vector<std::string> left, drafts;
  for (auto const& found : storage.list("")) {
    if (found.name.starts_with(".trash-")) left.push_back(found.name);
    if (!found.name.starts_with(".tmp-")) continue;
    auto const change = detail::last_change(storage, "", found);
    if (change && now - *change > stale_after) drafts.push_back(found.name);
  }
  left.insert(left.end(), drafts.begin(), drafts.end());  // whose names as trash are free by then
  return left;
}

namespace detail {

/// Takes what is left of a save out of its way, at once: should it go on after all, because a clock
/// has jumped, it fails when it becomes visible, and is whole if it has been faster.
template <Storage S> std::string out_of_the_way(S& storage, std::string const& name) {
  constexpr std::string_view draft = ".tmp-";
  if (!name.starts_with(draft)) return name;
  auto trash = ".trash-" + name.substr(draft.size());
  storage.rename(name, trash);
  return trash;
}

}  // namespace detail

/// Removes it. @return what was removed
template <Storage S> std::vector<std::string> sweep(S& storage, std::int64_t now) {
  std::vector<std::string> swept;
  for (auto const& name : left_behind(storage, now)) try {
      storage.remove(detail::out_of_the_way(storage, name));
      swept.push_back(name);
    } catch (IoError const&) {  // another job was faster, or it stays
    }
  return swept;
}

}  // namespace nxd
