// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/names.hpp>
#include <nxd/checkpoint/storage.hpp>

#include "parts.hpp"

namespace {

namespace fs = std::filesystem;

TEST_CASE("a name from outside is plain, or it is refused") {
  for (char const* good : {"a", "model-00001-of-00002.safetensors", "A_b.c-9"})
    CHECK(nxd::is_safe_name(good));
  for (std::string const& bad :
       {std::string(), std::string("."), std::string(".."), std::string(".a"), std::string("a..b"),
        std::string("a/b"), std::string("a\\b"), std::string("a\0b", 3), std::string("a b"),
        std::string("\xc3\xa4"), std::string(129, 'a')})
    CHECK_FALSE(nxd::is_safe_name(bad));
  CHECK(nxd::is_safe_path("model/0"));
  for (char const* bad : {"/a", "a/", "a//b", "a/b/c", "../a", "a/.."})
    CHECK_FALSE(nxd::is_safe_path(bad));
}

TEST_CASE("an entry's name tells its step and generation, and only such names do") {
  CHECK(nxd::text(nxd::EntryName{1000, 17}) == "step-000000001000.g000017");
  auto const entry = nxd::entry_from("step-000000001000.g000017");
  REQUIRE(entry);
  CHECK(entry->step == 1000);
  CHECK(entry->generation == 17);
  CHECK(nxd::entry_from(nxd::text(nxd::EntryName{1'000'000'000'000, 1'000'000})));
  for (char const* bad : {"", "step-1000.g17", "step-000000001000", "step-000000001000.g000017x",
                          ".bad-step-000000001000.g000017", "step-00000000100x.g000017",
                          "step-0000000001000.g000017"})
    CHECK_FALSE(nxd::entry_from(bad));
}

TEST_CASE("nothing is overwritten: not by creating, not by renaming") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder.path);
  storage.create("a").close();
  storage.create("b").close();
  CHECK_THROWS_WITH_AS(storage.create("a"), doctest::Contains("/a: cannot create"), nxd::IoError);
  CHECK_THROWS_AS(storage.rename("a", "b"), nxd::IoError);
  CHECK_THROWS_AS(storage.make_directory("a"), nxd::IoError);
  storage.rename("a", "c");
  CHECK(storage.list("").size() == 2);
}

TEST_CASE("no link is followed, and only regular files are opened") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "root");
  storage.make_root();
  fs::create_directory(folder / "outside");
  parts::write_file(folder / "outside/secret", "s");
  fs::create_symlink(folder / "outside", folder / "root/link");
  fs::create_symlink(folder / "outside/secret", folder / "root/file");
  fs::create_symlink("/dev/zero", folder / "root/zero");
  storage.make_directory("directory");
  CHECK_THROWS_AS(storage.open("link/secret"), nxd::CorruptInput);
  CHECK_THROWS_AS(storage.create("link/new"), nxd::CorruptInput);
  for (char const* name : {"file", "zero", "directory"})
    CHECK_THROWS_WITH_AS(storage.open(name), doctest::Contains("not a regular file"),
                         nxd::CorruptInput);
  CHECK_THROWS_AS(storage.open("absent"), nxd::NotThere);
  storage.remove("link");
  CHECK(fs::exists(folder / "outside/secret"));
}

TEST_CASE("a folder is removed with all that is in it, links as links") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "a/b/c");
  storage.make_root();
  storage.make_directory("x");
  storage.make_directory("x/y");
  storage.create("x/y/z").close();
  parts::write_file(folder / "kept", "k");
  fs::create_symlink(folder / "kept", folder / "a/b/c/x/link");
  storage.remove("x");
  CHECK(storage.list("").empty());
  CHECK(fs::exists(folder / "kept"));
}

TEST_CASE("a file that ends too early is corrupt, and named") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder.path);
  parts::write_file(folder / "short", "abc");
  auto file = storage.open("short");
  CHECK(file.size() == 3);
  std::vector<std::byte> bytes(4);
  CHECK_THROWS_WITH_AS(file.read(0, bytes), doctest::Contains("/short: ends at byte 3"),
                       nxd::CorruptInput);
}

TEST_CASE("a directory that cannot be made is told with its path") {
  parts::Folder folder;
  parts::write_file(folder / "file", "");
  nxd::PosixStorage storage(folder / "file/ckpt");
  CHECK_THROWS_WITH_AS(storage.make_root(), doctest::Contains("/file"), nxd::IoError);
}

}  // namespace
