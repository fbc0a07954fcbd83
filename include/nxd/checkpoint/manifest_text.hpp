// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>

#include <nxd/checkpoint/json.hpp>
#include <nxd/checkpoint/manifest.hpp>
#include <nxd/checkpoint/names.hpp>
#include <nxd/checkpoint/safetensors.hpp>

namespace nxd {

/// The format that is written, and the oldest reader that understands it. Format 1.1 says the
/// XXH3-128 of each file; 1.0, which is still read, did not.
inline constexpr std::int64_t manifest_major = 1, manifest_minor = 1, manifest_min_reader = 1;

namespace detail {

inline Json float_json(double x) {
  char digits[64];
  auto const end = std::to_chars(digits, digits + sizeof digits, x, std::chars_format::hex).ptr;
  return Json(std::string(digits, end));
}

inline double float_from(JsonView const& json) {
  auto const& text = json.string();
  double x = 0;
  auto const [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), x, std::chars_format::hex);
  if (error != std::errc{} || end != text.data() + text.size()) json.refuse("a hexadecimal float");
  return x;
}

inline Json json_of(FileRecord const& file) {
  Json::Array crcs;
  for (auto const crc : file.crcs) crcs.push_back(Json(hex(crc, 8)));
  Json::Object json{
      {"name", Json(file.name)}, {"size", count_json(file.size)}, {"crc32c", Json(crcs)}};
  if (!file.xxh128.empty()) json["xxh128"] = Json(file.xxh128);
  return json;
}

inline Json json_of(TensorRecord const& tensor) {
  Json::Array chunks;
  for (auto const& chunk : tensor.chunks)
    chunks.push_back(Json(Json::Object{{"start", Json(chunk.box.start)},
                                       {"extent", Json(chunk.box.extent)},
                                       {"file", Json(chunk.file)},
                                       {"offset", count_json(chunk.offset)}}));
  return Json(Json::Object{{"dtype", Json(std::string(name(tensor.dtype)))},
                           {"shape", Json(tensor.shape)},
                           {"digest", Json(text(tensor.digest))},
                           {"chunks", Json(std::move(chunks))}});
}

inline FileRecord file_from(JsonView const& json, std::int64_t minor) {
  FileRecord file{json["name"].string(), json["size"].count(), {}};
  require_safe_path(file.name, json.where());
  auto const crcs = json["crc32c"];
  for (auto const& element : crcs.array()) {
    auto const crc = unhex(JsonView(element, crcs.where()).string(), 8);
    if (!crc) crcs.refuse("a list of CRCs");
    file.crcs.push_back(static_cast<std::uint32_t>(*crc));
  }
  auto const wanted = file.size / crc_chunk_bytes + (file.size % crc_chunk_bytes != 0 ? 1 : 0);
  if (std::ssize(file.crcs) != wanted)
    crcs.refuse("one CRC for each " + std::to_string(crc_chunk_bytes) + " bytes of '" + file.name +
                "'");
  if (minor == 0 && !json.has("xxh128")) return file;
  file.xxh128 = json["xxh128"].string();
  if (!digest_from(file.xxh128)) json["xxh128"].refuse("32 hexadecimal digits");
  return file;
}

inline TensorRecord tensor_from(JsonView const& json) {
  TensorRecord tensor;
  auto const type = dtype_named(json["dtype"].string());
  if (!type) json["dtype"].refuse("a known type");
  tensor.dtype = *type;
  tensor.shape = json["shape"].counts();
  if (!checked_product(tensor.shape, size_of(*type))) json["shape"].refuse("a possible shape");
  auto const sum = digest_from(json["digest"].string());
  if (!sum) json["digest"].refuse("a digest");
  tensor.digest = *sum;
  auto const chunks = json["chunks"];
  for (auto const& element : chunks.array()) {
    JsonView const chunk(element, chunks.where());
    tensor.chunks.push_back({{chunk["start"].counts(), chunk["extent"].counts()},
                             chunk["file"].string(),
                             chunk["offset"].count()});
  }
  return tensor;
}

/// The parts of a tensor lie in its shape and in their files, and cover it once.
inline void require_sound(TensorRecord const& tensor, std::string const& where,
                          std::map<std::string, std::int64_t> const& sizes) {
  std::vector<Box> boxes;
  for (auto const& chunk : tensor.chunks) boxes.push_back(chunk.box);
  if (auto const mistake = cover_mistake(tensor.shape, boxes))
    throw CorruptInput(where + ": " + *mistake);
  for (auto const& chunk : tensor.chunks) {
    auto const size = sizes.find(chunk.file);
    if (size == sizes.end())
      throw CorruptInput(where + ": lies in the file '" + chunk.file + "', which is not listed");
    auto const end = checked_add(chunk.offset, volume(chunk.box) * size_of(tensor.dtype));
    if (!end || *end > size->second || chunk.offset % size_of(tensor.dtype) != 0)
      throw CorruptInput(where + ": does not lie in the file '" + chunk.file + "'");
  }
}

/// No two parts of tensors share bytes of a file.
inline void require_disjoint(Manifest const& manifest, std::string const& where) {
  struct Range {
    std::string_view file;
    std::int64_t begin, end;
    std::string_view tensor;
  };
  std::vector<Range> ranges;
  for (auto const& [key, tensor] : manifest.tensors)
    for (auto const& chunk : tensor.chunks)
      if (auto const bytes = volume(chunk.box) * size_of(tensor.dtype); bytes > 0)
        ranges.push_back({chunk.file, chunk.offset, chunk.offset + bytes, key.name});
  std::ranges::sort(ranges, {}, [](Range const& r) { return std::pair(r.file, r.begin); });
  for (std::size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].file == ranges[i - 1].file && ranges[i].begin < ranges[i - 1].end)
      throw CorruptInput(where + ": the tensors '" + std::string(ranges[i - 1].tensor) + "' and '" +
                         std::string(ranges[i].tensor) + "' share bytes of '" +
                         std::string(ranges[i].file) + "'");
}

