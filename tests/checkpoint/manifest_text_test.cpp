// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "../fuzz/sample_manifest.hpp"
#include "golden_manifests.hpp"

namespace {

/// A manifest's text with `from` replaced, and a right CRC.
std::string altered(std::string const& from, std::string const& to) {
  auto text = nxd::manifest_text(sample_manifest());
  auto const at = text.find(from);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
  auto const json = text.substr(0, text.rfind("crc32c "));
  return json + nxd::detail::crc_line(json);
}

TEST_CASE("a manifest is read as it was written, numbers of 60 bits and all") {
  auto const m = nxd::parse_manifest(nxd::manifest_text(sample_manifest()), "M");
  CHECK(m.step == std::int64_t{1} << 60);
  CHECK(m.generation == 17);
  CHECK(m.info.layout == sample_manifest().info.layout);
  CHECK(m.info.health.grad_norm == 0.1);
  CHECK(m.info.health.loss == 1e300);
  CHECK(m.files == sample_manifest().files);
  CHECK(m.tensors == sample_manifest().tensors);
  CHECK(nxd::manifest_text(m) == nxd::manifest_text(sample_manifest()));
}

TEST_CASE("a manifest with any one byte changed, or cut anywhere, is refused") {
  auto const text = nxd::manifest_text(sample_manifest());
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 4);
    CHECK_THROWS_AS(nxd::parse_manifest(changed, "M"), nxd::CorruptInput);
    CHECK_THROWS_AS(nxd::parse_manifest(text.substr(0, i), "M"), nxd::CorruptInput);
  }
}

TEST_CASE("a manifest with a right CRC and a wrong claim is refused") {
  CHECK_NOTHROW(nxd::parse_manifest(altered("\"dp\"", "\"ep\""), "M"));
  CHECK_NOTHROW(
      nxd::parse_manifest(altered("{\"config_hash\"", "{\"added_later\":1,\"config_hash\""), "M"));
  struct Lie {
    std::string from, to;
  };
  for (auto const& lie : std::vector<Lie>{
           {"\"major\":1", "\"major\":2"},
           {"\"major\":1", "\"major\":0"},
           {"\"min_reader\":1", "\"min_reader\":2"},
           {"\"features\":[]", "\"features\":[\"delta\"]"},
           {"\"generation\":17", "\"generation\":-17"},
           {"\"generation\":17", "\"generation\":17.0"},
           {"\"generation\":17", "\"generation\":\"17\""},
           {"\"generation\":17", "\"generation\":1e3"},
           {"\"generation\":17", "\"generation\":9223372036854775808"},
           {"\"generation\":17", "\"generation\":18446744073709551616"},
           {"\"generation\":17", "\"generation\":null"},
           {"\"generation\":17", "\"gen\":17"},
           {"\"generation\":17", "\"generation\":17,\"generation\":17"},
           {"\"step\":\"1152921504606846976\"", "\"step\":\"9999999999999999999\""},
           {"\"step\":\"1152921504606846976\"", "\"step\":\"0x10\""},
           {"\"finite\":true", "\"finite\":1"},
           {"\"name\":\"state.json\"", "\"name\":\"../state.json\""},
           {"\"name\":\"state.json\"", "\"name\":\"/etc/passwd\""},
           {"\"name\":\"state.json\"", "\"name\":\"other.json\""},
           {"\"name\":\"state.json\"", "\"name\":\"model/00000.safetensors\""},
           {"\"name\":\"model/00000.safetensors\"", "\"name\":\"model/sub/00000.safetensors\""},
           {"\"name\":\"model/00000.safetensors\"", "\"name\":\"model/1.safetensors\""},
           {"\"size\":4194305", "\"size\":4194304"},
           {"\"size\":4194305", "\"size\":100"},
           {"\"size\":4194305", "\"size\":\"9223372036854775807\""},
           {"\"ffffffff\"", "\"fffffff\""},
           {"\"ffffffff\"", "\"FFFFFFFF\""},
           {"\"ffffffff\",", ""},
           {"\"xxh128\":\"99aa", "\"xxh128\":\"99Aa"},
           {"\"xxh128\":\"99aa", "\"xxh128\":\"99a"},
           {"\"xxh128\":\"99aa06d3014798d86001c324468d497f\"", "\"xxh128\":\"\""},
           {"\"xxh128\":\"99aa06d3014798d86001c324468d497f\"", "\"xxh128\":0"},
           {"\"xxh128\":", "\"xxh64\":"},
           {"\"dtype\":\"F32\"", "\"dtype\":\"F33\""},
           {"\"dtype\":\"F32\"", "\"dtype\":\"F64\""},
           {"\"shape\":[4,6]", "\"shape\":[4,7]"},
           {"\"shape\":[4,6]", "\"shape\":[4,6,1]"},
           {"\"shape\":[4,6]", "\"shape\":[4294967296,4294967296]"},
           {"\"start\":[0,2]", "\"start\":[0,1]"},
           {"\"start\":[0,2]", "\"start\":[0]"},
           {"\"extent\":[4,4]", "\"extent\":[4,3]"},
           {"\"extent\":[4,4]", "\"extent\":[4,4503599627370496]"},
           {"\"offset\":64", "\"offset\":\"9223372036854775800\""},
           {"\"offset\":64", "\"offset\":63"},
           {"\"digest\":\"0", "\"digest\":\"g"},
           {"\"digest\":\"0", "\"digest\":\""}}) {
    CAPTURE(lie.to);
    CHECK_THROWS_AS(nxd::parse_manifest(altered(lie.from, lie.to), "M"), nxd::CorruptInput);
  }
}

TEST_CASE("manifests of all formats that were ever written are read as what they stood for") {
  auto expected = sample_manifest();
  CHECK(nxd::manifest_text(expected) == manifest_1_1);
  for (auto& file : expected.files) file.xxh128.clear();
  auto const old = nxd::parse_manifest(manifest_1_0, "M");
  CHECK(old.files == expected.files);
  CHECK(old.tensors == expected.tensors);
  CHECK(nxd::manifest_text(old) == manifest_1_0);
}

}  // namespace
