// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <sstream>
#include <stop_token>
#include <string>
#include <vector>

#include <nxd/checkpoint/agree.hpp>
#include <nxd/checkpoint/entry.hpp>
#include <nxd/checkpoint/finite.hpp>
#include <nxd/checkpoint/same_state.hpp>
#include <nxd/checkpoint/sweep.hpp>
#include <nxd/checkpoint/verify.hpp>

namespace nxd {

/// What is to be saved by one rank. Each element of each tensor is in the pieces of exactly one
/// rank.
struct SaveRequest {
  std::int64_t step = 0;
  std::vector<Piece> pieces;
  /// JSON, the same on all ranks: schedule, data position, random key, configuration; `state_text`
  /// makes it of a type of one's own.
  std::string state;
  SaveInfo info;
};

/// How much of what was written is read again before it is committed.
enum class ReadBack : std::uint8_t {
  sizes,  ///< the manifest, and the sizes of all files
  full,   ///< all bytes
};

/// How to save.
struct SaveOptions {
  ReadBack read_back = ReadBack::sizes;
  std::int64_t writers = 0;  ///< ranks that write at a time; 0: all, 1: one after the other
};

/// What was saved.
struct SaveResult {
  std::string
      entry;  ///< the name in the directory; begins with ".diag-" if the state was not healthy
  std::string path;  ///< of the entry
  std::string save_id;
  std::int64_t generation = 0;
  std::int64_t bytes = 0;  ///< of all ranks
};

namespace detail {

/// What a rank says it will write, or has written.
inline std::string part_text(Manifest const& part) {
  return to_text(Json(Json::Object{{"step", count_json(part.step)},
                                   {"config_hash", Json(part.info.config_hash)},
                                   {"finite", Json(part.info.health.finite)},
                                   {"files", files_json(part)},
                                   {"tensors", tensors_json(part)}}));
}

inline Manifest part_from(std::string const& text) {
  auto const json = parse_json(text, "what a rank says");
  JsonView const view(json, "what a rank says");
  Manifest part;
  part.step = view["step"].count();
  part.info.config_hash = view["config_hash"].string();
  part.info.health.finite = view["finite"].boolean();
  read_contents(view, manifest_minor, part);
  return part;
}

/// The parts of all ranks as one: same step, same configuration, each tensor covered exactly once.
inline Manifest merged(std::vector<std::string> const& parts) {
  Manifest all = part_from(parts[0]);
  for (std::size_t r = 1; r < parts.size(); ++r) {
    auto const part = part_from(parts[r]);
    if (part.step != all.step || part.info.config_hash != all.info.config_hash)
      throw Error(ExitCode::desync, "save: rank " + std::to_string(r) +
                                        " is at another step or has another configuration than "
                                        "the first");
    all.info.health.finite = all.info.health.finite && part.info.health.finite;
    merge(part, all);
  }
  for (auto const& [key, tensor] : all.tensors) {
    std::vector<Box> boxes;
    for (auto const& chunk : tensor.chunks) boxes.push_back(chunk.box);
    if (auto const mistake = cover_mistake(tensor.shape, boxes))
      throw Error(ExitCode::internal,
                  "save: " + key.kind + " tensor '" + key.name + "': " + *mistake);
  }
  return all;
}

/// Where a save is at home, agreed by all ranks.
struct Place {
  std::string run_id, save_id;
  std::int64_t generation = 0;
  std::string folder;  ///< ".tmp-step-000000001000.g000017": the entry in the making
};

/// The folder in which an entry is made: named after it, so that no two saves make the same one.
inline std::string draft_name(EntryName const& entry) { return ".tmp-" + text(entry); }

template <Storage S> std::string own_run_id(S& storage, std::string const& fresh) {
  if (auto const id = read_run_id(storage)) return *id;
  auto const text =
      to_text(Json(Json::Object{{"format", Json(manifest_major)}, {"run_id", Json(fresh)}})) + "\n";
  auto const draft = ".tmp-run-" + fresh;
  try {
    or_remove(storage, draft, [&] {
      auto file = storage.create(draft);
      file.write(std::as_bytes(std::span(text)));
      file.sync();
      file.close();
      storage.rename(draft, run_name);
    });
  } catch (IoError const&) {
    if (auto const id = read_run_id(storage)) return *id;  // another job was faster
    throw;
  }
  return fresh;
}

template <Storage S> std::int64_t next_generation(S& storage) {
  std::int64_t newest = 0;
  for (auto const& entry : storage.list("")) {
    auto const at = entry.name.find("step-");
    if (at == std::string::npos) continue;
    auto name = entry.name.substr(at);  // .bad- and .diag- entries have had their generation too
    if (auto const found = entry_from(name.substr(0, name.find("-", 5))))
      newest = std::max(newest, found->generation);
  }
  return newest + 1;
}

/// The folders that an entry has.
inline std::set<std::string> kinds(Manifest const& manifest) {
  std::set<std::string> all;
  for (auto const& [key, tensor] : manifest.tensors) all.insert(key.kind);
  return all;
}

/// Removes what dead jobs have left, seen from the moment when `folder` was made. That it cannot is
/// no reason not to save.
template <Storage S> void sweep_at(S& storage, std::string const& folder) {
  static_cast<void>(failure_of([&] {
    for (auto const& found : storage.list(""))
      if (found.name == folder && found.modified != 0) sweep(storage, found.modified);
  }));
}

/// Makes the folder that all ranks write to, on the first rank. Returns the agreed names, as text.
template <Storage S> std::string prepare(S& storage, Manifest const& planned, std::int64_t bytes) {
  storage.make_root();
  auto const needed = bytes + bytes / 10;
  if (auto const left = storage.free_bytes(); left < needed)
    throw IoError(storage.where("") + ": the disk has " + std::to_string(left) +
                  " bytes left, a checkpoint needs " + std::to_string(needed) +
                  "; make room or save elsewhere");
  auto const save_id = unique_id();
  auto const run_id = own_run_id(storage, unique_id());
  auto const generation = next_generation(storage);
  auto const folder = draft_name({planned.step, generation});
  storage.make_directory(folder);  // if another job has it, it is that one's
  or_remove(storage, folder, [&] {
    for (auto const& kind : kinds(planned)) storage.make_directory(folder + "/" + kind);
    storage.sync_directory("");
  });
  sweep_at(storage, folder);
  return run_id + " " + save_id + " " + std::to_string(generation) + " " + folder;
}

/// Does a part of a save in its folder. @throws IoError that says so if the folder is gone
template <Storage S, class Work>
void in_folder(S const& storage, std::string const& folder, Work&& work) {
  try {
    work();
  } catch (NotThere const& reason) {
    throw IoError(storage.where(folder) +
                  ": another job has removed this save, for nothing had changed in it for an hour "
                  "by the clock of the storage: " +
                  reason.what());
  }
}

/// Writes the manifest and makes the save visible, on the first rank.
template <Storage S>
void commit(S& storage, Manifest const& manifest, std::string const& folder,
            std::string const& entry, ReadBack read_back) {
  auto const text = manifest_text(manifest);
  write_file(storage, folder, manifest_name, text);
  for (auto const& kind : kinds(manifest)) storage.sync_directory(folder + "/" + kind);
  storage.sync_directory(folder);
  if (read_manifest(storage, folder) != text)
    throw IoError(storage.where(folder) + ": the manifest is not what was written");
  if (read_back == ReadBack::full) verify(storage, folder);
  storage.rename(folder, entry);
  storage.sync_directory("");
}

/// Tells people and scripts which entry is the newest; loading does not look at it.
template <Storage S> void hint(S& storage, std::string const& entry) {
  static_cast<void>(failure_of([&] { storage.remove("LATEST"); }));
  static_cast<void>(failure_of([&] {
    auto file = storage.create("LATEST");
    auto const text = entry + "\n";
    file.write(std::as_bytes(std::span(text)));
    file.close();
  }));
}

inline Place place_from(std::string const& text) {
  std::istringstream words(text);
  Place place;
  words >> place.run_id >> place.save_id >> place.generation >> place.folder;
  return place;
}

/// Writes this rank's files. Returns what it says of them. @throws IoError if it is asked to stop
template <Storage S>
std::string write_part(S& storage, std::string const& folder, std::vector<ShardFile>& shards,
                       SaveRequest const& request, bool first, std::stop_token const& stop = {}) {
  Manifest part{{}, {}, 0, request.step, request.info, {}, {}};
  in_folder(storage, folder, [&] {
    for (auto& shard : shards) {
      for (auto const* piece : shard.pieces)
        if (!all_finite(piece->dtype, piece->bytes)) part.info.health.finite = false;
      part.files.push_back(write_shard(storage, folder, shard, stop));
      describe(shard, Digests::taken, part);
    }
    if (first) part.files.push_back(write_file(storage, folder, state_name, request.state));
  });
  return part_text(part);
}

/// What the ranks will write: what each says of it, and the bytes of all.
struct Intent {
  std::vector<std::string> parts;
  std::int64_t bytes = 0;
};

/// Step 0 of a save: each rank says what it will write, and plans its files.
template <Communicator C>
Intent gather_intent(C& comm, SaveRequest const& request, std::vector<ShardFile>& shards) {
  std::string mine;
  std::int64_t bytes = std::ssize(request.state);
  together(comm, [&] {
    shards = plan_shards(request.pieces, comm.rank());
    Manifest planned{{}, {}, 0, request.step, request.info, {}, {}};
    for (auto const& shard : shards) {
      describe(shard, Digests::none, planned);
      bytes += shard.size;
    }
    mine = part_text(planned);
  });
  Intent intent{gather_texts(comm, mine), 0};
  std::vector<std::string> states;
  for (auto const& said :
       gather_texts(comm, std::to_string(bytes) + " " + state_digest(request.state))) {
    intent.bytes += std::stoll(said);
    states.push_back(said.substr(said.find(' ')));
  }
  require_same_state(comm, states, request.state);
  return intent;
}

/// Steps 5 and 6, on the first rank: joins what all have written to one manifest, and makes it
/// visible. Returns the name of the entry and the bytes of all files, as text.
template <Storage S>
std::string commit_parts(S& storage, SaveRequest const& request, Place const& place,
                         std::vector<std::string> const& parts, ReadBack read_back) {
  auto manifest = merged(parts);
  manifest.run_id = place.run_id;
  manifest.save_id = place.save_id;
  manifest.generation = place.generation;
  auto const finite = manifest.info.health.finite;
  manifest.info = request.info;
  manifest.info.health.finite = finite;
  auto entry = text(EntryName{request.step, place.generation});
  if (!finite) entry = ".diag-" + entry;
  in_folder(storage, place.folder,
            [&] { commit(storage, manifest, place.folder, entry, read_back); });
  if (finite) hint(storage, entry);
  std::int64_t total = 0;
  for (auto const& file : manifest.files) total += file.size;
  return entry + " " + std::to_string(total);
}

/// What was saved, by what `commit_parts` has said.
template <Storage S>
SaveResult result_from(S& storage, Place const& place, std::string const& said) {
  auto const entry = said.substr(0, said.find(' '));
  return {entry, storage.where(entry), place.save_id, place.generation,
          std::stoll(said.substr(entry.size()))};
}

/// Ranks write in waves, if not all may at a time.
inline std::int64_t wave_of(SaveOptions const& options, std::int64_t rank) {
  return options.writers > 0 ? rank / options.writers : 0;
}
inline std::int64_t waves(SaveOptions const& options, std::int64_t ranks) {
  return wave_of(options, ranks - 1) + 1;
}

/// Steps 2 to 6 of a save: from the folder to the commit.
template <Communicator C, Storage S>
SaveResult write_all(C& comm, S& storage, SaveRequest const& request, Place const& place,
                     std::vector<ShardFile>& shards, SaveOptions const& options) {
  std::string mine;
  for (std::int64_t wave = 0; wave < waves(options, comm.size()); ++wave)
    together(comm, [&] {
      if (wave_of(options, comm.rank()) == wave)
        mine = write_part(storage, place.folder, shards, request, comm.rank() == 0);
    });
  auto const parts = gather_texts(comm, mine);
  return result_from(storage, place, from_first_rank(comm, [&] {
                       return commit_parts(storage, request, place, parts, options.read_back);
                     }));
}

}  // namespace detail

/// Saves a checkpoint: all of it or nothing becomes visible, in a new entry of the directory. All
/// ranks call it and end alike; after an error what was there before is untouched, and the run may
/// go on. A state that is not finite is kept apart, as ".diag-...". Cost: each rank writes its
/// pieces once and reads them three times more in memory (CRC, XXH3-128, digest).
/// @throws IoError if storage refuses, Error if the ranks' pieces do not cover each tensor once, or
/// their states differ.
template <Communicator C, Storage S>
SaveResult save(C& comm, S& storage, SaveRequest const& request, SaveOptions options = {}) {
  std::vector<detail::ShardFile> shards;
  auto const intent = detail::gather_intent(comm, request, shards);
  auto const agreed = from_first_rank(
      comm, [&] { return detail::prepare(storage, detail::merged(intent.parts), intent.bytes); });
  auto const place = detail::place_from(agreed);
  SaveResult result;
  auto const write = [&] {
    result = detail::write_all(comm, storage, request, place, shards, options);
  };
  if (comm.rank() == 0)
    detail::or_remove(storage, place.folder, write);
  else
    write();
  return result;
}

}  // namespace nxd
