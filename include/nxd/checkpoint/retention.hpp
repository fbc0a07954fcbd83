// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <nxd/checkpoint/load.hpp>
#include <string>
#include <vector>

namespace nxd {

/// Which checkpoints of a run stay.
struct Retention {
  std::int64_t newest = -1;           ///< so many; -1: all
  std::int64_t every = 0;             ///< and those whose step is a multiple; 0: no others
  std::vector<std::string> pinned{};  ///< and these: what a run was resumed from
};

namespace detail {

/// Takes an entry out of sight, all at once, and then removes it.
template <Storage S> void discard(S& storage, std::string const& entry) {
  auto const trash = ".trash-" + entry;
  storage.rename(entry, trash);
  storage.sync_directory("");
  storage.remove(trash);
}

}  // namespace detail

/// Removes the checkpoints of this run that need not stay. The newest always does, and so do those
/// that cannot be read, for somebody to look at. Saves that are not finite are kept apart, and so
/// push out none. Called on one rank, after a save. @return what was removed, the newest first
/// @throws IoError
template <Storage S> std::vector<std::string> prune(S& storage, Retention const& keep) {
  std::vector<std::string> removed;
  if (keep.newest < 0) return removed;
  std::int64_t counted = 0;
  for (auto const& entry : entries(storage)) {
    try {
      auto const manifest = parse_manifest(detail::read_manifest(storage, entry), entry);
      if (!detail::is_own(storage, manifest)) continue;
      bool const kept = counted++ < std::max<std::int64_t>(keep.newest, 1) ||
                        (keep.every > 0 && manifest.step % keep.every == 0) ||
                        std::ranges::find(keep.pinned, entry) != keep.pinned.end();
      if (kept) continue;
    } catch (CorruptInput const&) {
      continue;
    }
    detail::discard(storage, entry);
    removed.push_back(entry);
  }
  return removed;
}

}  // namespace nxd
