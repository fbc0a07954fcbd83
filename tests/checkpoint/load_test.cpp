// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/save.hpp>

#include "parts.hpp"

namespace {

namespace fs = std::filesystem;
using parts::Split;

/// The state of the newest entry that one rank can resume from.
std::optional<nxd::Loaded> resumed(std::string const& directory, int salt,
                                   nxd::LoadOptions options = {}) {
  nxd::Single comm;
  nxd::PosixStorage storage(directory);
  auto held = parts::empty(Split::columns, 0, 1);
  options.patience = {};
  auto loaded = nxd::resume(comm, storage, held.pieces, options);
  if (loaded) CHECK(parts::holds(held, Split::columns, 0, 1, salt));
  return loaded;
}

/// A way to damage a file.
struct Damage {
  std::string name;
  std::function<void(fs::path const&)> apply;
};

std::vector<Damage> const damages{
    {"truncated to nothing", [](fs::path const& p) { fs::resize_file(p, 0); }},
    {"truncated to one byte", [](fs::path const& p) { fs::resize_file(p, 1); }},
    {"truncated to half", [](fs::path const& p) { fs::resize_file(p, fs::file_size(p) / 2); }},
    {"one byte short", [](fs::path const& p) { fs::resize_file(p, fs::file_size(p) - 1); }},
    {"one byte long", [](fs::path const& p) { fs::resize_file(p, fs::file_size(p) + 1); }},
    {"one bit flipped at the beginning",
     [](fs::path const& p) {
       auto bytes = parts::read_file(p);
       bytes[3] = static_cast<char>(bytes[3] ^ 1);
       parts::write_file(p, bytes);
     }},
    {"one bit flipped near the end",
     [](fs::path const& p) {
       auto bytes = parts::read_file(p);
       auto& byte = bytes[bytes.size() - 3];
       byte = static_cast<char>(byte ^ 64);
       parts::write_file(p, bytes);
     }},
    {"half zeros",
     [](fs::path const& p) {
       auto bytes = parts::read_file(p);
       std::fill(bytes.begin() + std::ssize(bytes) / 2, bytes.end(), '\0');
       parts::write_file(p, bytes);
     }},
    {"deleted", [](fs::path const& p) { fs::remove(p); }},
    {"a link",
     [](fs::path const& p) {
       fs::rename(p, p.string() + ".moved");
       fs::create_symlink(p.string() + ".moved", p);
     }},
    {"a directory",
     [](fs::path const& p) {
       fs::remove(p);
       fs::create_directory(p);
     }},
    {"a pipe",
     [](fs::path const& p) {
       fs::remove(p);
       if (::mkfifo(p.c_str(), 0600) != 0) throw std::runtime_error("mkfifo");
     }},
};

TEST_CASE("every file, damaged in every way, is named, put aside, and the one before is loaded") {
  for (std::string const file :
       {"MANIFEST.json", "state.json", "model/00000.safetensors", "optim/00000.safetensors"})
    for (auto const& damage : damages) {
      CAPTURE(file);
      CAPTURE(damage.name);
      parts::Folder folder;
      auto const directory = folder / "ckpt";
      auto const good = parts::save_one(directory, 1, 1);
      auto const bad = parts::save_one(directory, 2, 2);
      damage.apply(fs::path(directory) / bad / file);
      auto const loaded = resumed(directory, 1);
      REQUIRE(loaded);
      CHECK(loaded->entry == good);
      REQUIRE(loaded->skipped.size() == 1);
      CHECK(loaded->skipped[0].find(file) != std::string::npos);
      auto const reason = parts::read_file(fs::path(directory) / (".bad-" + bad) / "REASON.txt");
      CHECK(reason.find(file) != std::string::npos);
    }
}

TEST_CASE("shards that have changed places are found") {
  parts::Folder folder;
  nxd::Threads::run(2, [&](auto comm) {
    nxd::PosixStorage storage(folder / "ckpt");
    auto const held = parts::filled(Split::rows, comm.rank(), 2, 0);
    nxd::save(comm, storage, parts::request(held, 1));
  });
  auto const model = fs::path(folder / "ckpt") / "step-000000000001.g000001/model";
  fs::rename(model / "00000.safetensors", model / "other");
  fs::rename(model / "00001.safetensors", model / "00000.safetensors");
  fs::rename(model / "other", model / "00001.safetensors");
  CHECK_THROWS_WITH_AS(resumed(folder / "ckpt", 0), doctest::Contains("model/0000"),
                       nxd::CorruptInput);
}

TEST_CASE("a manifest of another entry is refused") {
  parts::Folder folder;
  auto const first = parts::save_one(folder / "ckpt", 1, 1);
  auto const second = parts::save_one(folder / "ckpt", 2, 2);
  fs::copy_file(fs::path(folder / "ckpt") / first / "MANIFEST.json",
                fs::path(folder / "ckpt") / second / "MANIFEST.json",
                fs::copy_options::overwrite_existing);
  CHECK(resumed(folder / "ckpt", 1)->entry == first);
}

TEST_CASE("a directory whose checkpoints cannot be loaded is an error, not a fresh start") {
  parts::Folder folder;
  CHECK_FALSE(resumed(folder / "none", 0));
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  fs::resize_file(fs::path(folder / "ckpt") / entry / "MANIFEST.json", 10);
  CHECK_THROWS_WITH_AS(resumed(folder / "ckpt", 0), doctest::Contains("fresh start"),
                       nxd::CorruptInput);
  CHECK_THROWS_AS(resumed(folder / "ckpt", 0), nxd::CorruptInput);  // its entry is ".bad-" by now
  nxd::LoadOptions allowed;
  allowed.fresh_start = nxd::FreshStart::allowed;
  CHECK_FALSE(resumed(folder / "ckpt", 0, allowed));
}

TEST_CASE("only what was never committed is a fresh start") {
  parts::Folder folder;
  fs::create_directories(fs::path(folder / "ckpt") / ".tmp-1234");
  CHECK_FALSE(resumed(folder / "ckpt", 0));
}

TEST_CASE("an entry of another run is not resumed from, and not touched") {
  parts::Folder folder;
  auto const own = parts::save_one(folder / "ckpt", 1, 1);
  parts::save_one(folder / "other", 9000, 2);
  auto const foreign = parts::save_one(folder / "other", 9000, 2);
  fs::rename(folder / ("other/" + foreign), folder / ("ckpt/" + foreign));
  auto const loaded = resumed(folder / "ckpt", 1);
  CHECK(loaded->entry == own);
  CHECK(loaded->skipped.size() == 1);
  CHECK(fs::exists(folder / ("ckpt/" + foreign)));
}

TEST_CASE("times of files do not matter") {
  parts::Folder folder;
  auto const old = parts::save_one(folder / "ckpt", 1, 1);
  auto const newest = parts::save_one(folder / "ckpt", 2, 2);
  fs::last_write_time(folder / ("ckpt/" + old), fs::file_time_type::clock::now());
  fs::last_write_time(folder / ("ckpt/" + newest), fs::file_time_type{});
  CHECK(resumed(folder / "ckpt", 2)->entry == newest);
}

TEST_CASE(
    "a model that does not fit the checkpoint is told which tensor, and nothing is put aside") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  nxd::Single comm;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const asked = [&](parts::Whole const& whole, nxd::DType dtype) {
    parts::Held held;
    held.add(whole, nxd::whole(whole.shape), dtype);
    nxd::resume(comm, storage, held.pieces);
  };
  CHECK_THROWS_WITH_AS(asked({"model.norm.weight", {8}}, nxd::DType::f32),
                       doctest::Contains("'model.norm.weight'"), nxd::ConfigError);
  CHECK_THROWS_WITH_AS(asked({"lm_head.weight", {14, 8}}, nxd::DType::f32),
                       doctest::Contains("[13, 8], the model needs [14, 8]"), nxd::ConfigError);
  CHECK_THROWS_WITH_AS(asked({"lm_head.weight", {13, 8}}, nxd::DType::i32),
                       doctest::Contains("cannot be read as I32"), nxd::ConfigError);
  CHECK(fs::exists(folder / ("ckpt/" + entry)));
}

