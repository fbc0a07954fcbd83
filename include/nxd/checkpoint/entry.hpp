// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <nxd/checkpoint/manifest_text.hpp>
#include <nxd/checkpoint/names.hpp>
#include <nxd/checkpoint/shard.hpp>
#include <nxd/checkpoint/storage.hpp>

namespace nxd {

/// How long a reader waits for a file that a network file system does not show yet.
using Patience = std::chrono::milliseconds;

namespace detail {

/// Opens a file to read. @throws CorruptInput if it is not there when patience ends, StaleHandle if
/// that is not known then.
template <Storage S>
typename S::File open_patiently(S& storage, std::string const& path, Patience patience) {
  auto const end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    try {
      return storage.open(path);
    } catch (NotThere const&) {
      if (std::chrono::steady_clock::now() >= end)
        throw CorruptInput(storage.where(path) + ": is missing");
    } catch (StaleHandle const&) {
      if (std::chrono::steady_clock::now() >= end) throw;
    }
    std::this_thread::sleep_for(std::min<Patience>(patience, std::chrono::milliseconds(50)));
  }
}

inline void require_short(std::string const& where, std::int64_t size, std::int64_t cap) {
  if (size > cap)
    throw CorruptInput(where + ": has " + std::to_string(size) + " bytes, more than the " +
                       std::to_string(cap) + " allowed");
}

/// All of a file that is not longer than `cap`.
template <Storage S>
std::string read_text(S& storage, std::string const& path, std::int64_t cap,
                      Patience patience = {}) {
  auto file = open_patiently(storage, path, patience);
  auto const size = file.size();
  require_short(storage.where(path), size, cap);
  std::string text(static_cast<std::size_t>(size), '\0');
  auto const to = std::as_writable_bytes(std::span(text));
  try {
    file.read(0, to);
  } catch (StaleHandle const&) {
    file = open_patiently(storage, path, patience);
    file.read(0, to);
  }
  return text;
}

inline constexpr std::int64_t manifest_cap = std::int64_t{256} << 20;

/// The bytes of an entry's manifest; the files it lists exist and have their sizes.
template <Storage S>
std::string read_manifest(S& storage, std::string const& entry, Patience patience = {}) {
  auto text = read_text(storage, entry + "/" + manifest_name, manifest_cap, patience);
  auto const where = storage.where(entry + "/" + manifest_name);
  auto const manifest = parse_manifest(text, where);
  if (auto const named = entry_from(entry);
      named && (named->step != manifest.step || named->generation != manifest.generation))
    throw CorruptInput(where + ": tells of step " + std::to_string(manifest.step) +
                       ", generation " + std::to_string(manifest.generation) +
                       ": it is the manifest of another entry");
  for (auto const& file : manifest.files) {
    auto const size = open_patiently(storage, entry + "/" + file.name, patience).size();
    if (size != file.size)
      throw CorruptInput(storage.where(entry + "/" + file.name) + ": has " + std::to_string(size) +
                         " bytes, its manifest says " + std::to_string(file.size));
  }
  return text;
}

/// A chunk of a file whose CRC is not the one in the manifest.
struct ChangedChunk : CorruptInput {
  std::int64_t index;

  ChangedChunk(std::string const& sentence, std::int64_t i) : CorruptInput(sentence), index(i) {}
};

/// A file of which each byte is checked before it is used; one chunk of it is in memory.
template <Storage S> class CheckedFile {
 public:
  CheckedFile(S& storage, std::string const& entry, FileRecord const& record, Patience patience)
      : storage_(&storage),
        name_(entry + "/" + record.name),
        path_(storage.where(name_)),
        record_(&record),
        patience_(patience),
        file_(open_patiently(storage, name_, patience)) {
    if (file_.size() != record.size)
      throw CorruptInput(path_ + ": has " + std::to_string(file_.size()) +
                         " bytes, its manifest says " + std::to_string(record.size));
  }

  /// Calls `use(bytes)` for the bytes [offset, offset + count), part by part.
  template <class Use> void visit(std::int64_t offset, std::int64_t count, Use&& use) {
    while (count > 0) {
      show(offset / crc_chunk_bytes);
      auto const from = offset % crc_chunk_bytes;
      auto const part = std::min(count, std::ssize(chunk_) - from);
      use(std::span<std::byte const>(chunk_).subspan(static_cast<std::size_t>(from),
                                                     static_cast<std::size_t>(part)));
      offset += part;
      count -= part;
    }
  }

  FileRecord const& record() const { return *record_; }

 private:
  void show(std::int64_t index) {
    if (index == shown_) return;
    shown_ = -1;
    auto const begin = index * crc_chunk_bytes;
    chunk_.resize(static_cast<std::size_t>(std::min(crc_chunk_bytes, record_->size - begin)));
    read(begin);
    if (crc32c(chunk_) != record_->crcs[static_cast<std::size_t>(index)])
      throw ChangedChunk(path_ + ": chunk " + std::to_string(index) + ", the " +
                             std::to_string(chunk_.size()) + " bytes from " +
                             std::to_string(begin) + " on, is not what was written (CRC)",
                         index);
    shown_ = index;
  }

  /// A file system may lose sight of a file that is open: then it is opened once more.
  void read(std::int64_t begin) {
    try {
      return file_.read(begin, chunk_);
    } catch (StaleHandle const&) {
    } catch (NotThere const&) {
    }
    file_ = open_patiently(*storage_, name_, patience_);
    file_.read(begin, chunk_);
  }

  S* storage_;
  std::string name_;  ///< in the storage
  std::string path_;  ///< in messages
  FileRecord const* record_;
  Patience patience_;
  typename S::File file_;
  std::vector<std::byte> chunk_;
  std::int64_t shown_ = -1;
};

/// All of a file of a checkpoint, as text.
template <Storage S>
std::string read_checked_text(S& storage, std::string const& entry, FileRecord const& record,
                              Patience patience) {
  require_short(storage.where(entry + "/" + record.name), record.size, manifest_cap);
  std::string text;
  CheckedFile<S>(storage, entry, record, patience)
      .visit(0, record.size, [&](std::span<std::byte const> bytes) {
        text.append(reinterpret_cast<char const*>(bytes.data()), bytes.size());
      });
  return text;
}

inline constexpr char const* run_name = "RUN.json";

/// The run that a directory belongs to; nothing if none has saved there.
template <Storage S> std::optional<std::string> read_run_id(S& storage) {
  std::string text;
  try {
    text = read_text(storage, run_name, 1 << 20);
  } catch (CorruptInput const&) {
    auto const there = storage.list("");
    if (std::ranges::find(there, run_name, &DirectoryEntry::name) == there.end()) return {};
    text = read_text(storage, run_name, 1 << 20);  // another job has just made it, or it is bad
  }
  auto const where = storage.where(run_name);
  auto const json = parse_json(text, where);
  return JsonView(json, where)["run_id"].string();
}

}  // namespace detail

/// The entries of a directory that may be resumed from, newest (by generation) first.
template <Storage S> std::vector<std::string> entries(S& storage) {
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (auto const& entry : storage.list(""))
    if (auto const name = entry_from(entry.name); name && entry.is_directory)
      found.emplace_back(name->generation, entry.name);
  std::ranges::sort(found, std::ranges::greater{});
  std::vector<std::string> names;
  for (auto& [generation, name] : found) names.push_back(std::move(name));
  return names;
}

}  // namespace nxd