inline Json tensors_json(Manifest const& manifest) {
  Json::Object kinds;
  for (auto const& [key, tensor] : manifest.tensors) {
    auto& kind = kinds[key.kind];
    if (!std::holds_alternative<Json::Object>(kind.value)) kind = Json(Json::Object{});
    std::get<Json::Object>(kind.value)[key.name] = json_of(tensor);
  }
  return Json(std::move(kinds));
}

inline Json files_json(Manifest const& manifest) {
  Json::Array files;
  for (auto const& file : manifest.files) files.push_back(json_of(file));
  return Json(std::move(files));
}

inline void read_contents(JsonView const& json, std::int64_t minor, Manifest& manifest) {
  auto const files = json["files"], kinds = json["tensors"];
  for (auto const& element : files.array())
    manifest.files.push_back(file_from(JsonView(element, files.where()), minor));
  for (auto const& [kind, tensors] : kinds.object()) {
    if (!is_safe_name(kind)) kinds.refuse("a list of kinds");
    for (auto const& [name, record] : JsonView(tensors, kinds.where() + ": " + kind).object())
      manifest.tensors[{kind, name}] =
          tensor_from(JsonView(record, json.where() + ": tensor '" + name + "'"));
  }
}

inline std::int64_t ranks_from(JsonView const& json) {
  auto const ranks = json.count();
  if (ranks < 1 || ranks > INT32_MAX) json.refuse("a number of ranks");
  return ranks;
}

inline SaveInfo info_from(JsonView const& json) {
  SaveInfo info;
  auto const layout = json["layout"], health = json["health"];
  for (auto const& [axis, ranks] : layout.object())
    info.layout[axis] = ranks_from(JsonView(ranks, layout.where() + ": " + axis));
  info.config_hash = json["config_hash"].string();
  info.dataset_fp = json["dataset_fp"].string();
  info.tokenizer_fp = json["tokenizer_fp"].string();
  info.parent_save_id = json["parent_save_id"].string();
  info.health = {health["finite"].boolean(), float_from(health["grad_norm"]),
                 float_from(health["loss"])};
  return info;
}

