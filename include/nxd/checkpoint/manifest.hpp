// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nxd/checkpoint/box.hpp>
#include <nxd/checkpoint/crc32c.hpp>
#include <nxd/checkpoint/digest.hpp>
#include <nxd/core/dtype.hpp>

namespace nxd {

/// A file of a checkpoint: its size, a CRC-32C of each `crc_chunk_bytes` of it, and an XXH3-128 of
/// the whole.
struct FileRecord {
  std::string name;  ///< relative to the checkpoint: "state.json", "model/00000.safetensors"
  std::int64_t size = 0;
  std::vector<std::uint32_t> crcs;
  std::string xxh128 = {};  ///< 32 digits, as `Xxh128` and `xxhsum -H128` say; format 1.0 has none

  bool operator==(FileRecord const&) const = default;
};

/// Where a part of a tensor lies: row-major, in one range of bytes of one file.
struct ChunkRecord {
  Box box;
  std::string file;
  std::int64_t offset = 0;

  bool operator==(ChunkRecord const&) const = default;
};

/// A whole tensor: its parts cover it exactly once.
struct TensorRecord {
  DType dtype{};
  std::vector<std::int64_t> shape;
  Digest digest;  ///< of all its elements
  std::vector<ChunkRecord> chunks;

  bool operator==(TensorRecord const&) const = default;
};

/// What a tensor is called: canonical names are the same on any number of ranks.
struct TensorKey {
  std::string kind;  ///< "model" or "optim"
  std::string name;

  auto operator<=>(TensorKey const&) const = default;
  bool operator==(TensorKey const&) const = default;
};

/// "model tensor 'lm_head.weight'".
inline std::string text(TensorKey const& key) { return key.kind + " tensor '" + key.name + "'"; }

/// How the run was when it saved.
struct Health {
  bool finite =
      true;  ///< weights and loss; what is not finite is kept apart and never resumed from
  double grad_norm = 0;
  double loss = 0;
};

/// What a run tells of itself when it saves.
struct SaveInfo {
  std::map<std::string, std::int64_t> layout;  ///< "dp", "tp", ...: for the reader, not for loading
  std::string config_hash, dataset_fp, tokenizer_fp;
  std::string parent_save_id;  ///< of the checkpoint that the run came from
  Health health;
};

/// All that a checkpoint says of itself. It is the last file that a save writes.
struct Manifest {
  std::string run_id, save_id;
  std::int64_t generation = 0;
  std::int64_t step = 0;
  SaveInfo info;
  std::vector<FileRecord> files;
  std::map<TensorKey, TensorRecord> tensors;

  /// The record of a file, or none.
  FileRecord const* file(std::string const& name) const {
    for (auto const& record : files)
      if (record.name == name) return &record;
    return nullptr;
  }
};

/// Names of the files that every checkpoint has.
inline constexpr char const* manifest_name = "MANIFEST.json";
inline constexpr char const* state_name = "state.json";

}  // namespace nxd
