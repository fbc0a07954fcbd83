// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/verify.hpp>

#include "parts.hpp"

namespace {

namespace fs = std::filesystem;

void flip(fs::path const& path, std::int64_t at, int bit = 0) {
  auto bytes = parts::read_file(path);
  auto& byte = bytes[static_cast<std::size_t>(at)];
  byte = static_cast<char>(byte ^ (1 << bit));
  parts::write_file(path, bytes);
}

/// What a complete check says of an entry; nothing if it is sound.
std::string verdict(nxd::PosixStorage& storage, std::string const& entry) {
  try {
    nxd::verify(storage, entry);
    return {};
  } catch (nxd::CorruptInput const& e) {
    return e.what();
  }
}

bool says(std::string const& sentence, std::string const& words) {
  return sentence.find(words) != std::string::npos;
}

TEST_CASE("a check reads each byte once, and compares each tensor, whatever layout wrote it") {
  for (auto const split : {parts::Split::rows, parts::Split::columns, parts::Split::flat}) {
    parts::Folder folder;
    nxd::PosixStorage storage(folder / "ckpt");
    nxd::Threads::run(3, [&](auto comm) {
      auto const held = parts::filled(split, comm.rank(), 3, 4);
      nxd::save(comm, storage, parts::request(held, 1));
    });
    auto const report = nxd::verify(storage, "step-000000000001.g000001");
    CHECK(report.tensors == std::ssize(parts::model));
    std::int64_t bytes = 0;
    for (auto const& file : report.manifest.files) bytes += file.size;
    CHECK(report.bytes == bytes);
    CHECK(report.files == std::ssize(report.manifest.files));
    CHECK(report.hashed == report.files);
  }
}

TEST_CASE("each file is compared with its XXH3-128, and one of format 1.0 is sound without") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  nxd::PosixStorage storage(folder / "ckpt");
  auto const path = fs::path(folder / "ckpt") / entry / nxd::manifest_name;
  auto const right = nxd::verify(storage, entry).manifest;
  for (std::size_t i = 0; i < right.files.size(); ++i) {
    auto forged = right;
    forged.files[i].xxh128 = nxd::Xxh128().text();
    parts::write_file(path, nxd::manifest_text(forged));
    CHECK(verdict(storage, entry) == storage.where(entry + "/" + right.files[i].name) +
                                         ": has the XXH3-128 " + right.files[i].xxh128 +
                                         ", its manifest says 99aa06d3014798d86001c324468d497f");
  }
  auto old = right;
  for (auto& file : old.files) file.xxh128.clear();
  parts::write_file(path, nxd::manifest_text(old));
  CHECK(parts::read_file(path).find("xxh128") == std::string::npos);
  CHECK(nxd::verify(storage, entry).hashed == 0);
  nxd::Single comm;
  auto held = parts::empty(parts::Split::rows, 0, 1);
  CHECK(nxd::load(comm, storage, entry, held.pieces).manifest.files == old.files);
  CHECK(parts::holds(held, parts::Split::rows, 0, 1, 1));
}

TEST_CASE("a bit that is flipped anywhere in a shard names the file, the chunk and the tensor") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  nxd::PosixStorage storage(folder / "ckpt");
  auto const manifest = nxd::verify(storage, entry).manifest;
  for (auto const& [key, tensor] : manifest.tensors) {
    auto const& chunk = tensor.chunks.at(0);
    auto const path = fs::path(folder / "ckpt") / entry / chunk.file;
    auto const bytes = nxd::volume(chunk.box) * nxd::size_of(tensor.dtype);
    for (auto const at : {chunk.offset, chunk.offset + bytes / 2, chunk.offset + bytes - 1}) {
      flip(path, at, 3);
      auto const said = verdict(storage, entry);
      CAPTURE(said);
      CHECK(says(said, chunk.file + ": chunk 0, "));
      CHECK(says(said, "it has spoiled " + nxd::text(key) + " ["));
      CHECK_FALSE(says(said, " more"));
      flip(path, at, 3);
    }
  }
  CHECK(verdict(storage, entry).empty());
}

