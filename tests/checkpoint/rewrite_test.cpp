// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/diff.hpp>
#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/rewrite.hpp>
#include <nxd/checkpoint/verify.hpp>

#include "parts.hpp"

namespace {

using parts::Split;

TEST_CASE(
    "a checkpoint of any layout, written anew in 1 to 9 files, has the same digests and state") {
  for (auto const split : {Split::rows, Split::columns, Split::round_robin, Split::flat}) {
    parts::Folder folder;
    nxd::PosixStorage from(folder / "from");
    nxd::Threads::run(3, [&](auto comm) {
      auto const held = parts::filled(split, comm.rank(), 3, 6);
      nxd::save(comm, from, parts::request(held, 4));
    });
    std::string const entry = "step-000000000004.g000001";
    for (std::int64_t const files : {1, 2, 3, 9}) {
      nxd::PosixStorage to(folder / ("to" + std::to_string(files)));
      auto const saved = nxd::reshard(from, entry, to, files);
      auto const report = nxd::verify(to, saved.entry);
      CHECK(report.unlisted.empty());
      std::int64_t model = 0, optim = 0;
      for (auto const& file : report.manifest.files) {
        if (file.name.starts_with("model/")) ++model;
        if (file.name.starts_with("optim/")) ++optim;
      }
      CHECK(model == std::min<std::int64_t>(files, 5));  // so many tensors there are
      CHECK(optim == std::min<std::int64_t>(files, 2));
      CHECK(nxd::diff(from, entry, to, saved.entry).empty());
      CHECK(report.manifest.info.parent_save_id ==
            nxd::EntryReader<nxd::PosixStorage>(from, entry).manifest().save_id);
      nxd::Threads::run(2, [&](auto comm) {
        auto held = parts::empty(Split::columns, comm.rank(), 2);
        auto const loaded = nxd::resume(comm, to, held.pieces);
        if (!loaded || loaded->manifest.step != 4) throw std::logic_error("step");
        if (!parts::holds(held, Split::columns, comm.rank(), 2, 6)) throw std::logic_error("bytes");
      });
    }
  }
}

TEST_CASE("files are about as large as each other") {
  std::vector<nxd::TensorPlan> tensors;
  for (int i = 0; i < 40; ++i)
    tensors.push_back({{"model", std::to_string(i)}, nxd::DType::f32, {i % 7 + 1, 100}});
  for (std::int64_t const count : {1, 2, 5, 13, 40}) {
    auto const files = nxd::detail::share_files(tensors, count);
    REQUIRE(std::ssize(files) == count);
    std::int64_t total = 0, held = 0;
    for (auto const& tensor : tensors) total += tensor.bytes();
    for (auto const& file : files) {
      std::int64_t bytes = 0;
      for (auto const& tensor : file) bytes += tensor.bytes();
      held += std::ssize(file);
      CHECK(bytes > 0);
      if (count <= 13) CHECK(bytes <= total / count + 2 * 2800);  // two of the largest tensors
    }
    CHECK(held == 40);
  }
}

TEST_CASE("a tensor of many blocks, in parts by columns, is written whole") {
  parts::Folder folder;
  nxd::PosixStorage from(folder / "from"), to(folder / "to");
  std::vector<std::int64_t> const shape{1500, 1401};  // two blocks
  nxd::Threads::run(3, [&](auto comm) {
    auto box = nxd::whole(shape);
    box.extent[1] /= 3;
    box.start[1] = box.extent[1] * comm.rank();
    parts::Held held;
    held.add({"big", shape}, box, nxd::DType::f32);
    for (std::int64_t i = 0; i < nxd::volume(box); ++i)
      parts::set(held.pieces[0], i, static_cast<float>(i * 3 + comm.rank()));
    nxd::save(comm, from, parts::request(held, 1));
  });
  auto const saved = nxd::reshard(from, "step-000000000001.g000001", to, 1);
  CHECK(nxd::verify(to, saved.entry).tensors == 1);
  CHECK(nxd::diff(from, "step-000000000001.g000001", to, saved.entry).empty());
}

TEST_CASE("a source that is not what was written leaves nothing behind") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "from", 1, 1);
  nxd::PosixStorage from(folder / "from"), to(folder / "to");
  auto const path = folder / ("from/" + entry + "/optim/00000.safetensors");
  auto bytes = parts::read_file(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  parts::write_file(path, bytes);
  CHECK_THROWS_WITH_AS(nxd::reshard(from, entry, to, 2), doctest::Contains("(CRC)"),
                       nxd::CorruptInput);
  CHECK(nxd::entries(to).empty());
  for (auto const& found : to.list("")) CHECK_FALSE(found.name.starts_with(".tmp-"));
  auto const good = parts::save_one(folder / "from", 2, 2);
  CHECK(nxd::reshard(from, good, to, 2).entry == "step-000000000002.g000001");
}

TEST_CASE("a digest that does not fit the elements is not carried on") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "from", 1, 1);
  nxd::PosixStorage from(folder / "from"), to(folder / "to");
  auto const path = folder / ("from/" + entry + "/MANIFEST.json");
  auto manifest = nxd::parse_manifest(parts::read_file(path), path);
  manifest.tensors.begin()->second.digest.low ^= 1;
  parts::write_file(path, nxd::manifest_text(manifest));
  CHECK_THROWS_WITH_AS(nxd::reshard(from, entry, to, 2), doctest::Contains("(digest)"),
                       nxd::CorruptInput);
  CHECK(nxd::entries(to).empty());
}

TEST_CASE("nothing is written among the checkpoints of a run") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "from", 1, 1);
  nxd::PosixStorage from(folder / "from");
  CHECK_THROWS_WITH_AS(nxd::reshard(from, entry, from, 2), doctest::Contains("name a folder"),
                       nxd::IoError);
  CHECK(nxd::entries(from).size() == 1);
}

TEST_CASE("more files than stay open are read all the same") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  nxd::Threads::run(12, [&](auto comm) {
    auto const held = parts::filled(Split::flat, comm.rank(), 12, 6);
    nxd::save(comm, storage, parts::request(held, 1));
  });
  nxd::EntryReader<nxd::PosixStorage> reader(storage, "step-000000000001.g000001");
  auto const wanted = parts::filled(Split::rows, 0, 1, 6);
  auto held = parts::empty(Split::rows, 0, 1);
  for (auto const& piece : held.pieces) reader.read(piece);
  CHECK(held.memory == wanted.memory);
}

}  // namespace
