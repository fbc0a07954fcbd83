// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nxd/checkpoint/convert.hpp>
#include <nxd/checkpoint/entry.hpp>

namespace nxd::detail {

/// A part of a tensor in a file, and the piece that wants some of it.
struct Read {
  ChunkRecord const* chunk;
  TensorRecord const* tensor;
  Piece const* piece;
  Box common;
};

/// The record of the tensor that a piece is part of. @throws ConfigError if they do not fit.
inline TensorRecord const& record_of(Piece const& piece, Manifest const& manifest,
                                     std::string const& where) {
  auto const found = manifest.tensors.find({piece.kind, piece.name});
  if (found == manifest.tensors.end()) {
    auto const of_kind = manifest.tensors.lower_bound({piece.kind, ""});
    bool const none = of_kind == manifest.tensors.end() || of_kind->first.kind != piece.kind;
    throw ConfigError(where + ": has no " + text(piece) + ", which the model needs" +
                      (none ? "; it has no " + piece.kind + " tensors at all" : ""));
  }
  auto const& record = found->second;
  if (record.shape != piece.shape)
    throw ConfigError(where + ": " + text(piece) + " has the shape " + text(record.shape) +
                      ", the model needs " + text(piece.shape));
  if (!convertible(record.dtype, piece.dtype))
    throw ConfigError(where + ": " + text(piece) + " is stored as " +
                      std::string(name(record.dtype)) + ", which cannot be read as " +
                      std::string(name(piece.dtype)));
  require_sound(piece);
  return record;
}

/// Copies what the elements [offset, ...) of a chunk have for a piece, run by run.
template <Storage S> void read_common(CheckedFile<S>& file, Read const& read) {
  auto const from = read.tensor->dtype, to = read.piece->dtype;
  for_each_run(read.common, read.chunk->box, read.piece->box,
               [&](std::int64_t source, std::int64_t target, std::int64_t count) {
                 auto* out = read.piece->bytes.data() + target * size_of(to);
                 file.visit(read.chunk->offset + source * size_of(from), count * size_of(from),
                            [&](std::span<std::byte const> bytes) {
                              auto const n = std::ssize(bytes) / size_of(from);
                              convert(bytes.data(), from, out, to, n);
                              out += n * size_of(to);
                            });
               });
}

/// Fills pieces from an entry, reading only the chunks of files that they need, each file in the
/// order of its bytes. Cost: those bytes, a CRC of them, 4 MiB of memory.
template <Storage S>
void fill(S& storage, std::string const& entry, Manifest const& manifest,
          std::vector<Piece> const& pieces, Patience patience) {
  std::vector<Read> reads;
  for (auto const& piece : pieces) {
    auto const& record = record_of(piece, manifest, storage.where(entry));
    if (volume(piece.box) == 0) continue;
    for (auto const& chunk : record.chunks)
      if (auto common = intersection(chunk.box, piece.box); common)
        reads.push_back({&chunk, &record, &piece, std::move(*common)});
  }
  std::ranges::stable_sort(reads, {}, [](Read const& read) {
    return std::pair(std::string_view(read.chunk->file), read.chunk->offset);
  });
  std::optional<CheckedFile<S>> file;
  for (auto const& read : reads) {
    if (!file || file->record().name != read.chunk->file)
      file.emplace(storage, entry, *manifest.file(read.chunk->file), patience);
    read_common(*file, read);
  }
}

/// The digests of what a rank holds, one line a piece: kind, type, box, digest, name.
inline std::string digest_lines(std::vector<Piece> const& pieces) {
  std::string lines;
  for (auto const& piece : pieces)
    if (volume(piece.box) > 0)
      lines += to_text(Json(Json::Array{
                   Json(piece.kind), Json(piece.name), Json(std::string(name(piece.dtype))),
                   Json(piece.box.start), Json(piece.box.extent),
                   Json(text(digest(piece.shape, piece.box, piece.dtype, piece.bytes)))})) +
               "\n";
  return lines;
}

/// The parts of one tensor that the ranks hold, without the copies, and their digests.
struct Held {
  std::vector<Box> boxes;
  std::vector<Digest> digests;
};

inline void add_held(std::string_view line, Manifest const& manifest, std::string const& where,
                     std::map<TensorKey, Held>& held) {
  auto const json = parse_json(line, "a digest");
  JsonView const view(json, "a digest");
  auto const at = [&](std::size_t i) { return JsonView(view.array()[i], "a digest"); };
  TensorKey const key{at(0).string(), at(1).string()};
  auto const& record = manifest.tensors.at(key);
  if (at(2).string() != name(record.dtype)) return;  // other bits: nothing to compare
  Box const box{at(3).counts(), at(4).counts()};
  auto const sum = digest_from(at(5).string()).value();
  auto& known = held[key];
  auto const same = std::ranges::find(known.boxes, box);
  if (same == known.boxes.end()) {
    known.boxes.push_back(box);
    known.digests.push_back(sum);
  } else if (known.digests[static_cast<std::size_t>(same - known.boxes.begin())] != sum)
    throw CorruptInput(where + ": two ranks have loaded other bits for the part " + text(box) +
                       " of " + key.kind + " tensor '" + key.name + "'");
}

/// Compares what has arrived in the memory of the ranks with what was saved, for each tensor of
/// which they hold all, as it was stored. Returns the number of tensors compared.
inline std::int64_t require_digests(std::vector<std::string> const& lines, Manifest const& manifest,
                                    std::string const& where) {
  std::map<TensorKey, Held> held;
  for (std::string_view text : lines)
    for (std::size_t end; !text.empty(); text.remove_prefix(end + 1)) {
      end = text.find('\n');
      add_held(text.substr(0, end), manifest, where, held);
    }
  std::int64_t compared = 0;
  for (auto const& [key, parts] : held) {
    auto const& record = manifest.tensors.at(key);
    if (cover_mistake(record.shape, parts.boxes)) continue;
    Digest sum;
    for (auto const& part : parts.digests) sum += part;
    if (sum != record.digest)
      throw CorruptInput(where + ": " + key.kind + " tensor '" + key.name +
                         "' is not what was saved (digest)");
    ++compared;
  }
  return compared;
}

}  // namespace nxd::detail