TEST_CASE("bits that are flipped all over the files are found, and the file is named") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  nxd::PosixStorage storage(folder / "ckpt");
  for (std::string const file :
       {"MANIFEST.json", "state.json", "model/00000.safetensors", "optim/00000.safetensors"}) {
    CAPTURE(file);
    auto const path = fs::path(folder / "ckpt") / entry / file;
    auto const size = static_cast<std::int64_t>(fs::file_size(path));
    for (std::int64_t at = 0; at < size; at += 11) {
      flip(path, at, static_cast<int>(at % 8));
      auto const said = verdict(storage, entry);
      CAPTURE(at);
      CHECK(says(said, "/" + file + ": "));
      flip(path, at, static_cast<int>(at % 8));
    }
  }
}

TEST_CASE("a bit that is flipped in a header spoils no tensor, and is found") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  nxd::PosixStorage storage(folder / "ckpt");
  flip(fs::path(folder / "ckpt") / entry / "model/00000.safetensors", 20);
  CHECK(says(verdict(storage, entry), "no tensor is changed, but what the file says of them"));
}

TEST_CASE("of a file of many chunks the changed one is told") {
  parts::Folder folder;
  nxd::Single comm;
  nxd::PosixStorage storage(folder / "ckpt");
  parts::Held held;
  held.memory.reserve(2);
  held.add({"a", {1100, 1000}}, nxd::whole({1100, 1000}), nxd::DType::f32);
  held.add({"b", {1100, 1000}}, nxd::whole({1100, 1000}), nxd::DType::f32);
  auto const entry = nxd::save(comm, storage, parts::request(held, 1)).entry;
  CHECK(nxd::verify(storage, entry).bytes > 8'800'000);
  auto const path = fs::path(folder / "ckpt") / entry / "model/00000.safetensors";
  auto const size = static_cast<std::int64_t>(fs::file_size(path));
  flip(path, size - 1);
  auto const said = verdict(storage, entry);
  CHECK(says(said, "chunk 2, the " + std::to_string(size - 2 * nxd::crc_chunk_bytes) +
                       " bytes from 8388608 on"));
  CHECK(says(said, "spoiled model tensor 'b' [0:1100,0:1000]"));
  flip(path, size - 1);
  flip(path, nxd::crc_chunk_bytes + 1'000'000);
  CHECK(says(verdict(storage, entry), "chunk 1, the 4194304 bytes from 4194304 on"));
}

TEST_CASE("a tensor whose digest in the manifest is another is named") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  nxd::PosixStorage storage(folder / "ckpt");
  auto const path = folder / ("ckpt/" + entry + "/MANIFEST.json");
  auto manifest = nxd::parse_manifest(parts::read_file(path), path);
  manifest.tensors.at({"model", "lm_head.weight"}).digest.high ^= 1;
  parts::write_file(path, nxd::manifest_text(manifest));
  CHECK(says(verdict(storage, entry),
             "model tensor 'lm_head.weight' is not what was saved (digest)"));
}

TEST_CASE(
    "a shard that lacks bytes, or is not there, and a changed state are told by their files") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  nxd::PosixStorage storage(folder / "ckpt");
  auto const at = fs::path(folder / "ckpt") / entry;
  flip(at / "state.json", 2);
  CHECK(says(verdict(storage, entry), "state.json: chunk 0"));
  flip(at / "state.json", 2);
  fs::resize_file(at / "optim/00000.safetensors", 100);
  CHECK(says(verdict(storage, entry), "optim/00000.safetensors: has 100 bytes"));
  fs::remove(at / "model/00000.safetensors");
  CHECK(says(verdict(storage, entry), "model/00000.safetensors: is missing"));
}

}  // namespace
