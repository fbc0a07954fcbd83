// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <nxd/checkpoint/safetensors.hpp>

#include "target.hpp"

namespace {

/// A file of a header, whatever length it states, and `data` bytes that nobody looks at.
nxd::SafetensorsHeader header_of(std::string_view file, std::int64_t data) {
  auto const read = [&](std::int64_t offset, std::span<std::byte> to) {
    fuzz::require(offset >= 0 && offset + std::ssize(to) <= std::ssize(file) + data,
                  "reads lie in the file");
    for (std::size_t i = 0; i < to.size(); ++i) {
      auto const at = static_cast<std::size_t>(offset) + i;
      to[i] = static_cast<std::byte>(at < file.size() ? file[at] : 0);
    }
  };
  return nxd::read_safetensors_header(std::ssize(file) + data, read, fuzz::file);
}

void check(nxd::SafetensorsHeader const& header) {
  std::int64_t bytes = 0;
  for (auto const& entry : header.entries) {
    fuzz::require(entry.offset >= 10 && entry.bytes <= header.file_size - entry.offset,
                  "tensors lie in the file");
    fuzz::require(nxd::volume(nxd::whole(entry.shape)) * nxd::size_of(entry.dtype) == entry.bytes,
                  "a tensor has the bytes of its shape");
    bytes += entry.bytes;
  }
  auto again = header.entries;
  auto const text = nxd::safetensors_header(again, header.metadata);
  auto const back = header_of(text, bytes);
  fuzz::require(back.entries.size() == again.size() && back.metadata == header.metadata,
                "what is written of it reads back");
  for (std::size_t i = 0; i < again.size(); ++i)
    fuzz::require(
        back.entries[i].offset == again[i].offset && back.entries[i].shape == again[i].shape,
        "each tensor comes back");
}

std::string with_length(std::uint64_t length, std::string const& rest) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + rest;
}

}  // namespace

/// First byte: 0 a whole file, 1 an index of shards, else the JSON of a header and so many times 4
/// bytes of data.
void fuzz::read(std::string_view input) {
  auto const kind = take_byte(input);
  if (kind == 1) {
    for (auto const& [tensor, shard] : nxd::parse_safetensors_index(input, file))
      require(nxd::is_safe_name(shard), "a shard is a plain name");
  } else if (kind == 0) {
    check(header_of(input, 0));
  } else {
    check(header_of(with_length(input.size(), std::string(input)), 4 * (kind - 2)));
  }
}

std::vector<std::string> fuzz::seeds() {
  std::vector<nxd::SafetensorsEntry> entries{{"a.weight", nxd::DType::f32, {2, 3}},
                                             {"b", nxd::DType::bf16, {4, 1, 2}},
                                             {"c", nxd::DType::i64, {}},
                                             {"d", nxd::DType::f16, {0, 7}}};
  auto const whole = nxd::safetensors_header(entries, {{"format", "pt"}});
  std::string const tensor = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
  return {
      std::string(1, '\0') + whole + std::string(24 + 16 + 8, 'x'),
      "\x0e" + whole.substr(8),
      "\x03" + tensor + "}",
      "\x04" + tensor + ",\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
      "\x02{\"w\":{\"dtype\":\"F64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
      std::string(1, '\0') + with_length(UINT64_MAX, "{}      "),
      "\x01" + nxd::safetensors_index_text({{"a", "x.safetensors"}, {"b", "y"}}, 12),
      "\x01{\"weight_map\":{\"a\":\"../b\"}}",
      "\x02" + tensor + "}",
      "\x04" + tensor + "}",
      "\x04{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"};
}

std::vector<std::string> fuzz::words() {
  return {"\"dtype\":",
          "\"shape\":",
          "\"data_offsets\":",
          "\"__metadata__\":",
          "\"weight_map\":",
          "\"F32\"",
          "\"BF16\"",
          "\"I64\"",
          "[0,4]",
          "4294967296",
          "9223372036854775807",
          "18446744073709551615",
          "\\u0000",
          ".safetensors",
          "\"9007199254740993\"",
          "-1",
          "1e400",
          "[1,1,1,1,1,1,1,1,1]",
          "null",
          "true"};
}
