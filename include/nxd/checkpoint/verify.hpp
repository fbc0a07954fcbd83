// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <nxd/checkpoint/entry.hpp>

namespace nxd {

/// What a complete check of a checkpoint has read.
struct VerifyReport {
  Manifest manifest;
  std::int64_t files = 0;
  std::int64_t hashed = 0;  ///< of the files, those whose XXH3-128 the manifest says
  std::int64_t bytes = 0;
  std::int64_t tensors = 0;  ///< whose digests were taken and compared
  double seconds = 0;
  std::vector<std::string> unlisted;  ///< files that are there and that the manifest does not know
};

namespace detail {

template <Storage S>
void find_unlisted(S& storage, std::string const& entry, std::string const& folder,
                   VerifyReport& report) {
  for (auto const& found : storage.list(folder.empty() ? entry : entry + "/" + folder)) {
    auto const name = folder.empty() ? found.name : folder + "/" + found.name;
    if (found.is_directory && folder.empty())
      find_unlisted(storage, entry, name, report);
    else if (name != manifest_name && !report.manifest.file(name))
      report.unlisted.push_back(name);
  }
}

/// A part of a tensor in a file.
struct StoredPart {
  TensorKey const* key;
  TensorRecord const* tensor;
  ChunkRecord const* chunk;

