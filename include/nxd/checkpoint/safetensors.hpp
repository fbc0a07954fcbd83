// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/box.hpp>
#include <nxd/checkpoint/json.hpp>
#include <nxd/checkpoint/names.hpp>
#include <nxd/core/dtype.hpp>

namespace nxd {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

/// A tensor of a safetensors file, and the bytes of the file that hold it.
struct SafetensorsEntry {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  ///< from the beginning of the file
  std::int64_t bytes = 0;
};

/// What a safetensors file says of itself.
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< in the order of their bytes
  std::map<std::string, std::string> metadata;
  std::int64_t file_size = 0;
};

/// The longest header that is read.
inline constexpr std::int64_t safetensors_header_cap = 100'000'000;

namespace detail {

inline std::optional<DType> dtype_named(std::string_view text) {
  for (auto const t : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i32, DType::i64})
    if (name(t) == text) return t;
  return {};
}

/// Integers below 2^53 that stand as numbers, as any reader of the format reads them.
inline std::vector<std::int64_t> plain_counts(JsonView const& json) {
  for (auto const& element : json.array())
    if (std::holds_alternative<std::string>(element.value)) json.refuse("a list of numbers");
  return json.counts();
}

inline SafetensorsEntry safetensors_entry(std::string const& name, JsonView const& json) {
  if (name.empty()) json.refuse("a tensor with a name");
  for (auto const& [key, value] : json.object())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      json.refuse("a tensor: it has the unknown key '" + key + "'");
  auto const type = dtype_named(json["dtype"].string());
  if (!type) json["dtype"].refuse("one of F32, F64, BF16, F16, I32, I64");
  SafetensorsEntry entry{name, *type, plain_counts(json["shape"])};
  if (entry.shape.size() > 16) json["shape"].refuse("of at most 16 dimensions");
  auto const range = plain_counts(json["data_offsets"]);
  if (range.size() != 2 || range[0] > range[1]) json["data_offsets"].refuse("a range");
  auto const needed = checked_product(entry.shape, size_of(*type));
  if (!needed || *needed != range[1] - range[0])
    throw CorruptInput(json.where() + ": has the shape " + text(entry.shape) + " in " +
                       std::to_string(range[1] - range[0]) + " bytes");
  entry.offset = range[0];
  entry.bytes = *needed;
  return entry;
}

/// The entries fill `bytes` from 0 on, without holes and without sharing.
inline void require_contiguous(std::vector<SafetensorsEntry> const& entries, std::int64_t bytes,
                               std::string const& file) {
  std::int64_t end = 0;
  for (auto const& entry : entries) {
    if (entry.offset != end)
      throw CorruptInput(file + ": tensor '" + entry.name + "' begins at byte " +
                         std::to_string(entry.offset) + " of the data, not at " +
                         std::to_string(end) + " where the one before it ends");
    if (entry.bytes > bytes - end)
      throw CorruptInput(file + ": tensor '" + entry.name + "' ends after the file");
    end += entry.bytes;
  }
  if (end != bytes)
    throw CorruptInput(file + ": has " + std::to_string(bytes - end) +
                       " bytes after its last tensor");
}

}  // namespace detail

