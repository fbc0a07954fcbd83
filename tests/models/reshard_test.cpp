// SPDX-License-Identifier: Apache-2.0
#include <map>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/save.hpp>

#include "layouts.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

using Digests = std::map<TensorKey, Digest>;

/// Gives every element, of weights and moments, a value of its own, the same in any layout.
void make_up(std::vector<Piece> const& pieces) {
  for (auto const& piece : pieces) {
    Stream const stream(3, piece.kind + piece.name);
    for_each_run(piece.box, piece.box, whole(piece.shape),
                 [&](std::int64_t at, std::int64_t place, std::int64_t count) {
                   for (std::int64_t i = 0; i < count; ++i) {
                     auto const x =
                         static_cast<float>(stream.uniform(static_cast<std::uint64_t>(place + i)));
                     std::memcpy(piece.bytes.data() + (at + i) * size_of(piece.dtype), &x,
                                 sizeof x);
                   }
                 });
  }
}

std::string entry_of(std::string const& path) { return path + "/step-000000000001.g000001"; }

template <class C> void save_to(C& comm, std::string const& path, std::vector<Piece> pieces) {
  PosixStorage storage(path);
  SaveRequest request;
  request.step = 1;
  request.pieces = std::move(pieces);
  request.state = "{}";
  save(comm, storage, request);
}

Digests digests_in(std::string const& path) {
  PosixStorage storage(path);
  auto const entry = std::filesystem::path(entry_of(path)).filename().string();
  Digests all;
  for (auto const& [key, tensor] :
       parse_manifest(detail::read_manifest(storage, entry), entry).tensors)
    all[key] = tensor.digest;
  return all;
}

/// Saves the made-up state in a layout.
void write(Placed const& placed, std::string const& path, Holding holding) {
  on_layout(placed, [&](auto comm, auto&, auto const& model, auto const& optimizer) {
    make_up(training_pieces(model, optimizer, Holding::all));
    save_to(comm, path, training_pieces(model, optimizer, holding));
  });
}

/// Loads it in a layout, and saves it again.
void rewrite(Placed const& placed, std::string const& from, std::string const& to, Reading reading,
             std::size_t tensors) {
  on_layout(placed, [&](auto comm, auto&, auto const& model, auto const& optimizer) {
    initialize(model, 9);
    PosixStorage storage(from);
    LoadOptions options;
    options.reading = reading;
    auto const loaded =
        resume(comm, storage, training_pieces(model, optimizer, Holding::all), options);
    if (!loaded || loaded->tensors_compared != static_cast<std::int64_t>(tensors))
      throw std::logic_error("not all tensors were compared");
    save_to(comm, to, training_pieces(model, optimizer, Holding::shared));
  });
}

/// All ordered pairs of so many layouts.
void check_pairs(bool tied, std::size_t count) {
  auto all = layouts(tied);
  all.resize(std::min(count, all.size()));
  Directory const folder;
  write(all[0], folder.path + "/base", Holding::owned);
  auto const base = digests_in(folder.path + "/base");
  CHECK(base.size() == 3 * (8 * 9 + (tied ? 2 : 3)));  // each with its two moments
  int pairs = 0;
  for (auto const& from : all) {
    auto const source = folder.path + "/from";
    write(from, source, pairs % 2 == 0 ? Holding::shared : Holding::owned);
    for (auto const& to : all) {
      if (&from == &to) continue;
      CAPTURE(from.name);
      CAPTURE(to.name);
      auto const target = folder.path + "/to";
      rewrite(to, source, target, pairs % 3 == 0 ? Reading::each : Reading::shared, base.size());
      bool const equal = digests_in(target) == base;
      CHECK(equal);
      std::filesystem::remove_all(target);
      ++pairs;
    }
    std::filesystem::remove_all(source);
  }
  CHECK(pairs == std::ssize(all) * (std::ssize(all) - 1));
}

}  // namespace

TEST_CASE("from any layout to any other, weights and moments keep their digests") {
  check_pairs(false, full() ? 99 : 12);
}

TEST_CASE("likewise where embedding and head are one weight") {
  check_pairs(true, full() ? 99 : 4);
}
