// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nxd/checkpoint/retention.hpp>

namespace nxd {

/// What a folder of a directory of checkpoints is.
enum class EntryState : std::uint8_t {
  sound,       ///< its manifest is whole, and its files have their sizes
  broken,      ///< something is missing, or not what it claims to be
  deadly,      ///< jobs have died while they loaded it: a run tries an older one
  foreign,     ///< a checkpoint of another run: neither resumed from nor removed
  sick,        ///< was saved from a state that is not finite, and kept apart
  put_aside,   ///< was found broken by a run that wanted to resume from it
  unfinished,  ///< a save or an export that is under way, or whose job has died
  trash,       ///< is being removed
};

/// The word for it.
constexpr char const* name(EntryState state) {
  constexpr char const* words[] = {"sound",      "broken",    "deadly",     "foreign",
                                   "not finite", "put aside", "unfinished", "trash"};
  return words[static_cast<std::size_t>(state)];
}

/// What can be said of an entry without reading its tensors.
struct EntryFacts {
  std::string name;
  EntryState state = EntryState::sound;
  std::string reason;                ///< why it is broken
  std::optional<Manifest> manifest;  ///< of one that is not broken
  std::int64_t bytes = 0;            ///< of all its files
  std::int64_t modified = 0;         ///< seconds; when it was saved
  bool newest = false;               ///< a run would resume from it
  bool pinned = false;               ///< is never removed
};

namespace detail {

inline std::int64_t total_bytes(Manifest const& manifest) {
  std::int64_t sum = 0;
  for (auto const& file : manifest.files) sum += file.size;
  return sum;
}

/// What the name of a folder says it is; nothing if it is none of ours.
inline std::optional<EntryState> state_named(std::string const& name) {
  if (entry_from(name)) return EntryState::sound;
  if (name.starts_with(".diag-step-")) return EntryState::sick;
  if (name.starts_with(".bad-step-")) return EntryState::put_aside;
  if (name.starts_with(".tmp-")) return EntryState::unfinished;
  if (name.starts_with(".trash-")) return EntryState::trash;
  return {};
}

template <Storage S> void look_at(S& storage, EntryFacts& facts) {
  try {
    if (facts.state == EntryState::put_aside) {
      facts.reason = read_text(storage, facts.name + "/REASON.txt", 1 << 16);
      while (facts.reason.ends_with('\n')) facts.reason.pop_back();
      return;
    }
    if (facts.state != EntryState::sound && facts.state != EntryState::sick) return;
    auto const where = storage.where(facts.name + "/" + manifest_name);
    facts.manifest = parse_manifest(read_manifest(storage, facts.name), where);
    facts.bytes = total_bytes(*facts.manifest);
    if (facts.modified == 0)  // a bucket has no folders, and no times of them
      for (auto const& found : storage.list(facts.name))
        if (found.name == manifest_name) facts.modified = found.modified;
    if (!is_own(storage, *facts.manifest)) facts.state = EntryState::foreign;
    if (facts.state == EntryState::sound && attempts(storage, facts.name) >= most_attempts) {
      facts.state = EntryState::deadly;
      facts.reason = storage.where(facts.name) + ": " + std::to_string(most_attempts) +
                     " jobs have died while they loaded it";
    }
  } catch (Error const& reason) {
    if (facts.state != EntryState::put_aside) facts.state = EntryState::broken;
    facts.reason = reason.what();
  }
}

}  // namespace detail

/// All that is in a directory of checkpoints: entries by generation, the newest first, and then
/// what is none. Cost: the manifests. @throws IoError if there is no such directory
template <Storage S> std::vector<EntryFacts> survey(S& storage) {
  auto const pinned = pinned_entries(storage);
  std::vector<EntryFacts> all;
  for (auto const& found : storage.list("")) {
    auto const state = detail::state_named(found.name);
    if (!state || !found.is_directory) continue;
    auto& facts = all.emplace_back();
    facts.name = found.name;
    facts.state = *state;
    facts.modified = found.modified;
    facts.pinned = std::ranges::find(pinned, found.name) != pinned.end();
    detail::look_at(storage, facts);
  }
  std::ranges::stable_sort(all, std::ranges::greater{}, [](EntryFacts const& facts) {
    auto const named = entry_from(facts.name);
    return named ? named->generation : -1;
  });
  for (auto& facts : all)
    if (facts.state == EntryState::sound) {
      facts.newest = true;
      break;
    }
  return all;
}

}  // namespace nxd