TEST_CASE("all ranks fall back together when one of them finds a bad byte") {
  parts::Folder folder;
  for (int salt : {1, 2})
    nxd::Threads::run(4, [&](auto comm) {
      nxd::PosixStorage storage(folder / "ckpt");
      auto const held = parts::filled(Split::rows, comm.rank(), 4, salt);
      nxd::save(comm, storage, parts::request(held, salt));
    });
  auto const victim = folder / "ckpt/step-000000000002.g000002/model/00003.safetensors";
  damages[6].apply(victim);
  nxd::Threads::run(4, [&](auto comm) {
    nxd::PosixStorage storage(folder / "ckpt");
    auto held = parts::empty(Split::rows, comm.rank(), 4);
    auto const loaded = nxd::resume(comm, storage, held.pieces);
    if (!loaded || loaded->manifest.step != 1) throw std::logic_error("step");
    if (!parts::holds(held, Split::rows, comm.rank(), 4, 1)) throw std::logic_error("bytes");
    if (loaded->skipped.at(0).find("rank 3: ") == std::string::npos)
      throw std::logic_error(loaded->skipped.at(0));
  });
}

TEST_CASE("a wrong element with a right CRC is found by its digest") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  auto const path = folder / ("ckpt/" + entry + "/MANIFEST.json");
  auto manifest = nxd::parse_manifest(parts::read_file(path), path);
  manifest.tensors.begin()->second.digest.low ^= 1;
  parts::write_file(path, nxd::manifest_text(manifest));
  CHECK_THROWS_WITH_AS(resumed(folder / "ckpt", 1), doctest::Contains("(digest)"),
                       nxd::CorruptInput);
}