/// The minor number of a manifest's format, which this program can read.
inline std::int64_t readable_minor(JsonView const& json) {
  auto const format = json["format"];
  auto const reader = format["min_reader"].count();
  if (format["major"].count() != manifest_major || reader < 1 || reader > manifest_major)
    throw CorruptInput(json.where() + ": has the format " +
                       std::to_string(format["major"].count()) + ", this program reads " +
                       std::to_string(manifest_major) + "; use a newer program");
  if (!json["features"].array().empty())
    throw CorruptInput(json.where() + ": needs a feature that this program does not have");
  return format["minor"].count();
}

/// The format of what is in a manifest: 1.0 if that has been read of a file without an XXH3-128.
inline std::int64_t minor_of(Manifest const& manifest) {
  return std::ranges::any_of(manifest.files, &std::string::empty, &FileRecord::xxh128)
             ? 0
             : manifest_minor;
}

/// What follows the JSON: its CRC.
inline std::string crc_line(std::string_view json) {
  return "crc32c " + hex(crc32c(std::as_bytes(std::span(json))), 8) + "\n";
}

}  // namespace detail

/// The bytes of a manifest: JSON, and a last line with the CRC of all before it.
inline std::string manifest_text(Manifest const& m) {
  Json::Object layout;
  for (auto const& [axis, ranks] : m.info.layout) layout[axis] = count_json(ranks);
  auto const& health = m.info.health;
  auto const json =
      to_text(Json(Json::Object{
          {"format", Json(Json::Object{{"major", Json(manifest_major)},
                                       {"minor", Json(detail::minor_of(m))},
                                       {"min_reader", Json(manifest_min_reader)}})},
          {"features", Json(Json::Array{})},
          {"run_id", Json(m.run_id)},
          {"save_id", Json(m.save_id)},
          {"parent_save_id", Json(m.info.parent_save_id)},
          {"generation", count_json(m.generation)},
          {"step", count_json(m.step)},
          {"layout", Json(std::move(layout))},
          {"config_hash", Json(m.info.config_hash)},
          {"dataset_fp", Json(m.info.dataset_fp)},
          {"tokenizer_fp", Json(m.info.tokenizer_fp)},
          {"health", Json(Json::Object{{"finite", Json(health.finite)},
                                       {"grad_norm", detail::float_json(health.grad_norm)},
                                       {"loss", detail::float_json(health.loss)}})},
          {"files", detail::files_json(m)},
          {"tensors", detail::tensors_json(m)}})) +
      "\n";
  return json + detail::crc_line(json);
}

/// The manifest that such bytes stand for, every claim in it checked against every other.
/// @throws CorruptInput naming `where` and the claim.
inline Manifest parse_manifest(std::string_view text, std::string const& where) {
  auto const line = text.rfind("crc32c ");
  if (line == std::string_view::npos || detail::crc_line(text.substr(0, line)) != text.substr(line))
    throw CorruptInput(where + ": is torn or changed: its last line is not the CRC of the others");
  auto const parsed = parse_json(text.substr(0, line), where);
  JsonView const json(parsed, where);
  auto const minor = detail::readable_minor(json);
  Manifest m{json["run_id"].string(),
             json["save_id"].string(),
             json["generation"].count(),
             json["step"].count(),
             detail::info_from(json),
             {},
             {}};
  detail::read_contents(json, minor, m);
  std::map<std::string, std::int64_t> sizes;
  for (auto const& file : m.files)
    if (!sizes.emplace(file.name, file.size).second)
      throw CorruptInput(where + ": lists the file '" + file.name + "' twice");
  if (!sizes.contains(state_name))
    throw CorruptInput(where + ": does not list '" + std::string(state_name) + "'");
  for (auto const& [key, tensor] : m.tensors)
    detail::require_sound(tensor, where + ": " + key.kind + " tensor '" + key.name + "'", sizes);
  detail::require_disjoint(m, where);
  return m;
}

}  // namespace nxd
