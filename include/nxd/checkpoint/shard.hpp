// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/manifest.hpp>
#include <nxd/checkpoint/names.hpp>
#include <nxd/checkpoint/piece.hpp>
#include <nxd/checkpoint/safetensors.hpp>
#include <nxd/checkpoint/storage.hpp>
#include <nxd/checkpoint/xxh128.hpp>

namespace nxd::detail {

/// One file that a rank writes, planned: its header, and the pieces that follow it.
struct ShardFile {
  std::string kind;
  std::string file;  ///< "model/00000.safetensors"
  std::string header;
  std::vector<Piece const*> pieces;
  std::vector<std::int64_t> offsets;  ///< of the pieces in the file
  std::int64_t size = 0;
};

inline void require_sound(Piece const& piece) {
  auto const refuse = [&](char const* what) {
    throw Error(ExitCode::internal, text(piece) + ": " + what);
  };
  if (!is_safe_name(piece.kind)) refuse("its kind is no plain name");
  if (piece.name.empty() || piece.name.size() > 1024 ||
      piece.name.find('\0') != std::string::npos || piece.name == "__metadata__")
    refuse("its name cannot stand in a file");
  if (!lies_in(piece.box, piece.shape)) refuse("its part does not lie in its shape");
  if (std::ssize(piece.bytes) != volume(piece.box) * size_of(piece.dtype))
    refuse("its bytes are not those of its part");
}

/// A part of a tensor is called by the tensor's name and its box; a whole tensor by its name.
inline std::string name_in_file(Piece const& piece) {
  return piece.box == whole(piece.shape) ? piece.name : piece.name + text(piece.box);
}

inline ShardFile plan_shard(std::string const& kind, std::int64_t rank,
                            std::vector<Piece const*> pieces) {
  std::ranges::stable_sort(pieces, std::ranges::greater{},
                           [](Piece const* p) { return size_of(p->dtype); });
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> names;
  for (auto const* p : pieces) {
    if (!names.emplace(name_in_file(*p), "").second)
      throw Error(ExitCode::internal,
                  text(*p) + ": the part " + text(p->box) + " is given twice by one rank");
    entries.push_back({name_in_file(*p), p->dtype, p->box.extent});
  }
  ShardFile shard{kind, kind + "/" + padded(rank, 5) + ".safetensors", {}, std::move(pieces), {},
                  0};
  shard.header = safetensors_header(entries, {{"format", "pt"}});
  shard.size = std::ssize(shard.header);
  for (auto const& entry : entries) {
    shard.offsets.push_back(entry.offset);
    shard.size += entry.bytes;
  }
  return shard;
}

/// The files of a rank: one for each kind of which it has something.
inline std::vector<ShardFile> plan_shards(std::vector<Piece> const& pieces, std::int64_t rank) {
  std::map<std::string, std::vector<Piece const*>> kinds;
  for (auto const& piece : pieces) {
    require_sound(piece);
    if (volume(piece.box) > 0 || volume(whole(piece.shape)) == 0)
      kinds[piece.kind].push_back(&piece);
  }
  std::vector<ShardFile> shards;
  for (auto& [kind, of_kind] : kinds) shards.push_back(plan_shard(kind, rank, std::move(of_kind)));
  return shards;
}

/// Runs `work()`; if it throws, what it has left at `path` is removed.
template <Storage S, class Work> void or_remove(S& storage, std::string const& path, Work&& work) {
  try {
    work();
  } catch (...) {
    try {
      storage.remove(path);
    } catch (Error const&) {  // it was not made, or stays: the first reason is the one to tell
    }
    throw;
  }
}

/// A new file with what `write(sink)` gives to `sink(bytes)`; on the disk when this returns.
template <Storage S, class Write>
FileRecord write_file(S& storage, std::string const& folder, std::string const& name,
                      std::int64_t size, Write&& write) {
  auto file = storage.create(folder + "/" + name);
  file.reserve(size);
  FileRecord record{name, 0, {}};
  ChunkCrcs crcs;
  Xxh128 sum;
  write([&](std::span<std::byte const> bytes) {
    crcs.add(bytes);
    sum.add(bytes);
    file.write(bytes);
    record.size += std::ssize(bytes);
  });
  NXD_EXPECTS(record.size == size);
  file.sync();
  file.close();
  record.crcs = crcs.crcs();
  record.xxh128 = sum.text();
  return record;
}

template <Storage S>
FileRecord write_file(S& storage, std::string const& folder, std::string const& name,
                      std::string_view text) {
  return write_file(storage, folder, name, std::ssize(text),
                    [&](auto sink) { sink(std::as_bytes(std::span(text))); });
}

/// Calls `use(part)` for bytes in parts of a chunk's size: what is looked at is still in the cache
/// when it is written.
template <class Use> void for_each_part(std::span<std::byte const> bytes, Use&& use) {
  for (std::size_t at = 0; at < bytes.size(); at += crc_chunk_bytes)
    use(bytes.subspan(at, std::min<std::size_t>(bytes.size() - at, crc_chunk_bytes)));
}

/// Writes a shard. If the disk does not confirm it, the file is given up and written anew, once,
/// under another name, which the shard then has. @throws IoError soon after it is asked to stop
template <Storage S>
FileRecord write_shard(S& storage, std::string const& folder, ShardFile& shard,
                       std::stop_token const& stop = {}) {
  auto const write = [&](auto sink) {
    sink(std::as_bytes(std::span(shard.header)));
    for (auto const* piece : shard.pieces)
      for_each_part(piece->bytes, [&](std::span<std::byte const> part) {
        if (stop.stop_requested()) throw IoError(storage.where(folder) + ": the save is given up");
        sink(part);
      });
  };
  try {
    return write_file(storage, folder, shard.file, shard.size, write);
  } catch (SyncError const&) {
    storage.remove(folder + "/" + shard.file);
    shard.file.insert(shard.file.rfind('.'), ".again");
    return write_file(storage, folder, shard.file, shard.size, write);
  }
}

/// Adds what a shard holds to a manifest; with digests when the elements are to be looked at.
enum class Digests : std::uint8_t { none, taken };
inline void describe(ShardFile const& shard, Digests digests, Manifest& manifest) {
  for (std::size_t i = 0; i < shard.pieces.size(); ++i) {
    auto const& piece = *shard.pieces[i];
    auto& record = manifest.tensors[{piece.kind, piece.name}];
    if (!record.chunks.empty() && (record.shape != piece.shape || record.dtype != piece.dtype))
      throw Error(ExitCode::internal, text(piece) + ": has two shapes or types");
    record.shape = piece.shape;
    record.dtype = piece.dtype;
    record.chunks.push_back({piece.box, shard.file, shard.offsets[i]});
    if (digests == Digests::taken)
      record.digest += digest(piece.shape, piece.box, piece.dtype, piece.bytes);
  }
}

/// Adds what another rank has written to a manifest.
inline void merge(Manifest const& part, Manifest& manifest) {
  manifest.files.insert(manifest.files.end(), part.files.begin(), part.files.end());
  for (auto const& [key, theirs] : part.tensors) {
    auto const [at, is_new] = manifest.tensors.emplace(key, theirs);
    if (is_new) continue;
    auto& ours = at->second;
    if (ours.shape != theirs.shape || ours.dtype != theirs.dtype)
      throw Error(ExitCode::desync, key.kind + " tensor '" + key.name + "': has the shape " +
                                        text(ours.shape) + " in " + std::string(name(ours.dtype)) +
                                        " on one rank and " + text(theirs.shape) + " in " +
                                        std::string(name(theirs.dtype)) + " on another");
    ours.digest += theirs.digest;
    ours.chunks.insert(ours.chunks.end(), theirs.chunks.begin(), theirs.chunks.end());
  }
}

}  // namespace nxd::detail
