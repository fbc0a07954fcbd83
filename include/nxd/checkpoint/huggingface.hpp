// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nxd/checkpoint/agree.hpp>
#include <nxd/checkpoint/blocks.hpp>
#include <nxd/checkpoint/reader.hpp>

namespace nxd {

/// How to write a Hugging Face folder.
struct ExportOptions {
  std::optional<DType> dtype;                              ///< of all tensors; none: as stored
  std::int64_t shard_bytes = std::int64_t{5'000'000'000};  ///< a larger model is cut into shards
  std::map<std::string, std::string> other_files;          ///< name to text: "config.json", ...
  std::string kind = "model";                              ///< the tensors to write
};

namespace detail {

/// A file of an export: what it holds, and its name.
struct ExportShard {
  std::vector<SafetensorsEntry> entries;
  std::int64_t bytes = 0;
  std::string file;
};

inline std::vector<ExportShard> plan_export(Manifest const& manifest,
                                            ExportOptions const& options) {
  std::vector<ExportShard> shards(1);
  for (auto const& [key, tensor] : manifest.tensors) {
    if (key.kind != options.kind) continue;
    auto const float_to = options.dtype.value_or(tensor.dtype);
    auto const type = convertible(tensor.dtype, float_to) ? float_to : tensor.dtype;
    auto const bytes = volume(whole(tensor.shape)) * size_of(type);
    if (!shards.back().entries.empty() && shards.back().bytes + bytes > options.shard_bytes)
      shards.emplace_back();
    shards.back().entries.push_back({key.name, type, tensor.shape});
    shards.back().bytes += bytes;
  }
  auto const count = std::ssize(shards);
  for (std::int64_t i = 0; i < count; ++i)
    shards[static_cast<std::size_t>(i)].file =
        count == 1 ? "model.safetensors"
                   : "model-" + padded(i + 1, 5) + "-of-" + padded(count, 5) + ".safetensors";
  return shards;
}

template <Storage From, Storage To>
void write_export_shard(EntryReader<From>& from, std::string const& kind, To& to,
                        std::string const& folder, ExportShard shard) {
  auto const header = safetensors_header(shard.entries, {{"format", "pt"}});
  write_file(to, folder, shard.file, std::ssize(header) + shard.bytes, [&](auto sink) {
    sink(std::as_bytes(std::span(header)));
    std::vector<std::byte> memory;
    for (auto const& tensor : shard.entries)
      for_each_block(tensor.shape, block_elements, [&](Box const& box) {
        memory.resize(static_cast<std::size_t>(volume(box) * size_of(tensor.dtype)));
        from.read({tensor.name, tensor.shape, box, tensor.dtype, memory, kind});
        sink(std::span<std::byte const>(memory));
      });
  });
}

template <Storage S>
void write_index(S& to, std::string const& folder, std::vector<ExportShard> const& shards) {
  std::map<std::string, std::string> where;
  std::int64_t bytes = 0;
  for (auto const& shard : shards) {
    bytes += shard.bytes;
    for (auto const& tensor : shard.entries) where[tensor.name] = shard.file;
  }
  write_file(to, folder, safetensors_index_name, safetensors_index_text(where, bytes));
}

}  // namespace detail

/// Writes the tensors of an entry of `from` as a Hugging Face folder `name` in `to`: one
/// `model.safetensors`, or shards and an index. One process does it; others see nothing of the
/// folder before it is complete. Cost: one pass over the entry, at most 40 MiB of memory.
/// @throws IoError if the folder exists, CorruptInput if the entry is not what was written.
template <Storage From, Storage To>
void export_huggingface(From& from, std::string const& entry, To& to, std::string const& name,
                        ExportOptions const& options) {
  EntryReader<From> reader(from, entry);
  auto const shards = detail::plan_export(reader.manifest(), options);
  to.make_root();
  auto const folder = ".tmp-" + unique_id();
  detail::or_remove(to, folder, [&] {
    to.make_directory(folder);
    for (auto const& shard : shards)
      detail::write_export_shard(reader, options.kind, to, folder, shard);
    if (shards.size() > 1) detail::write_index(to, folder, shards);
    for (auto const& [file, text] : options.other_files) detail::write_file(to, folder, file, text);
    to.sync_directory(folder);
    to.rename(folder, name);
    to.sync_directory("");
  });
}

/// A folder of weights is one, and not what an export has left that was killed: its files have
/// their sizes from the beginning. @throws CorruptInput naming it
inline void require_finished(std::string const& folder) {
  auto const path = std::filesystem::absolute(folder).lexically_normal();
  auto const name = path.has_filename() ? path.filename() : path.parent_path().filename();
  if (name.string().starts_with(".tmp-"))
    throw CorruptInput(folder + ": an export that did not end has left this; export once more");
}

/// A Hugging Face folder, opened: where each of its tensors lies. Names and shapes are as in its
/// files.
template <Storage S> class HuggingFaceFolder {
 public:
  /// Reads the index and all headers. @throws CorruptInput naming the file and tensor that is
  /// wrong, IoError if there is no model in the folder.
  explicit HuggingFaceFolder(S& storage) : storage_(&storage) {
    require_finished(storage.where(""));
    bool indexed = false, single = false;
    for (auto const& found : storage.list("")) {
      indexed = indexed || found.name == safetensors_index_name;
      single = single || found.name == "model.safetensors";
    }
    if (!indexed && !single)
      throw IoError(storage.where("") + ": has neither model.safetensors nor " +
                    safetensors_index_name);
    if (!indexed) {
      add_file("model.safetensors");
      return;
    }
    auto const where = storage.where(safetensors_index_name);
    auto const index = parse_safetensors_index(
        detail::read_text(storage, safetensors_index_name, detail::manifest_cap), where);
    std::set<std::string> files;
    for (auto const& [tensor, file] : index) files.insert(file);
    for (auto const& file : files) add_file(file);
    for (auto const& [tensor, file] : index)
      if (auto const at = tensors_.find(tensor); at == tensors_.end() || at->second.file != file)
        throw CorruptInput(where + ": says that '" + file + "' holds '" + tensor +
                           "', which it does not");
  }

  /// Where a tensor lies.
  struct Place {
    std::string file;
    SafetensorsEntry entry;
  };

  /// All tensors, by name.
  std::map<std::string, Place> const& tensors() const { return tensors_; }

  /// Fills a piece. Reads only what it needs of the file, at most 4 MiB at a time.
  /// @throws ConfigError if the folder has no such tensor, or in another shape.
  void fill(Piece const& piece) {
    auto const where = storage_->where("");
    auto const found = tensors_.find(piece.name);
    if (found == tensors_.end())
      throw ConfigError(where + ": has no tensor '" + piece.name + "', which the model needs");
    auto const& [file_name, tensor] = found->second;
    if (tensor.shape != piece.shape)
      throw ConfigError(where + ": tensor '" + piece.name + "' has the shape " +
                        text(tensor.shape) + ", the model needs " + text(piece.shape));
    if (!convertible(tensor.dtype, piece.dtype))
      throw ConfigError(where + ": tensor '" + piece.name + "' is stored as " +
                        std::string(name(tensor.dtype)) + ", which cannot be read as " +
                        std::string(name(piece.dtype)));
    detail::require_sound(piece);
    auto file = storage_->open(file_name);
    read_box(file, tensor, piece);
  }

 private:
  void add_file(std::string const& name) {
    auto const where = storage_->where(name);
    auto file = detail::open_patiently(*storage_, name, {});
    for (auto& entry : read_safetensors_header(file, where).entries) {
      auto const tensor = entry.name;
      if (!tensors_.emplace(tensor, Place{name, std::move(entry)}).second)
        throw CorruptInput(where + ": tensor '" + tensor + "' is in another file too");
    }
  }

  static void read_box(typename S::File& file, SafetensorsEntry const& tensor, Piece const& piece) {
    auto const from = size_of(tensor.dtype), to = size_of(piece.dtype);
    std::vector<std::byte> memory;
    for_each_run(piece.box, whole(tensor.shape), piece.box,
                 [&](std::int64_t source, std::int64_t target, std::int64_t count) {
                   for (std::int64_t done = 0; done < count;) {
                     auto const n = std::min(count - done, detail::block_elements);
                     memory.resize(static_cast<std::size_t>(n * from));
                     file.read(tensor.offset + (source + done) * from, memory);
                     convert(memory.data(), tensor.dtype, piece.bytes.data() + (target + done) * to,
                             piece.dtype, n);
                     done += n;
                   }
                 });
  }

  S* storage_;
  std::map<std::string, Place> tensors_;
};

/// Fills the pieces of all ranks from a Hugging Face folder, which is all of `storage`. All ranks
/// call it and end alike. @throws CorruptInput, ConfigError or IoError as `HuggingFaceFolder` does.
template <Communicator C, Storage S>
void load_huggingface(C& comm, S& storage, std::vector<Piece> const& pieces) {
  together(comm, [&] {
    HuggingFaceFolder<S> folder(storage);
    for (auto const& piece : pieces) folder.fill(piece);
  });
}

}  // namespace nxd
