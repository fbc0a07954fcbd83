// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>

#include <csignal>

#include <doctest/doctest.h>

#include <nxd/checkpoint/huggingface.hpp>
#include <nxd/checkpoint/save.hpp>

#include "parts.hpp"
#include "watched.hpp"

namespace {

using parts::Split;

/// The model's own tensors, as `read` finds them in a folder, on 2 ranks by columns.
void check_folder(std::string const& directory) {
  nxd::Threads::run(2, [&](auto comm) {
    nxd::PosixStorage storage(directory);
    auto const wanted = parts::filled(Split::columns, comm.rank(), 2, 5);
    auto held = parts::empty(Split::columns, comm.rank(), 2);
    std::erase_if(held.pieces, [](nxd::Piece const& p) { return p.kind != "model"; });
    nxd::load_huggingface(comm, storage, held.pieces);
    for (std::size_t i = 0; i < held.memory.size(); ++i)
      if (wanted.pieces[i].kind == "model" && held.memory[i] != wanted.memory[i])
        throw std::logic_error(wanted.pieces[i].name);
  });
}

/// A checkpoint of four ranks; its entry.
std::string saved(std::string const& directory) {
  nxd::Threads::run(4, [&](auto comm) {
    nxd::PosixStorage storage(directory);
    auto const held = parts::filled(Split::rows, comm.rank(), 4, 5);
    nxd::save(comm, storage, parts::request(held, 1));
  });
  return "step-000000000001.g000001";
}

TEST_CASE("a checkpoint of four ranks becomes one file, and is read by columns on two") {
  parts::Folder folder;
  auto const entry = saved(folder / "ckpt");
  nxd::PosixStorage from(folder / "ckpt"), to(folder.path);
  nxd::export_huggingface(from, entry, to, "hf", {{}, 1 << 30, {{"config.json", "{}"}}});
  CHECK(std::filesystem::exists(folder / "hf/model.safetensors"));
  CHECK(parts::read_file(folder / "hf/config.json") == "{}");
  check_folder(folder / "hf");
  CHECK_THROWS_AS(nxd::export_huggingface(from, entry, to, "hf", {}), nxd::IoError);
  for (auto const& found : to.list("")) CHECK(found.name.substr(0, 5) != ".tmp-");
}

TEST_CASE("a cap on the size of a file makes shards and an index") {
  parts::Folder folder;
  auto const entry = saved(folder / "ckpt");
  nxd::PosixStorage from(folder / "ckpt"), to(folder.path);
  nxd::export_huggingface(from, entry, to, "hf", {{}, 600, {}});
  CHECK(std::filesystem::exists(folder / "hf/model.safetensors.index.json"));
  CHECK(std::filesystem::exists(folder / "hf/model-00001-of-00004.safetensors"));
  check_folder(folder / "hf");
  std::filesystem::remove(folder / "hf/model-00002-of-00004.safetensors");
  CHECK_THROWS_WITH_AS(check_folder(folder / "hf"), doctest::Contains("model-00002-of-00004"),
                       nxd::CorruptInput);
}

TEST_CASE("an export in bf16 rounds each element once") {
  parts::Folder folder;
  auto const entry = saved(folder / "ckpt");
  nxd::PosixStorage from(folder / "ckpt"), to(folder.path), hf(folder / "hf");
  nxd::export_huggingface(from, entry, to, "hf", {nxd::DType::bf16, 1 << 30, {}});
  nxd::HuggingFaceFolder<nxd::PosixStorage> opened(hf);
  CHECK(opened.tensors().size() == 5);
  CHECK(opened.tensors().begin()->second.entry.dtype == nxd::DType::bf16);
  parts::Held held;
  held.add(parts::model[1], nxd::whole(parts::model[1].shape), nxd::DType::f32);
  opened.fill(held.pieces[0]);
  float x;
  std::memcpy(&x, held.memory[0].data() + 4 * 50, 4);
  CHECK(x == nxd::to_float(nxd::to_bf16(parts::value(parts::model[1], 50, 5))));
}

TEST_CASE("a tensor that a folder lacks, or has in another shape, is named") {
  parts::Folder folder;
  auto const entry = saved(folder / "ckpt");
  nxd::PosixStorage from(folder / "ckpt"), to(folder.path), hf(folder / "hf"),
      none(folder / "ckpt");
  nxd::export_huggingface(from, entry, to, "hf", {});
  nxd::HuggingFaceFolder<nxd::PosixStorage> opened(hf);
  parts::Held held;
  held.memory.reserve(2);
  held.add({"absent", {3}}, nxd::whole({3}), nxd::DType::f32);
  held.add({"lm_head.weight", {3}}, nxd::whole({3}), nxd::DType::f32);
  CHECK_THROWS_WITH_AS(opened.fill(held.pieces[0]), doctest::Contains("'absent'"),
                       nxd::ConfigError);
  CHECK_THROWS_WITH_AS(opened.fill(held.pieces[1]), doctest::Contains("[13, 8]"), nxd::ConfigError);
  CHECK_THROWS_AS(nxd::HuggingFaceFolder<nxd::PosixStorage>{none}, nxd::IoError);
}

TEST_CASE(
    "an export killed at any time leaves nothing that is taken for a model, and is made again") {
  parts::Folder folder;
  auto const entry = saved(folder / "ckpt");
  std::int64_t whole = 0, refused = 0;
  for (std::int64_t kill = 0; whole == 0; ++kill) {
    CAPTURE(kill);
    auto const root = std::filesystem::path(folder / "out");
    std::filesystem::remove_all(root);
    nxd::PosixStorage from(folder / "ckpt"), to(root);
    nxd::ExportOptions const options{{}, 900, {{"config.json", "{}"}}};
    auto const child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      std::int64_t count = 0;
      parts::Watched storage(root, [&](auto const&) {
        if (count++ == kill) std::raise(SIGKILL);
      });
      nxd::export_huggingface(from, entry, storage, "hf", options);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (std::filesystem::exists(root / "hf")) {
      check_folder(root / "hf");
      whole += WIFEXITED(status);
      continue;
    }
    CHECK(WIFSIGNALED(status));
    if (std::filesystem::exists(root))
      for (auto const& left : std::filesystem::directory_iterator(root)) {
        CHECK_THROWS_WITH_AS(check_folder(left.path()), doctest::Contains(left.path().c_str()),
                             nxd::CorruptInput);
        ++refused;
      }
    if (kill % 4 != 0) continue;
    nxd::export_huggingface(from, entry, to, "hf", options);
    check_folder(root / "hf");
  }
  CHECK(refused > 12);
}

TEST_CASE("the blocks of an export cover a tensor in the order of its elements") {
  for (std::vector<std::int64_t> const& shape :
       {std::vector<std::int64_t>{}, {1}, {17}, {3, 5}, {2, 3, 50}, {4, 1, 1, 9}, {100, 2}, {0, 3}})
    for (std::int64_t const limit : {2, 7, 10, 1000}) {
      std::int64_t next = 0;
      nxd::detail::for_each_block(shape, limit, [&](nxd::Box const& box) {
        CHECK(nxd::volume(box) <= limit);
        nxd::for_each_run(box, nxd::whole(shape), box,
                          [&](std::int64_t place, std::int64_t, std::int64_t count) {
                            CHECK(place == next);
                            next += count;
                          });
      });
      CHECK(next == nxd::volume(nxd::whole(shape)));
    }
}

}  // namespace
