// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/piece.hpp>
#include <nxd/checkpoint/save.hpp>
#include <nxd/comm/single.hpp>
#include <nxd/comm/threads.hpp>

namespace parts {

/// A directory of its own, gone with the object.
struct Folder {
  std::filesystem::path path;

  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "nxd-checkpoint-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  Folder(Folder const&) = delete;
  Folder& operator=(Folder const&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(std::string const& name) const { return path / name; }
};

inline std::string read_file(std::filesystem::path const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(std::filesystem::path const& path, std::string const& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// A tensor of the tests' model.
struct Whole {
  std::string name;
  std::vector<std::int64_t> shape;
  std::string kind = "model";
  nxd::DType dtype = nxd::DType::f32;
};

inline std::vector<Whole> const model{
    {"model.embed_tokens.weight", {13, 8}},
    {"model.layers.0.self_attn.q_proj.weight", {8, 12}},
    {"model.layers.0.input_layernorm.weight", {8}},
    {"model.layers.0.mlp.experts.weight", {4, 6, 5}},
    {"lm_head.weight", {13, 8}, "model", nxd::DType::bf16},
    {"step_count", {}, "optim", nxd::DType::i64},
    {"model.embed_tokens.weight", {13, 8}, "optim"},
};

/// Element i of a tensor, of whatever rank and layout.
inline float value(Whole const& whole, std::int64_t place, int salt) {
  return static_cast<float>(place % 64) + static_cast<float>(whole.name.size()) * 64 +
         static_cast<float>(salt) * 4096;
}

/// How the tensors lie on the ranks.
enum class Split { rows, columns, round_robin, flat };

/// The boxes of `rank`: of each element exactly one rank has it.
inline std::vector<nxd::Box> boxes(std::vector<std::int64_t> const& shape, Split split,
                                   std::int64_t index, std::int64_t rank, std::int64_t ranks) {
  auto box = nxd::whole(shape);
  if (shape.empty() || split == Split::round_robin) {
    if (index % ranks == rank) return {box};
    return {};
  }
  if (split ==
      Split::flat) {  // a range of elements of the matrix, as boxes of whole or broken rows
    auto const columns = shape.back(), size = nxd::volume(box);
    std::vector<nxd::Box> all;
    for (auto i = size * rank / ranks; i < size * (rank + 1) / ranks;) {
      auto const end = std::min((i / columns + 1) * columns, size * (rank + 1) / ranks);
      nxd::Box part = box;
      auto row = i / columns;
      for (auto d = shape.size() - 1; d-- > 0; row /= shape[d]) {
        part.start[d] = row % shape[d];
        part.extent[d] = 1;
      }
      part.start.back() = i % columns;
      part.extent.back() = end - i;
      all.push_back(part);
      i = end;
    }
    return all;
  }
  auto const d = split == Split::rows ? 0 : shape.size() - 1;
  box.start[d] = shape[d] * rank / ranks;
  box.extent[d] = shape[d] * (rank + 1) / ranks - box.start[d];
  return {box};
}

/// What one rank holds, and the memory for it.
struct Held {
  std::vector<std::vector<std::byte>> memory;
  std::vector<nxd::Piece> pieces;

  void add(Whole const& whole, nxd::Box const& box, nxd::DType dtype) {
    memory.emplace_back(static_cast<std::size_t>(nxd::volume(box) * nxd::size_of(dtype)));
    pieces.push_back({whole.name, whole.shape, box, dtype, memory.back(), whole.kind});
  }
};

/// Pieces of the model in a layout, zero.
inline Held empty(Split split, std::int64_t rank, std::int64_t ranks) {
  Held held;
  held.memory.reserve(4096);
  std::int64_t index = 0;
  for (auto const& whole : model) {
    for (auto const& box : boxes(whole.shape, split, index, rank, ranks))
      held.add(whole, box, whole.dtype);
    ++index;
  }
  return held;
}

inline void set(nxd::Piece const& piece, std::int64_t at, float x) {
  auto* to = piece.bytes.data() + at * nxd::size_of(piece.dtype);
  auto const put = [&](auto y) { std::memcpy(to, &y, sizeof y); };
  if (piece.dtype == nxd::DType::bf16)
    put(nxd::to_bf16(x));
  else if (piece.dtype == nxd::DType::i64)
    put(static_cast<std::int64_t>(x));
  else
    put(x);
}

/// The same with the model's values.
inline Held filled(Split split, std::int64_t rank, std::int64_t ranks, int salt) {
  auto held = empty(split, rank, ranks);
  for (auto const& piece : held.pieces)
    for (auto const& whole : model)
      if (whole.name == piece.name && whole.kind == piece.kind)
        nxd::for_each_run(piece.box, piece.box, nxd::whole(piece.shape),
                          [&](std::int64_t at, std::int64_t place, std::int64_t count) {
                            for (std::int64_t i = 0; i < count; ++i)
                              set(piece, at + i, value(whole, place + i, salt));
                          });
  return held;
}

inline nxd::SaveRequest request(Held const& held, std::int64_t step) {
  nxd::SaveRequest r;
  r.step = step;
  r.pieces = held.pieces;
  r.state = "{\"step\":" + std::to_string(step) + "}";
  r.info.layout = {{"tp", 1}};
  r.info.config_hash = "c";
  return r;
}

/// A checkpoint of one rank whose values depend on `salt`; its entry.
inline std::string save_one(std::string const& directory, std::int64_t step, int salt) {
  nxd::Single comm;
  nxd::PosixStorage storage(directory);
  auto const held = filled(Split::rows, 0, 1, salt);
  return nxd::save(comm, storage, request(held, step)).entry;
}

/// What was loaded is the model with this salt.
inline bool holds(Held const& held, Split split, std::int64_t rank, std::int64_t ranks, int salt) {
  return held.memory == filled(split, rank, ranks, salt).memory;
}

}  // namespace parts
