// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/checkpoint/manifest_text.hpp>

/// A manifest in which each member has a value that is not its usual one.
inline nxd::Manifest sample_manifest() {
  nxd::Manifest m;
  m.run_id = "r";
  m.save_id = "s";
  m.generation = 17;
  m.step = std::int64_t{1} << 60;
  m.info.layout = {{"dp", 2}, {"tp", 4}};
  m.info.config_hash = "c";
  m.info.health = {true, 0.1, 1e300};
  m.files = {{"state.json", 10, {1}, "99aa06d3014798d86001c324468d497f"},
             {"model/00000.safetensors",
              nxd::crc_chunk_bytes + 1,
              {0xffffffff, 2},
              "06b05ab6733a618578af5f94892f3950"}};
  m.tensors[{"model", "w"}] = {nxd::DType::f32,
                               {4, 6},
                               {1, 2},
                               {{{{0, 0}, {4, 2}}, "model/00000.safetensors", 64},
                                {{{0, 2}, {4, 4}}, "model/00000.safetensors", 96}}};
  m.tensors[{"optim", "steps"}] = {
      nxd::DType::i64, {}, {3, 4}, {{{{}, {}}, "model/00000.safetensors", 200}}};
  return m;
}
