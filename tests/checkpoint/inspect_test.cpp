// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/inspect_text.hpp>
#include <nxd/checkpoint/save.hpp>

#include "parts.hpp"

namespace {

namespace fs = std::filesystem;
using nxd::EntryState;

/// A directory with an entry of every kind.
struct Mixed {
  parts::Folder folder;
  nxd::PosixStorage storage{folder / "ckpt"};
  std::string old, newer, broken, foreign;

  Mixed() {
    nxd::Single comm;
    auto const held = parts::filled(parts::Split::rows, 0, 1, 0);
    auto request = parts::request(held, 10);
    request.info.health = {true, 0.25, 3.5};
    request.info.layout = {{"dp", 2}, {"tp", 4}};
    old = nxd::save(comm, storage, request).entry;
    newer = parts::save_one(folder / "ckpt", 20, 0);
    broken = parts::save_one(folder / "ckpt", 30, 0);
    fs::remove(fs::path(folder / "ckpt") / broken / "state.json");
    for (int i = 0; i < 4; ++i) foreign = parts::save_one(folder / "other", 5, 0);
    fs::rename(folder / ("other/" + foreign), folder / ("ckpt/" + foreign));
    request.info.health.finite = false;
    nxd::save(comm, storage, request);
    nxd::detail::put_aside(storage, parts::save_one(folder / "ckpt", 40, 0), "it is torn");
    storage.make_directory(".tmp-1");
    storage.make_directory(".trash-1");
    storage.make_directory("notes");
    parts::write_file(folder / ("ckpt/" + old + ".pin"), "");
  }
};

nxd::EntryFacts const& named(std::vector<nxd::EntryFacts> const& all, std::string const& name) {
  for (auto const& facts : all)
    if (facts.name == name) return facts;
  FAIL(name);
  return all[0];
}

TEST_CASE("a survey knows what each folder is, and which a run would resume from") {
  Mixed mixed;
  auto const all = nxd::survey(mixed.storage);
  CHECK(all.size() == 8);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(all[i].name == (std::vector{mixed.foreign, mixed.broken, mixed.newer, mixed.old})[i]);
  CHECK(named(all, mixed.foreign).state == EntryState::foreign);
  CHECK(named(all, mixed.broken).state == EntryState::broken);
  CHECK(named(all, mixed.broken).reason.find("state.json: is missing") != std::string::npos);
  CHECK(named(all, ".tmp-1").state == EntryState::unfinished);
  CHECK(named(all, ".trash-1").state == EntryState::trash);
  std::int64_t sick = 0, aside = 0;
  for (auto const& facts : all) {
    CHECK(facts.newest == (facts.name == mixed.newer));
    CHECK(facts.pinned == (facts.name == mixed.old));
    if (facts.state == EntryState::sick) ++sick;
    if (facts.state == EntryState::put_aside && facts.reason == "it is torn") ++aside;
  }
  CHECK(sick == 1);
  CHECK(aside == 1);
  CHECK(named(all, mixed.old).bytes > 1000);
  nxd::Single comm;
  CHECK(nxd::find_newest(comm, mixed.storage) == mixed.newer);
}

TEST_CASE("an entry that jobs have died on is none that a run would resume from") {
  parts::Folder folder;
  auto const old = parts::save_one(folder / "ckpt", 1, 1);
  auto const deadly = parts::save_one(folder / "ckpt", 2, 2);
  for (char const* number : {"1", "2", "3"})
    parts::write_file(folder / ("ckpt/.attempt-" + deadly + "." + number), "");
  nxd::PosixStorage storage(folder / "ckpt");
  auto const all = nxd::survey(storage);
  REQUIRE(all.size() == 2);
  CHECK(all[0].state == EntryState::deadly);
  CHECK(all[0].reason.find("3 jobs have died") != std::string::npos);
  CHECK_FALSE(all[0].newest);
  CHECK(all[1].newest);
}

TEST_CASE("a list is a table with a line for each entry, and the reasons below it") {
  Mixed mixed;
  auto const all = nxd::survey(mixed.storage);
  // The others are seconds younger, and 2 hours old as well.
  auto const text = nxd::survey_text(all, named(all, mixed.old).modified + 9000);
  auto const line = text.substr(text.find(mixed.old), 200);
  CHECK(line.substr(0, line.find('\n')) ==
        mixed.old + "        10    3.5   0.25       dp 2, tp 4  " +
            nxd::detail::in_bytes(named(all, mixed.old).bytes) + "  2 h  pinned");
  CHECK(text.find("\nbroken: ") != std::string::npos);
  CHECK(text.find("put aside: it is torn\n") != std::string::npos);
}

TEST_CASE("the same as JSON reads back") {
  Mixed mixed;
  auto const all = nxd::survey(mixed.storage);
  auto const json = nxd::parse_json(nxd::survey_json(all, all[0].modified), "list");
  auto const& array = nxd::JsonView(json, "list").array();
  REQUIRE(array.size() == all.size());
  nxd::JsonView const newer(array[2], "newer"), old(array[3], "old");
  CHECK(newer["entry"].string() == mixed.newer);
  CHECK(newer["newest"].boolean());
  CHECK(old["step"].count() == 10);
  CHECK(old["loss"].number() == 3.5);
  CHECK(old["layout"]["tp"].count() == 4);
  CHECK(nxd::JsonView(array[1], "broken")["reason"].string() == all[1].reason);
}

TEST_CASE("a manifest is told in words and in JSON") {
  Mixed mixed;
  auto const all = nxd::survey(mixed.storage);
  auto const& manifest = *named(all, mixed.old).manifest;
  auto const words = nxd::manifest_words(manifest);
  for (std::string const wanted :
       {"step        10, generation 1", "loss 3.5, gradient norm 0.25", "dp 2, tp 4",
        "7 tensors of", "[4, 6, 5]", "BF16", "model/00000.safetensors"}) {
    CAPTURE(wanted);
    CHECK(words.find(wanted) != std::string::npos);
  }
  auto const json = nxd::parse_json(nxd::manifest_json(manifest), "show");
  nxd::JsonView const view(json, "show");
  CHECK(view["tensors"]["model"]["lm_head.weight"]["digest"].string() ==
        nxd::text(manifest.tensors.at({"model", "lm_head.weight"}).digest));
  CHECK(view["files"].array().size() == 3);
}

TEST_CASE("sizes and ages have few digits") {
  CHECK(nxd::detail::in_bytes(999) == "999 B");
  CHECK(nxd::detail::in_bytes(1000) == "1.00 kB");
  CHECK(nxd::detail::in_bytes(12'345'678) == "12.3 MB");
  CHECK(nxd::detail::in_bytes(999'600) == "1.00 MB");
  CHECK(nxd::detail::in_words(59) == "59 s");
  CHECK(nxd::detail::in_words(119) == "119 s");
  CHECK(nxd::detail::in_words(120) == "2 min");
  CHECK(nxd::detail::in_words(86400 * 3) == "3 d");
  CHECK(nxd::detail::in_words(-5) == "in the future");
}

}  // namespace
