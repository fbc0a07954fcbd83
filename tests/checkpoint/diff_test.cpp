// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/diff.hpp>
#include <nxd/checkpoint/save.hpp>

#include "parts.hpp"

namespace {

using parts::Split;

/// A checkpoint of `ranks` in a layout, whose element `place` of tensor `index` is changed.
std::string saved(nxd::PosixStorage storage, Split split, std::int64_t ranks,
                  std::int64_t index = -1, std::int64_t place = 0, std::int64_t step = 1) {
  std::string entry;
  nxd::Threads::run(ranks, [&](auto comm) {
    auto const held = parts::filled(split, comm.rank(), ranks, 2);
    for (auto const& piece : held.pieces) {
      if (index < 0) continue;
      auto const& whole = parts::model[static_cast<std::size_t>(index)];
      if (piece.name != whole.name || piece.kind != whole.kind) continue;
      nxd::for_each_run(piece.box, piece.box, nxd::whole(piece.shape),
                        [&](std::int64_t at, std::int64_t from, std::int64_t count) {
                          if (place >= from && place < from + count)
                            parts::set(piece, at + place - from, -1.5f);
                        });
    }
    auto const result = nxd::save(comm, storage, parts::request(held, step));
    if (comm.rank() == 0) entry = result.entry;
  });
  return entry;
}

TEST_CASE("checkpoints of one state are equal, whatever layouts wrote them") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  std::vector<std::string> all;
  for (auto const split : {Split::rows, Split::columns, Split::round_robin, Split::flat})
    for (std::int64_t const ranks : {1, 3}) all.push_back(saved(storage, split, ranks));
  for (auto const& a : all)
    for (auto const& b : all) {
      auto const found = nxd::diff(storage, a, storage, b);
      CHECK(found.empty());
      CHECK(found.tensors == std::ssize(parts::model));
    }
}

TEST_CASE("one element that differs is named, with both values, in any tensor and layout") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const plain = saved(storage, Split::rows, 2);
  for (std::int64_t index = 0; index < std::ssize(parts::model); ++index) {
    auto const& whole = parts::model[static_cast<std::size_t>(index)];
    auto const place = nxd::volume(nxd::whole(whole.shape)) - 1;
    auto const other = saved(storage, Split::flat, 3, index, place);
    auto const found = nxd::diff(storage, plain, storage, other);
    CHECK(found.count() == 1);
    REQUIRE(found.element);
    CHECK(found.element->tensor == nxd::TensorKey{whole.kind, whole.name});
    auto last = whole.shape;
    for (auto& i : last) --i;
    CHECK(found.element->index == last);
    auto const value = parts::value(whole, place, 2);
    if (whole.dtype == nxd::DType::f32) {
      CHECK(found.element->first == std::to_string(static_cast<int>(value)));
      CHECK(found.element->second == "-1.5");
    }
    if (whole.dtype == nxd::DType::i64) CHECK(found.element->second == "-1");
  }
}

TEST_CASE(
    "the first element is the first in the order of the tensor, and all tensors are counted") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const plain = saved(storage, Split::rows, 1);
  auto const found = nxd::diff(storage, plain, storage, saved(storage, Split::columns, 2, 3, 41));
  CHECK(found.element->index == std::vector<std::int64_t>{1, 2, 1});
  auto const other = parts::save_one(folder / "ckpt", 1, 3);
  auto const all = nxd::diff(storage, plain, storage, other);
  CHECK(all.count() == std::ssize(parts::model));
  CHECK(all.element->tensor.name == "lm_head.weight");
  CHECK(all.element->index == std::vector<std::int64_t>{0, 0});
}

TEST_CASE("an element beyond the first block of a large tensor is found") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  std::string entries[2];
  for (auto& entry : entries) {
    nxd::Single comm;
    parts::Held held;
    held.add({"big", {3, 700'001}}, nxd::whole({3, 700'001}), nxd::DType::f32);
    if (&entry == entries) parts::set(held.pieces[0], 2 * 700'001 + 555'555, 8);
    entry = nxd::save(comm, storage, parts::request(held, 1)).entry;
  }
  auto const found = nxd::diff(storage, entries[0], storage, entries[1]);
  CHECK(found.element->index == std::vector<std::int64_t>{2, 555'555});
  CHECK(found.element->first == "8");
  CHECK(found.element->second == "0");
}

TEST_CASE("tensors that one lacks, or has in another shape or type, are told") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const save = [&](std::vector<parts::Whole> const& tensors) {
    nxd::Single comm;
    parts::Held held;
    held.memory.reserve(8);
    for (auto const& whole : tensors) held.add(whole, nxd::whole(whole.shape), whole.dtype);
    return nxd::save(comm, storage, parts::request(held, 1)).entry;
  };
  auto const a = save({{"both", {3}}, {"first", {3}}, {"shape", {2, 3}}, {"type", {3}}});
  auto const b = save({{"both", {3}},
                       {"second", {3}, "optim"},
                       {"shape", {6}},
                       {"type", {3}, "model", nxd::DType::bf16}});
  auto const found = nxd::diff(storage, a, storage, b);
  CHECK(found.count() == 4);
  CHECK(found.kinds == std::vector<nxd::TensorKey>{{"model", "shape"}, {"model", "type"}});
  CHECK(found.only_first == std::vector<nxd::TensorKey>{{"model", "first"}});
  CHECK(found.only_second == std::vector<nxd::TensorKey>{{"optim", "second"}});
  CHECK_FALSE(found.element);
  CHECK(nxd::diff(storage, a, storage, b, nxd::Compare::weights).only_second.empty());
}

TEST_CASE("another state is a difference, but not one of the weights") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const a = saved(storage, Split::rows, 1), b = saved(storage, Split::rows, 1, -1, 0, 5);
  auto const found = nxd::diff(storage, a, storage, b);
  CHECK(found.count() == 0);
  CHECK(found.state == std::vector<std::string>{"step: 1 and 5"});
  CHECK_FALSE(found.empty());
  CHECK(nxd::diff(storage, a, storage, b, nxd::Compare::weights).empty());
}

TEST_CASE("bytes that are not those that were written are no difference, but an error") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const a = saved(storage, Split::rows, 1), b = saved(storage, Split::rows, 1, 0, 3);
  auto const path = folder / ("ckpt/" + b + "/model/00000.safetensors");
  auto bytes = parts::read_file(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  parts::write_file(path, bytes);
  CHECK_THROWS_WITH_AS(nxd::diff(storage, a, storage, b), doctest::Contains("(CRC)"),
                       nxd::CorruptInput);
}

}  // namespace