/// Reads and checks the header of a safetensors file of `file_size` bytes whose first bytes `read(
/// offset, span)` gives. @throws CorruptInput naming `where`, and the tensor that lies.
template <class Read>
SafetensorsHeader read_safetensors_header(std::int64_t file_size, Read&& read,
                                          std::string const& where) {
  if (file_size < 10) throw CorruptInput(where + ": is too short for a safetensors file");
  std::uint64_t stated = 0;
  read(std::int64_t{0}, std::as_writable_bytes(std::span(&stated, 1)));
  if (stated > static_cast<std::uint64_t>(safetensors_header_cap) ||
      static_cast<std::int64_t>(stated) > file_size - 8)
    throw CorruptInput(where + ": states a header of " + std::to_string(stated) +
                       " bytes, longer than the file or than " +
                       std::to_string(safetensors_header_cap));
  auto const length = static_cast<std::int64_t>(stated);
  std::string json(stated, ' ');
  read(std::int64_t{8}, std::as_writable_bytes(std::span(json)));
  if (json.empty() || json[0] != '{') throw CorruptInput(where + ": its header is no JSON object");

  SafetensorsHeader header;
  header.file_size = file_size;
  auto const parsed = parse_json(json, where);
  JsonView const view(parsed, where);
  for (auto const& [name, value] : view.object()) {
    if (name == "__metadata__") {
      for (auto const& [key, text] : view[name].object())
        header.metadata[key] = JsonView(text, where + ": " + key).string();
      continue;
    }
    header.entries.push_back(
        detail::safetensors_entry(name, JsonView(value, where + ": tensor '" + name + "'")));
  }
  std::ranges::stable_sort(header.entries, {},
                           [](SafetensorsEntry const& e) { return std::pair(e.offset, e.bytes); });
  detail::require_contiguous(header.entries, file_size - 8 - length, where);
  for (auto& entry : header.entries) entry.offset += 8 + length;
  return header;
}

/// The header of an open file of a `Storage`.
template <class File>
requires requires(File& file, std::span<std::byte> to) { file.read(0, to); }
SafetensorsHeader read_safetensors_header(File& file, std::string const& where) {
  return read_safetensors_header(
      file.size(), [&](std::int64_t offset, std::span<std::byte> to) { file.read(offset, to); },
      where);
}

/// The first bytes of a safetensors file that holds these tensors one after the other; sets where
/// each of them lies. The data begin at a multiple of 8 bytes.
inline std::string safetensors_header(std::vector<SafetensorsEntry>& entries,
                                      std::map<std::string, std::string> const& metadata = {}) {
  Json::Object object;
  if (!metadata.empty()) {
    Json::Object texts;
    for (auto const& [key, value] : metadata) texts[key] = Json(value);
    object["__metadata__"] = Json(std::move(texts));
  }
  std::int64_t end = 0;
  for (auto& entry : entries) {
    entry.offset = end;
    entry.bytes = volume(whole(entry.shape)) * size_of(entry.dtype);
    end += entry.bytes;
    object[entry.name] = Json(Json::Object{{"dtype", Json(std::string(name(entry.dtype)))},
                                           {"shape", Json(entry.shape)},
                                           {"data_offsets", Json(std::vector{entry.offset, end})}});
  }
  NXD_EXPECTS(object.size() == entries.size() + (metadata.empty() ? 0 : 1));
  auto json = to_text(Json(std::move(object)));
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string header(8, '\0');
  std::uint64_t const length = json.size();
  std::memcpy(header.data(), &length, 8);
  header += json;
  for (auto& entry : entries) entry.offset += std::ssize(header);
  return header;
}

/// The name of the file that says which shard holds which tensor.
inline constexpr char const* safetensors_index_name = "model.safetensors.index.json";

/// Which shard of a folder holds which tensor. @throws CorruptInput naming `where` if a shard is
/// not a plain name of a file in the same folder.
inline std::map<std::string, std::string> parse_safetensors_index(std::string_view text,
                                                                  std::string const& where) {
  auto const parsed = parse_json(text, where);
  JsonView const map = JsonView(parsed, where)["weight_map"];
  std::map<std::string, std::string> shards;
  for (auto const& [tensor, file] : map.object()) {
    auto const& shard = JsonView(file, map.where() + ": " + tensor).string();
    require_safe_name(shard, map.where() + ": '" + tensor + "'");
    shards[tensor] = shard;
  }
  return shards;
}

/// The text of such a file.
inline std::string safetensors_index_text(std::map<std::string, std::string> const& shards,
                                          std::int64_t total_bytes) {
  Json::Object map;
  for (auto const& [tensor, file] : shards) map[tensor] = Json(file);
  Json::Object metadata{{"total_size", count_json(total_bytes)}};
  return to_text(Json(Json::Object{{"metadata", Json(std::move(metadata))},
                                   {"weight_map", Json(std::move(map))}})) +
         "\n";
}

}  // namespace nxd
