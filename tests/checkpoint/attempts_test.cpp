// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>

#include "parts.hpp"

namespace {

std::optional<nxd::Loaded> resumed(std::string const& root, nxd::DType dtype = nxd::DType::f32) {
  nxd::Single comm;
  nxd::PosixStorage storage(root);
  parts::Held held;
  held.add(parts::model[0], nxd::whole(parts::model[0].shape), dtype);
  return nxd::resume(comm, storage, held.pieces);
}

/// A job of its own that is killed while it loads: its memory lies where no byte can be written.
void die_loading(std::string const& root) {
  auto const child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    nxd::Single comm;
    nxd::PosixStorage storage(root);
    auto const& whole = parts::model[0];
    auto const size = static_cast<std::size_t>(nxd::volume(nxd::whole(whole.shape)) * 4);
    std::span<std::byte> const nowhere(reinterpret_cast<std::byte*>(8), size);
    nxd::resume(comm, storage,
                {{whole.name, whole.shape, nxd::whole(whole.shape), whole.dtype, nowhere}});
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) + WTERMSIG(status) != 0);
}

std::int64_t records(std::string const& root) {
  std::int64_t count = 0;
  for (auto const& found : std::filesystem::directory_iterator(root))
    if (found.path().filename().string().starts_with(".attempt-")) ++count;
  return count;
}

TEST_CASE("an entry that three jobs have died on is passed over, and kept") {
  parts::Folder folder;
  auto const root = folder / "ckpt";
  auto const old = parts::save_one(root, 1, 1), deadly = parts::save_one(root, 2, 2);
  for (int death = 1; death <= 3; ++death) {
    die_loading(root);
    CHECK(records(root) == death);
  }
  auto const loaded = resumed(root);
  REQUIRE(loaded);
  CHECK(loaded->entry == old);
  REQUIRE(loaded->skipped.size() == 1);
  CHECK(loaded->skipped[0].find(deadly + ": 3 jobs have died") != std::string::npos);
  CHECK(std::filesystem::exists(root + "/" + deadly + "/MANIFEST.json"));
  CHECK(resumed(root)->entry == old);
  CHECK(parts::save_one(root, 3, 3) == "step-000000000003.g000003");
  CHECK(resumed(root)->entry == "step-000000000003.g000003");
}

TEST_CASE(
    "a job that loads forgives the deaths before it, and so does one that ends with an error") {
  parts::Folder folder;
  auto const root = folder / "ckpt";
  auto const entry = parts::save_one(root, 1, 1);
  die_loading(root);
  die_loading(root);
  CHECK(resumed(root)->entry == entry);
  CHECK(records(root) == 0);
  for (int i = 0; i < 5; ++i) CHECK_THROWS_AS(resumed(root, nxd::DType::i32), nxd::ConfigError);
  CHECK(records(root) == 0);
  CHECK(resumed(root)->entry == entry);
}

TEST_CASE("if there is no other entry, that is an error which says how to try again") {
  parts::Folder folder;
  auto const root = folder / "ckpt";
  parts::save_one(root, 1, 1);
  for (int death = 1; death <= 3; ++death) die_loading(root);
  CHECK_THROWS_WITH_AS(resumed(root), doctest::Contains("to try again, remove"), nxd::CorruptInput);
  for (auto const& found : std::filesystem::directory_iterator(root))
    if (found.path().filename().string().starts_with(".attempt-"))
      std::filesystem::remove(found.path());
  CHECK(resumed(root));
}

}  // namespace