TEST_CASE("a tensor of many chunks is read by rows and by columns over their borders") {
  parts::Folder folder;
  std::vector<std::int64_t> const shape{1030, 2100};  // 8.6 MB: no row ends where a chunk does
  nxd::Threads::run(2, [&](auto comm) {
    nxd::PosixStorage storage(folder / "ckpt");
    auto const part = [&](std::size_t d) {
      auto box = nxd::whole(shape);
      box.extent[d] /= 2;
      box.start[d] = box.extent[d] * comm.rank();
      parts::Held held;
      held.add({"big", shape}, box, nxd::DType::f32);
      return held;
    };
    auto const fill = [&](parts::Held const& held) {
      auto const& piece = held.pieces[0];
      nxd::for_each_run(piece.box, piece.box, nxd::whole(shape),
                        [&](std::int64_t at, std::int64_t place, std::int64_t count) {
                          for (std::int64_t i = 0; i < count; ++i)
                            parts::set(piece, at + i, static_cast<float>(place + i));
                        });
    };
    auto const rows = part(0);
    fill(rows);
    auto const saved = nxd::save(comm, storage, parts::request(rows, 1));
    auto const columns = part(1), wanted = part(1);
    fill(wanted);
    auto const loaded = nxd::load(comm, storage, saved.entry, columns.pieces);
    if (columns.memory != wanted.memory) throw std::logic_error("bytes");
    if (loaded.tensors_compared != 1) throw std::logic_error("digest");
  });
}

TEST_CASE("a file that becomes visible late is waited for, and not for ever") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder.path);
  std::jthread const late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    parts::write_file(folder / "late", "x");
  });
  CHECK_NOTHROW(nxd::detail::open_patiently(storage, "late", std::chrono::seconds(30)));
  CHECK_THROWS_WITH_AS(nxd::detail::open_patiently(storage, "never", std::chrono::milliseconds(60)),
                       doctest::Contains("/never: is missing"), nxd::CorruptInput);
}

TEST_CASE("what an entry has lacked for long is not waited for, and what is new is") {
  for (bool const old : {true, false}) {
    parts::Folder folder;
    auto const root = fs::path(folder / "ckpt");
    auto const first = parts::save_one(root, 1, 1), newest = parts::save_one(root, 2, 2);
    fs::rename(root / newest / "MANIFEST.json", root / "later");
    auto const then = fs::file_time_type::clock::now() - std::chrono::seconds(old ? 61 : 0);
    for (auto const& found : fs::recursive_directory_iterator(root / newest))
      fs::last_write_time(found.path(), then);
    fs::last_write_time(root / newest, then);
    nxd::Single comm;
    nxd::PosixStorage storage(root);
    auto const held = parts::empty(parts::Split::rows, 0, 1);
    std::jthread const late([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      if (!old) fs::rename(root / "later", root / newest / "MANIFEST.json");
    });
    auto const began = std::chrono::steady_clock::now();
    auto const loaded = nxd::resume(comm, storage, held.pieces);
    CHECK(loaded->entry == (old ? first : newest));
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(20));
  }
}

/// Files that a network file system loses sight of: the first read of each fails.
class Forgetful : public nxd::PosixStorage {
 public:
  using nxd::PosixStorage::PosixStorage;

  struct File : nxd::PosixFile {
    bool* forgotten;

    void read(std::int64_t offset, std::span<std::byte> to) {
      if (std::exchange(*forgotten, true)) return nxd::PosixFile::read(offset, to);
      throw nxd::StaleHandle("Stale file handle");
    }
  };
  File create(std::string const& path) {
    return {nxd::PosixStorage::create(path), &forgotten_[path]};
  }
  File open(std::string const& path) {
    if (path.ends_with(".json")) forgotten_[path] = true;
    return {nxd::PosixStorage::open(path), &forgotten_[path]};
  }
  std::size_t files() const { return forgotten_.size(); }

 private:
  std::map<std::string, bool> forgotten_;
};

TEST_CASE("a file that goes stale while it is read is opened once more") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 3, 3);
  nxd::Single comm;
  Forgetful storage(folder / "ckpt");
  auto held = parts::empty(Split::rows, 0, 1);
  nxd::load(comm, storage, entry, held.pieces);
  CHECK(parts::holds(held, Split::rows, 0, 1, 3));
  CHECK(storage.files() == 4);
}

TEST_CASE("LATEST is not trusted") {
  parts::Folder folder;
  auto const first = parts::save_one(folder / "ckpt", 1, 1);
  auto const second = parts::save_one(folder / "ckpt", 2, 2);
  parts::write_file(folder / "ckpt/LATEST", first + "\n");
  CHECK(resumed(folder / "ckpt", 2)->entry == second);
  fs::remove(folder / "ckpt/LATEST");
  CHECK(resumed(folder / "ckpt", 2)->entry == second);
}

}  // namespace
