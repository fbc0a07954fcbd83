// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/verify.hpp>

namespace nxd {

/// What must hold for a checkpoint to count as one that stays, so that others may go.
enum class Trust : std::uint8_t {
  sizes,  ///< its manifest is whole, and its files have their sizes
  bytes,  ///< all of it was read, and is what was written
};

/// Which checkpoints of a run stay.
struct Retention {
  std::int64_t newest = -1;           ///< so many; -1: all
  std::int64_t every = 0;             ///< and those whose step is a multiple; 0: no others
  std::vector<std::string> pinned{};  ///< and these: what a run was resumed from
  Trust trust = Trust::sizes;
};

/// The ending of the file beside an entry that keeps it: "step-000000001000.g000017.pin".
inline constexpr char const* pin_ending = ".pin";

/// The entries that somebody has pinned, by a file of their name and `pin_ending` beside them.
template <Storage S> std::vector<std::string> pinned_entries(S& storage) {
  std::vector<std::string> pinned;
  std::string_view const ending = pin_ending;
  for (auto const& found : storage.list(""))
    if (found.name.ends_with(ending))
      pinned.push_back(found.name.substr(0, found.name.size() - ending.size()));
  return pinned;
}

namespace detail {

/// Takes an entry out of sight, all at once, and then removes it.
template <Storage S> void discard(S& storage, std::string const& entry) {
  auto const trash = ".trash-" + entry;
  storage.rename(entry, trash);
  storage.sync_directory("");
  try {
    storage.remove(trash);
  } catch (NotThere const&) {  // another job was faster
  }
}

}  // namespace detail

/// The checkpoints of this run that need not stay, the newest first. The newest that can be trusted
/// always stays; so do pinned ones, and those that cannot be read or are not finite, for somebody
/// to look at, and they push out none. Cost: the manifests; with `Trust::bytes` a read of what
/// stays.
template <Storage S> std::vector<std::string> dispensable(S& storage, Retention const& keep) {
  std::vector<std::string> removed;
  if (keep.newest < 0) return removed;
  auto pinned = pinned_entries(storage);
  pinned.insert(pinned.end(), keep.pinned.begin(), keep.pinned.end());
  auto const wanted = std::max<std::int64_t>(keep.newest, 1);
  std::int64_t counted = 0;
  for (auto const& entry : entries(storage)) {
    try {
      auto const manifest = parse_manifest(detail::read_manifest(storage, entry), entry);
      if (!detail::is_own(storage, manifest) || !manifest.info.health.finite) continue;
      if (counted < wanted) {
        if (keep.trust == Trust::bytes) verify(storage, entry);
        ++counted;
        continue;
      }
      if ((keep.every > 0 && manifest.step % keep.every == 0) ||
          std::ranges::find(pinned, entry) != pinned.end())
        continue;
    } catch (CorruptInput const&) {
      continue;
    }
    removed.push_back(entry);
  }
  return removed;
}

/// Removes them. Called on one rank, after a save. @return what was removed, the newest first
/// @throws IoError
template <Storage S> std::vector<std::string> prune(S& storage, Retention const& keep) {
  auto removed = dispensable(storage, keep);
  for (auto const& entry : removed) detail::discard(storage, entry);
  return removed;
}

}  // namespace nxd
