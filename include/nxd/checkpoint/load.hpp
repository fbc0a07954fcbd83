// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nxd/checkpoint/agree.hpp>
#include <nxd/checkpoint/attempts.hpp>
#include <nxd/checkpoint/fill.hpp>
#include <nxd/checkpoint/sweep.hpp>
#include <nxd/checkpoint/turns.hpp>

namespace nxd {

/// What is compared after loading; the CRC of each byte read is compared always.
enum class Verify : std::uint8_t {
  crcs,
  digests,  ///< also the elements that have arrived, with those that were saved
};

/// What to do with a directory in which runs have saved and nothing can be loaded.
enum class FreshStart : std::uint8_t { refused, allowed };

/// Who reads what several ranks need.
enum class Reading : std::uint8_t {
  each,    ///< each of them
  shared,  ///< one of them, each in its turn, and sends it to the others
};

/// How to load.
struct LoadOptions {
  Verify verify = Verify::digests;
  FreshStart fresh_start = FreshStart::refused;
  /// With files not visible yet, in all. `resume` does not wait for what is missing in an entry
  /// that has not changed for so long: that is not late.
  Patience patience = std::chrono::seconds(60);
  Reading reading = Reading::shared;
};

/// What was loaded, besides the pieces.
struct Loaded {
  std::string entry;
  Manifest manifest;
  std::string state;                  ///< the JSON text that was saved
  std::int64_t tensors_compared = 0;  ///< by digest
  std::vector<std::string> skipped;   ///< newer entries that could not be loaded, and why
};

namespace detail {

template <Communicator C, Storage S>
Loaded load_entry(C& comm, S& storage, std::string const& entry, std::string const& manifest,
                  std::vector<Piece> const& pieces, LoadOptions const& options) {
  Loaded loaded{entry, {}, {}, 0, {}};
  auto const where = storage.where(entry);
  auto const turns =
      options.reading == nxd::Reading::shared ? share_reading(comm, pieces) : Turns(pieces.size());
  std::string mine;
  together(comm, [&] {
    loaded.manifest = parse_manifest(manifest, storage.where(entry + "/" + manifest_name));
    fill(storage, entry, loaded.manifest, read_here(pieces, turns), options.patience);
  });
  exchange_read(comm, pieces, turns);
  together(comm, [&] {
    if (options.verify == Verify::digests) mine = digest_lines(pieces);
  });
  if (options.verify == Verify::digests) {
    auto const all = gather_texts(comm, mine);
    together(comm, [&] { loaded.tensors_compared = require_digests(all, loaded.manifest, where); });
  }
  loaded.state = from_first_rank(comm, [&] {
    return read_checked_text(storage, entry, *loaded.manifest.file(state_name), options.patience);
  });
  return loaded;
}

/// Puts an entry that cannot be loaded aside, with the reason, and keeps it.
template <Storage S>
void put_aside(S& storage, std::string const& entry, std::string const& reason) {
  auto const aside = ".bad-" + entry;
  storage.rename(entry, aside);
  auto file = storage.create(aside + "/REASON.txt");
  auto const line = reason + "\n";
  file.write(std::as_bytes(std::span(line)));
  file.sync();
  file.close();
  storage.sync_directory("");
}

/// The entry is one of this directory's own run; an entry that was copied here is not resumed from.
template <Storage S> bool is_own(S& storage, Manifest const& manifest) {
  auto const run = read_run_id(storage);
  return !run || *run == manifest.run_id;
}

/// The names of the entries to try, newest first, or nothing; and whether any save was ever
/// committed.
template <Storage S> std::string candidates(S& storage) {
  std::string lines;
  try {
    for (auto const& name : entries(storage)) lines += name + "\n";
    for (auto const& found : storage.list(""))
      if (found.name.starts_with(".bad-step-")) return lines + "\n";
  } catch (NotThere const&) {
  }
  return lines;
}

}  // namespace detail

/// Loads one entry: fills the pieces, whatever the layout it was saved in, each element rounded
/// once if the types differ. All ranks call it and end alike. Memory: 4 MiB, and the manifest.
/// @throws CorruptInput if a file is not what was written; ConfigError if the checkpoint lacks a
/// tensor, or has it in another shape.
template <Communicator C, Storage S>
Loaded load(C& comm, S& storage, std::string const& entry, std::vector<Piece> const& pieces,
            LoadOptions options = {}) {
  auto const manifest =
      from_first_rank(comm, [&] { return detail::read_manifest(storage, entry); });
  return detail::load_entry(comm, storage, entry, manifest, pieces, options);
}

/// The newest entry whose manifest is sound and whose files have their sizes; only the first rank
/// looks. Nothing is renamed.
template <Communicator C, Storage S> std::optional<std::string> find_newest(C& comm, S& storage) {
  auto const found = from_first_rank(comm, [&]() -> std::string {
    auto names = detail::candidates(storage);
    for (std::size_t end; (end = names.find('\n')) != std::string::npos && end > 0;
         names.erase(0, end + 1)) {
      auto const entry = names.substr(0, end);
      try {
        auto const manifest = parse_manifest(detail::read_manifest(storage, entry), entry);
        if (detail::is_own(storage, manifest)) return entry;
      } catch (CorruptInput const&) {
      }
    }
    return {};
  });
  if (found.empty()) return {};
  return found;
}

namespace detail {

/// How long what is missing in an entry may still be on its way: a network file system shows a name
/// `patience` after it was made at the latest, so what has not changed for so long, by the clock of
/// the storage, is not waited for. All of it if the storage does not tell.
template <Storage S>
Patience late_at_most(S& storage, std::string const& entry, Patience patience) {
  std::optional<std::int64_t> changed;
  std::int64_t now = 0;
  static_cast<void>(failure_of([&] {
    for (auto const& found : storage.list(""))
      if (found.name == entry) changed = last_change(storage, "", found);
    if (changed) now = clock_of(storage, unique_id());
  }));
  if (now == 0) return patience;
  auto const age = std::chrono::seconds(std::max<std::int64_t>(now - *changed, 0));
  return std::max(patience - std::min<Patience>(age, patience), Patience{});
}

/// The manifest of an entry, which is waited for while that may help.
template <Storage S>
std::string awaited_manifest(S& storage, std::string const& entry, Patience patience) {
  if (patience > Patience{}) try {
      return read_manifest(storage, entry);
    } catch (CorruptInput const&) {
      patience = late_at_most(storage, entry, patience);
    } catch (StaleHandle const&) {
    }
  return read_manifest(storage, entry, patience);
}

/// The manifest of an entry that may be tried, after a '+', or a sentence why it may not.
template <Storage S>
std::string manifest_or_reason(S& storage, std::string const& entry, Patience patience) {
  if (attempts(storage, entry) >= most_attempts)
    return storage.where(entry) + ": " + std::to_string(most_attempts) +
           " jobs have died while they loaded it; to try again, remove " +
           storage.where(attempt_name(entry)) + "*";
  auto const text = awaited_manifest(storage, entry, patience);
  if (!is_own(storage, parse_manifest(text, entry)))
    return storage.where(entry) + ": is of another run";
  return "+" + text;
}

/// Loads an entry if it may be; nothing, and a sentence more in `skipped`, if it may not or is
/// corrupt, and then it is put aside.
template <Communicator C, Storage S>
std::optional<Loaded> try_entry(C& comm, S& storage, std::string const& entry,
                                std::vector<Piece> const& pieces, LoadOptions const& options,
                                std::vector<std::string>& skipped) {
  std::optional<Attempt<S>> attempt;
  try {
    auto const said =
        from_first_rank(comm, [&] { return manifest_or_reason(storage, entry, options.patience); });
    if (!said.starts_with('+')) {
      skipped.push_back(said);
      return {};
    }
    if (comm.rank() == 0) attempt.emplace(storage, entry);
    return load_entry(comm, storage, entry, said.substr(1), pieces, options);
  } catch (CorruptInput const& reason) {
    skipped.push_back(reason.what());
    attempt.reset();
    if (comm.rank() == 0)
      static_cast<void>(failure_of([&] { put_aside(storage, entry, reason.what()); }));
    comm.barrier();
    return {};
  }
}

}  // namespace detail

/// Loads the newest entry that can be loaded. One that is corrupt is renamed to ".bad-..." with the
/// reason beside it, and the next older one is tried; of another run's, none is, and none that
/// three jobs have died on while they loaded it. Nothing if no run has saved here yet.
/// @throws CorruptInput if runs have saved here and nothing can be loaded, unless a fresh start is
/// allowed; ConfigError as `load` does, without trying older entries.
template <Communicator C, Storage S>
std::optional<Loaded> resume(C& comm, S& storage, std::vector<Piece> const& pieces,
                             LoadOptions options = {}) {
  auto names = from_first_rank(comm, [&] { return detail::candidates(storage); });
  if (names.empty()) return {};
  std::vector<std::string> skipped;
  auto const began = std::chrono::steady_clock::now();
  auto const patience = options.patience;
  for (std::size_t end; (end = names.find('\n')) != std::string::npos && end > 0;
       names.erase(0, end + 1)) {
    auto const waited = std::chrono::steady_clock::now() - began;
    options.patience = std::max(patience - std::chrono::floor<Patience>(waited), Patience{});
    if (auto loaded =
            detail::try_entry(comm, storage, names.substr(0, end), pieces, options, skipped)) {
      loaded->skipped = std::move(skipped);
      return loaded;
    }
  }
  if (options.fresh_start == FreshStart::allowed) return {};
  std::string reasons;
  for (auto const& reason : skipped) reasons += "; " + reason;
  throw CorruptInput(storage.where("") +
                     ": has checkpoints and none can be loaded; to begin anew, allow a fresh "
                     "start: --allow-fresh-start, or exp_manager.allow_fresh_start=true" +
                     reasons);
}

}  // namespace nxd
