// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/checkpoint/entry.hpp>
#include <string>
#include <vector>

namespace nxd {

/// What a complete check of a checkpoint has read.
struct VerifyReport {
  Manifest manifest;
  std::int64_t files = 0;
  std::int64_t bytes = 0;
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

/// A shard says of its tensors what the manifest says of them.
template <Storage S>
void verify_shard(S& storage, std::string const& entry, FileRecord const& file,
                  Manifest const& manifest) {
  auto const path = entry + "/" + file.name, where = storage.where(path);
  auto opened = open_patiently(storage, path, {});
  auto const header = read_safetensors_header(opened, where);
  std::map<std::int64_t, SafetensorsEntry const*> at;
  for (auto const& tensor : header.entries)
    if (tensor.bytes > 0) at[tensor.offset] = &tensor;
  for (auto const& [key, tensor] : manifest.tensors)
    for (auto const& chunk : tensor.chunks) {
      if (chunk.file != file.name || volume(chunk.box) == 0) continue;
      auto const found = at.find(chunk.offset);
      if (found == at.end() || found->second->dtype != tensor.dtype ||
          found->second->shape != chunk.box.extent)
        throw CorruptInput(where + ": does not hold " + key.kind + " tensor '" + key.name +
                           "' where its manifest says");
    }
}

}  // namespace detail

/// Reads all of an entry: its manifest, every byte of every file against its CRC, and the headers
/// of its shards against the manifest. Cost: one pass over the files, 4 MiB of memory.
/// @throws CorruptInput naming the first file that is not what was written.
template <Storage S> VerifyReport verify(S& storage, std::string const& entry) {
  VerifyReport report;
  report.manifest = parse_manifest(detail::read_manifest(storage, entry),
                                   storage.where(entry + "/" + manifest_name));
  for (auto const& file : report.manifest.files) {
    detail::CheckedFile<S>(storage, entry, file, Patience{})
        .visit(0, file.size,
               [&](std::span<std::byte const> bytes) { report.bytes += std::ssize(bytes); });
    if (file.name.ends_with(".safetensors"))
      detail::verify_shard(storage, entry, file, report.manifest);
    ++report.files;
  }
  detail::find_unlisted(storage, entry, "", report);
  return report;
}

}  // namespace nxd
