// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/blocks.hpp>
#include <nxd/checkpoint/reader.hpp>
#include <nxd/checkpoint/save.hpp>

namespace nxd {

/// A tensor that is to be written: what it is called, and what it is.
struct TensorPlan {
  TensorKey key;
  DType dtype;
  std::vector<std::int64_t> shape;

  std::int64_t bytes() const { return volume(whole(shape)) * size_of(dtype); }
};

namespace detail {

/// Cuts tensors of one kind into at most `count` files of about as many bytes, each with a tensor
/// or more, none of them cut.
inline std::vector<std::vector<TensorPlan>> share_files(std::vector<TensorPlan> const& tensors,
                                                        std::int64_t count) {
  std::int64_t total = 0, done = 0;
  for (auto const& tensor : tensors) total += tensor.bytes();
  auto const most = std::min(count, std::ssize(tensors));
  std::vector<std::vector<TensorPlan>> files;
  for (std::int64_t i = 0; i < std::ssize(tensors); ++i) {
    auto const left = std::ssize(tensors) - i, opened = std::ssize(files);
    auto const full =
        static_cast<double>(total) * static_cast<double>(opened) / static_cast<double>(most);
    bool const next = opened == 0 || left <= most - opened ||
                      (opened < most && static_cast<double>(done) >= full);
    if (next) files.emplace_back();
    files.back().push_back(tensors[static_cast<std::size_t>(i)]);
    done += files.back().back().bytes();
  }
  return files;
}

/// A file that is to be written: its header, and the tensors that follow it.
struct StreamedFile {
  FileRecord record;  ///< its name and size
  std::string header;
  std::vector<TensorPlan> tensors;
};

/// Files for tensors, and what a manifest says of them before they are written.
inline std::vector<StreamedFile> plan_files(std::vector<TensorPlan> const& tensors,
                                            std::int64_t count, Manifest& manifest) {
  std::map<std::string, std::vector<TensorPlan>> kinds;
  for (auto const& tensor : tensors) kinds[tensor.key.kind].push_back(tensor);
  std::vector<StreamedFile> files;
  for (auto const& [kind, of_kind] : kinds)
    for (std::int64_t index = 0; auto& held : share_files(of_kind, count)) {
      auto& file = files.emplace_back();
      file.tensors = std::move(held);
      std::ranges::stable_sort(file.tensors, std::ranges::greater{},  // so that each is aligned
                               [](TensorPlan const& tensor) { return size_of(tensor.dtype); });
      std::vector<SafetensorsEntry> entries;
      for (auto const& tensor : file.tensors)
        entries.push_back({tensor.key.name, tensor.dtype, tensor.shape});
      file.header = safetensors_header(entries, {{"format", "pt"}});
      file.record = {kind + "/" + padded(index++, 5) + ".safetensors", std::ssize(file.header), {}};
      for (std::size_t i = 0; i < entries.size(); ++i) {
        auto const& tensor = file.tensors[i];
        file.record.size += entries[i].bytes;
        manifest.tensors[tensor.key] = {
            tensor.dtype,
            tensor.shape,
            {},
            {{whole(tensor.shape), file.record.name, entries[i].offset}}};
      }
    }
  return files;
}

/// Writes a file block by block, and takes the digests of what is in it.
template <Storage S, class Read>
void write_streamed(S& to, std::string const& folder, StreamedFile const& file, Read& read,
                    Manifest& manifest) {
  auto const write = [&](auto sink) {
    sink(std::as_bytes(std::span(file.header)));
    std::vector<std::byte> memory;
    for (auto const& tensor : file.tensors)
      for_each_block(tensor.shape, block_elements, [&](Box const& box) {
        memory.resize(static_cast<std::size_t>(volume(box) * size_of(tensor.dtype)));
        read(Piece{tensor.key.name, tensor.shape, box, tensor.dtype, memory, tensor.key.kind});
        manifest.tensors[tensor.key].digest += digest(tensor.shape, box, tensor.dtype, memory);
        sink(std::span<std::byte const>(memory));
      });
  };
  manifest.files.push_back(write_file(to, folder, file.record.name, file.record.size, write));
}

/// The place has no run's checkpoints yet: a new one could be taken for the newest of that run.
template <Storage S> void require_no_run(S& storage) {
  storage.make_root();
  for (auto const& found : storage.list(""))
    if (entry_from(found.name) || found.name.starts_with(".diag-step-") ||
        found.name.starts_with(".bad-step-"))
      throw IoError(storage.where("") +
                    ": has the checkpoints of a run already; name a folder that has none");
}

}  // namespace detail

/// Writes a checkpoint whose tensors `read(piece)` gives block by block, in at most `files` files
/// of each kind, as the first of a new run in a directory that has none. One process does it.
/// `manifest` says step and `info`; `accept(manifest)` sees what is committed if it does not throw.
/// Memory: a block of 8 MiB at most, and what `read` needs.
/// @throws IoError if the directory has a run already, or storage refuses
template <Storage S, class Read, class Accept>
SaveResult write_checkpoint(S& to, Manifest manifest, std::vector<TensorPlan> const& tensors,
                            std::int64_t files, std::string const& state, Read&& read,
                            Accept&& accept) {
  detail::require_no_run(to);
  auto const planned = detail::plan_files(tensors, files, manifest);
  std::int64_t bytes = std::ssize(state);
  for (auto const& file : planned) bytes += file.record.size;
  auto const place = detail::place_from(detail::prepare(to, manifest, bytes));
  auto entry = text(EntryName{manifest.step, place.generation});
  if (!manifest.info.health.finite) entry = ".diag-" + entry;
  detail::or_remove(to, place.folder, [&] {
    for (auto const& file : planned) detail::write_streamed(to, place.folder, file, read, manifest);
    manifest.files.push_back(detail::write_file(to, place.folder, state_name, state));
    manifest.run_id = place.run_id;
    manifest.save_id = place.save_id;
    manifest.generation = place.generation;
    accept(std::as_const(manifest));
    detail::commit(to, manifest, place.folder, entry, ReadBack::sizes);
    if (manifest.info.health.finite) detail::hint(to, entry);
  });
  return {entry, to.where(entry), place.save_id, place.generation, bytes};
}

/// Writes an entry anew, in at most `files` files of each kind, as the first of a new run. Tensors
/// and state stay what they are, and so do their digests. Memory: at most 40 MiB, and the
/// manifests.
/// @throws CorruptInput if the entry is not what was written; IoError as `write_checkpoint` does
template <Storage From, Storage To>
SaveResult reshard(From& from, std::string const& entry, To& to, std::int64_t files) {
  EntryReader<From> reader(from, entry);
  auto const& source = reader.manifest();
  std::vector<TensorPlan> tensors;
  for (auto const& [key, tensor] : source.tensors)
    tensors.push_back({key, tensor.dtype, tensor.shape});
  Manifest manifest;
  manifest.step = source.step;
  manifest.info = source.info;
  manifest.info.parent_save_id = source.save_id;
  auto const accept = [&](Manifest const& written) {
    for (auto const& [key, tensor] : source.tensors)
      if (written.tensors.at(key).digest != tensor.digest)
        throw CorruptInput(reader.where() + ": " + text(key) + " is not what was saved (digest)");
  };
  return write_checkpoint(
      to, manifest, tensors, files, reader.state(), [&](Piece const& piece) { reader.read(piece); },
      accept);
}

}  // namespace nxd
