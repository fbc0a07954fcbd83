// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/checkpoint/safetensors.hpp>

namespace {

nxd::SafetensorsHeader read(std::string const& file) {
  return nxd::read_safetensors_header(
      std::ssize(file),
      [&](std::int64_t offset, std::span<std::byte> to) {
        REQUIRE(offset + std::ssize(to) <= std::ssize(file));
        std::memcpy(to.data(), file.data() + offset, to.size());
      },
      "m.safetensors");
}

std::string with_length(std::uint64_t length, std::string const& rest) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + rest;
}

std::string with_header(std::string const& json, std::size_t data) {
  return with_length(json.size(), json + std::string(data, 'x'));
}

TEST_CASE("what is written is read: names, types, shapes, places, metadata") {
  std::vector<nxd::SafetensorsEntry> entries{{"b", nxd::DType::f32, {2, 3}},
                                             {"a\"\\\n", nxd::DType::bf16, {5}},
                                             {"scalar", nxd::DType::i64, {}},
                                             {"nothing", nxd::DType::f16, {0, 7}}};
  auto const header = nxd::safetensors_header(entries, {{"format", "pt"}});
  CHECK(header.size() % 8 == 0);
  auto const back = read(header + std::string(24 + 10 + 8, 'x'));
  REQUIRE(back.entries.size() == 4);
  CHECK(back.metadata.at("format") == "pt");
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(back.entries[i].name == entries[i].name);
    CHECK(back.entries[i].dtype == entries[i].dtype);
    CHECK(back.entries[i].shape == entries[i].shape);
    CHECK(back.entries[i].offset == entries[i].offset);
    CHECK(back.entries[i].bytes == entries[i].bytes);
  }
}

struct Hostile {
  char const* what;
  std::string file;
  char const* said;
};

std::string tensor(std::string const& json) { return "{\"w\":" + json + "}"; }

std::string deep(int levels) {
  return "{\"w\":" + std::string(static_cast<std::size_t>(levels), '[') +
         std::string(static_cast<std::size_t>(levels), ']') + "}";
}

std::vector<Hostile> const hostile{
    {"an empty file", "", "too short"},
    {"a length and nothing", with_length(2, ""), "too short"},
    {"a header longer than the file", with_length(1000, "{}      "), "header of 1000"},
    {"a header of 2^31", with_length(1ULL << 31, "{}      "), "states a header"},
    {"a header of 2^32", with_length(1ULL << 32, "{}      "), "states a header"},
    {"a header of 2^63 - 1", with_length(INT64_MAX, "{}      "), "states a header"},
    {"a header of 2^64 - 1", with_length(UINT64_MAX, "{}      "), "states a header"},
    {"a header of nothing", with_length(0, "{}"), "no JSON object"},
    {"a header that begins with a space", with_header(" {}", 0), "no JSON object"},
    {"an array", with_header("[]   ", 0), "no JSON object"},
    {"JSON that ends early", with_header("{\"w\":", 0), "JSON"},
    {"JSON with more behind it", with_header("{}{}", 0), "JSON"},
    {"JSON with a NUL and more behind it", with_header(std::string("{}\0rest", 7), 0), "byte 3"},
    {"bytes that are no UTF-8", with_header("{\"\xff\":1}", 0), "JSON"},
    {"a NUL in a name", with_header("{\"a\\u0000b\":{}}", 0), "NUL"},
    {"a name twice",
     with_header("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                 "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                 4),
     "twice"},
    {"a hundred levels", with_header(deep(100), 0), "levels"},
    {"a hundred thousand levels", with_header(deep(100000), 0), "levels"},
    {"a tensor that is a number", with_header(tensor("3"), 0), "'w'"},
    {"a tensor without a name", with_header("{\"\":{\"dtype\":\"F32\"}}", 0), "name"},
    {"no dtype", with_header(tensor("{\"shape\":[1],\"data_offsets\":[0,4]}"), 4), "'dtype'"},
    {"no shape", with_header(tensor("{\"dtype\":\"F32\",\"data_offsets\":[0,4]}"), 4), "'shape'"},
    {"no offsets", with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1]}"), 4), "'data_offsets'"},
    {"an unknown key",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}"), 4),
     "unknown key 'x'"},
    {"an unknown dtype",
     with_header(tensor("{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}"), 4), "dtype"},
    {"a negative extent",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}"), 4), "shape"},
    {"a broken extent",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}"), 4), "shape"},
    {"an extent that is a text",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[0,\"9007199254740993\"],"
                        "\"data_offsets\":[0,0]}"),
                 0),
     "shape"},
    {"an offset of -0",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-0,4]}"), 4),
     "data_offsets"},
    {"an extent of 2^64",
     with_header(
         tensor("{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,4]}"), 4),
     "shape"},
    {"a shape whose product overflows",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
                        "\"data_offsets\":[0,0]}"),
                 0),
     "'w'"},
    {"an exabyte in four bytes",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1073741824,268435456],"
                        "\"data_offsets\":[0,4]}"),
                 4),
     "'w'"},
    {"a range that is not the shape",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}"), 4), "'w'"},
    {"a range backwards",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}"), 4), "range"},
    {"a range of three",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}"), 4), "range"},
    {"negative offsets",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}"), 4),
     "data_offsets"},
    {"a range after the file",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"), 4),
     "after the file"},
    {"a hole before the first tensor",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}"), 8), "'w'"},
    {"bytes behind the last tensor",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"), 5),
     "1 bytes after"},
    {"two tensors in one place",
     with_header("{\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                 "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                 4),
     "'w'"},
    {"a hole between two tensors",
     with_header("{\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                 "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
                 12),
     "'w'"},
    {"metadata that is a number", with_header("{\"__metadata__\":{\"a\":1}}", 0), "text"},
    {"a hundred dimensions",
     with_header(tensor("{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"
                        "\"data_offsets\":[0,4]}"),
                 4),
     "dimensions"},
};

TEST_CASE("a header that lies is refused with the file and what is wrong") {
  for (auto const& h : hostile) {
    CAPTURE(h.what);
    try {
      read(h.file);
      FAIL_CHECK("was read");
    } catch (nxd::CorruptInput const& e) {
      CAPTURE(e.what());
      CHECK(std::string(e.what()).find("m.safetensors") != std::string::npos);
      CHECK(std::string(e.what()).find(h.said) != std::string::npos);
    }
  }
}

TEST_CASE("an index names plain files of its own folder only") {
  auto const index = [](std::string const& shard) {
    return "{\"weight_map\":{\"w\":\"" + shard + "\"}}";
  };
  CHECK(nxd::parse_safetensors_index(index("model-00001-of-00002.safetensors"), "i").at("w") ==
        "model-00001-of-00002.safetensors");
  for (char const* bad : {"../secret", "/etc/passwd", "a/b", "..", ".hidden", "", "a\\\\b", "a..b",
                          "a b", "a\\u0000b"})
    CHECK_THROWS_AS(nxd::parse_safetensors_index(index(bad), "i"), nxd::CorruptInput);
  CHECK_THROWS_AS(nxd::parse_safetensors_index("{}", "i"), nxd::CorruptInput);
  CHECK_THROWS_AS(nxd::parse_safetensors_index("{\"weight_map\":{\"w\":3}}", "i"),
                  nxd::CorruptInput);
  auto const text = nxd::safetensors_index_text({{"a", "x"}, {"b", "y"}}, 12);
  CHECK(nxd::parse_safetensors_index(text, "i").size() == 2);
}

}  // namespace
