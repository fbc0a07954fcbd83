// SPDX-License-Identifier: Apache-2.0
#include "sample_manifest.hpp"
#include "target.hpp"

/// First byte: 0 a whole manifest, else its JSON, to which the right CRC is added.
void fuzz::read(std::string_view input) {
  std::string text;
  if (take_byte(input) != 0)
    text = std::string(input) + nxd::detail::crc_line(input);
  else
    text = input;
  auto const manifest = nxd::parse_manifest(text, file);
  auto const again = nxd::manifest_text(manifest);
  require(nxd::manifest_text(nxd::parse_manifest(again, file)) == again,
          "a manifest comes back as it was written");
  for (auto const& [key, tensor] : manifest.tensors) {
    std::int64_t elements = 0;
    for (auto const& chunk : tensor.chunks) elements += nxd::volume(chunk.box);
    require(elements == nxd::volume(nxd::whole(tensor.shape)), "parts cover a tensor");
  }
}

std::vector<std::string> fuzz::seeds() {
  auto const whole = nxd::manifest_text(sample_manifest());
  auto const json = whole.substr(0, whole.rfind("crc32c "));
  std::vector<std::string> all{std::string(1, '\0') + whole, "j" + json};
  struct Lie {
    std::string from, to;
  };
  for (auto const& [from, to] :
       std::vector<Lie>{{"\"major\":1", "\"major\":2"},
                        {"\"features\":[]", "\"features\":[\"delta\"]"},
                        {"\"step\":\"1152921504606846976\"", "\"step\":\"9999999999999999999\""},
                        {"\"name\":\"state.json\"", "\"name\":\"model/00000.safetensors\""},
                        {"\"ffffffff\",", ""},
                        {"\"xxh128\":\"9", "\"xxh128\":\"G"},
                        {"\"xxh128\":", "\"xxh64\":"},
                        {"\"minor\":1", "\"minor\":0"},
                        {"\"offset\":96", "\"offset\":64"},
                        {"\"start\":[0,2]", "\"start\":[0,1]"},
                        {"\"extent\":[4,4]", "\"extent\":[]"},
                        {"\"extent\":[4,4]", "\"extent\":[4,3]"},
                        {"\"extent\":[4,4]", "\"extent\":[3,4]"},
                        {"\"extent\":[4,4]", "\"extent\":[2,5]"},
                        {"\"shape\":[4,6]", "\"shape\":[0,6]"}}) {
    auto lie = json;
    lie.replace(lie.find(from), from.size(), to);
    all.push_back("j" + lie);
  }
  return all;
}

std::vector<std::string> fuzz::words() {
  return {"\"format\":",
          "\"major\":1",
          "\"min_reader\":",
          "\"features\":[]",
          "\"generation\":",
          "\"layout\":",
          "\"health\":",
          "\"finite\":true",
          "\"grad_norm\":",
          "\"files\":",
          "\"crc32c\":",
          "\"xxh128\":",
          "\"minor\":0",
          "\"tensors\":",
          "\"chunks\":",
          "\"start\":",
          "\"extent\":",
          "\"offset\":",
          "\"digest\":",
          "\"state.json\"",
          "\"model/\"",
          "\"F32\"",
          "\"inf\"",
          "\"0x1.8p+3\"",
          "4294967296",
          "\"9223372036854775807\"",
          "crc32c 00000000\n",
          "../",
          "-1",
          "null"};
}