  std::int64_t bytes() const { return volume(chunk->box) * size_of(tensor->dtype); }
};

/// What each file holds, in the order of its bytes.
using StoredParts = std::map<std::string, std::vector<StoredPart>, std::less<>>;

inline StoredParts stored_parts(Manifest const& manifest) {
  StoredParts files;
  for (auto const& [key, tensor] : manifest.tensors)
    for (auto const& chunk : tensor.chunks)
      if (volume(chunk.box) > 0) files[chunk.file].push_back({&key, &tensor, &chunk});
  for (auto& [file, parts] : files)
    std::ranges::sort(parts, {}, [](StoredPart const& part) { return part.chunk->offset; });
  return files;
}

/// A file as it is, without a look at its CRCs.
template <Storage S> class RawFile {
 public:
  RawFile(S& storage, std::string const& path) : file_(storage.open(path)) {}

  template <class Use> void visit(std::int64_t offset, std::int64_t count, Use&& use) {
    while (count > 0) {
      memory_.resize(static_cast<std::size_t>(std::min(count, crc_chunk_bytes)));
      file_.read(offset, memory_);
      use(std::span<std::byte const>(memory_));
      offset += std::ssize(memory_);
      count -= std::ssize(memory_);
    }
  }

 private:
  typename S::File file_;
  std::vector<std::byte> memory_;
};

/// A file whose bytes are checked and hashed when they are visited, once each and in their order.
template <Storage S> class HashedFile {
 public:
  HashedFile(S& storage, std::string const& entry, FileRecord const& record)
      : file_(storage, entry, record, Patience{}) {}

  template <class Use> void visit(std::int64_t offset, std::int64_t count, Use&& use) {
    file_.visit(offset, count, [&](std::span<std::byte const> bytes) {
      sum_.add(bytes);
      use(bytes);
    });
  }

  std::string xxh128() const { return sum_.text(); }

 private:
  CheckedFile<S> file_;
  Xxh128 sum_;
};

/// The digest of a part, as it lies in its file.
template <class File> Digest digest_in(File& file, StoredPart const& part) {
  Digest sum;
  auto const type = part.tensor->dtype;
  auto const& box = part.chunk->box;
  for_each_run(box, box, whole(part.tensor->shape),
               [&](std::int64_t offset, std::int64_t place, std::int64_t count) {
                 file.visit(part.chunk->offset + offset * size_of(type), count * size_of(type),
                            [&](std::span<std::byte const> bytes) {
                              auto const n = std::ssize(bytes) / size_of(type);
                              sum += run_digest(type, bytes.data(), place, n);
                              place += n;
                            });
               });
  return sum;
}

/// The tensor's elements, read without a look at CRCs, are those that were saved.
template <Storage S>
bool is_unchanged(S& storage, std::string const& entry, TensorKey const& key,
                  TensorRecord const& tensor) {
  Digest sum;
  try {
    for (auto const& chunk : tensor.chunks) {
      RawFile<S> file(storage, entry + "/" + chunk.file);
      sum += digest_in(file, {&key, &tensor, &chunk});
    }
  } catch (Error const&) {
    return false;
  }
  return sum == tensor.digest;
}

/// Which tensors a changed chunk of a file has spoiled: their digests tell.
template <Storage S>
std::string spoiled(S& storage, std::string const& entry, std::vector<StoredPart> const& parts,
                    std::int64_t chunk) {
  auto const begin = chunk * crc_chunk_bytes, end = begin + crc_chunk_bytes;
  std::string named;
  std::int64_t others = 0;
  for (auto const& part : parts) {
    if (part.chunk->offset >= end || part.chunk->offset + part.bytes() <= begin) continue;
    if (is_unchanged(storage, entry, *part.key, *part.tensor)) continue;
    if (named.empty())
      named = text(*part.key) + " " + text(part.chunk->box);
    else
      ++others;
  }
  if (named.empty()) return "; no tensor is changed, but what the file says of them";
  return "; it has spoiled " + named +
         (others > 0 ? " and " + std::to_string(others) + " more" : std::string());
}

/// A shard says of its tensors what the manifest says of them.
template <Storage S>
void verify_header(S& storage, std::string const& entry, FileRecord const& file,
                   std::vector<StoredPart> const& parts) {
  auto const path = entry + "/" + file.name, where = storage.where(path);
  auto opened = open_patiently(storage, path, {});
  auto const header = read_safetensors_header(opened, where);
  std::map<std::int64_t, SafetensorsEntry const*> at;
  for (auto const& tensor : header.entries)
    if (tensor.bytes > 0) at[tensor.offset] = &tensor;
  for (auto const& part : parts) {
    auto const found = at.find(part.chunk->offset);
    if (found == at.end() || found->second->dtype != part.tensor->dtype ||
        found->second->shape != part.chunk->box.extent)
      throw CorruptInput(where + ": does not hold " + text(*part.key) + " where its manifest says");
  }
  if (at.size() != parts.size())
    throw CorruptInput(where + ": holds " + std::to_string(at.size()) +
                       " parts of tensors, its manifest knows " + std::to_string(parts.size()));
}

/// Reads a file once, every byte against its CRC and all against its XXH3-128, and adds up the
/// digests of what it holds.
template <Storage S>
void verify_file(S& storage, std::string const& entry, FileRecord const& record,
                 std::vector<StoredPart> const& parts, std::map<TensorKey, Digest>& digests) {
  try {
    HashedFile<S> file(storage, entry, record);
    auto const pass = [](std::span<std::byte const>) {};
    std::int64_t end = 0;
    for (auto const& part : parts) {
      file.visit(end, part.chunk->offset - end, pass);
      digests[*part.key] += digest_in(file, part);
      end = part.chunk->offset + part.bytes();
    }
    file.visit(end, record.size - end, pass);
    if (!record.xxh128.empty() && record.xxh128 != file.xxh128())
      throw CorruptInput(storage.where(entry + "/" + record.name) + ": has the XXH3-128 " +
                         file.xxh128() + ", its manifest says " + record.xxh128);
  } catch (ChangedChunk const& changed) {
    if (parts.empty()) throw;
    throw CorruptInput(changed.what() + spoiled(storage, entry, parts, changed.index));
  }
  if (record.name.ends_with(".safetensors")) verify_header(storage, entry, record, parts);
}

}  // namespace detail

/// Reads all of an entry: its manifest, every byte of every file against its CRC, every file
/// against its XXH3-128, the elements of every tensor against its digest, and the headers of its
/// shards against the manifest. Cost: one pass over the files, 4 MiB of memory and the manifest.
/// @throws CorruptInput naming the first file that is not what was written, the chunk of it, and
/// the tensor
template <Storage S> VerifyReport verify(S& storage, std::string const& entry) {
  auto const start = std::chrono::steady_clock::now();
  VerifyReport report;
  report.manifest = parse_manifest(detail::read_manifest(storage, entry),
                                   storage.where(entry + "/" + manifest_name));
  auto const parts = detail::stored_parts(report.manifest);
  std::map<TensorKey, Digest> digests;
  for (auto const& file : report.manifest.files) {
    auto const held = parts.find(file.name);
    detail::verify_file(storage, entry, file,
                        held == parts.end() ? std::vector<detail::StoredPart>{} : held->second,
                        digests);
    report.bytes += file.size;
    ++report.files;
    if (!file.xxh128.empty()) ++report.hashed;
  }
  for (auto const& [key, tensor] : report.manifest.tensors) {
    if (digests[key] != tensor.digest)
      throw CorruptInput(storage.where(entry) + ": " + text(key) +
                         " is not what was saved (digest)");
    ++report.tensors;
  }
  detail::find_unlisted(storage, entry, "", report);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace nxd
