// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/save.hpp>
#include <nxd/checkpoint/verify.hpp>

#include "parts.hpp"

namespace {

namespace fs = std::filesystem;

/// Two checkpoints of two ranks, with shards of many blocks of the disk.
struct Directory {
  parts::Folder folder;
  std::string good, bad;

  Directory() {
    for (std::int64_t const step : {1, 2})
      nxd::Threads::run(2, [&](auto comm) {
        nxd::PosixStorage storage(folder / "saved");
        parts::Held held =
            parts::filled(parts::Split::rows, comm.rank(), 2, static_cast<int>(step));
        for (char const* kind : {"model", "optim"}) {
          parts::Whole const large{"large", {64, 500}, kind};
          held.add(large, parts::boxes(large.shape, parts::Split::rows, 0, comm.rank(), 2)[0],
                   large.dtype);
          std::ranges::fill(held.memory.back(), std::byte{0x3f});  // 0.747
        }
        auto const entry = nxd::save(comm, storage, parts::request(held, step)).entry;
        if (comm.rank() == 0) (step == 1 ? good : bad) = entry;
      });
  }

  /// A copy to be damaged.
  fs::path copy() const {
    auto const to = fs::path(folder / "ckpt");
    fs::remove_all(to);
    fs::copy(folder / "saved", to, fs::copy_options::recursive);
    return to;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> all;
    auto const at = fs::path(folder / "saved") / bad;
    for (auto const& found : fs::recursive_directory_iterator(at))
      if (found.is_regular_file()) all.push_back(fs::relative(found.path(), at));
    std::ranges::sort(all);
    return all;
  }
};

std::string verdict(std::string const& directory, std::string const& entry) {
  try {
    nxd::PosixStorage storage(directory);
    nxd::verify(storage, entry);
    return {};
  } catch (nxd::CorruptInput const& e) {
    return e.what();
  }
}

std::optional<nxd::Loaded> resumed(std::string const& directory) {
  nxd::Single comm;
  nxd::PosixStorage storage(directory);
  auto held = parts::empty(parts::Split::columns, 0, 1);
  auto const own = held.memory.size();
  for (char const* kind : {"model", "optim"})
    held.add({"large", {64, 500}, kind}, nxd::whole({64, 500}), nxd::DType::f32);
  nxd::LoadOptions options;
  options.patience = {};
  auto loaded = nxd::resume(comm, storage, held.pieces, options);
  held.memory.resize(own);
  if (loaded) CHECK(parts::holds(held, parts::Split::columns, 0, 1, 1));
  return loaded;
}

/// A way to damage a file.
struct Damage {
  std::string name;
  std::function<void(fs::path const&)> apply;
};

Damage resized(std::string name, std::function<std::uintmax_t(std::uintmax_t)> to) {
  return {std::move(name), [to](fs::path const& p) { fs::resize_file(p, to(fs::file_size(p))); }};
}

/// All of what disks, copies and people do to a file.
std::vector<Damage> damages() {
  std::vector<Damage> all{
      resized("truncated to nothing", [](auto) { return 0; }),
      resized("truncated to one byte", [](auto) { return 1; }),
      resized("truncated to half", [](auto n) { return n / 2; }),
      resized("one byte short", [](auto n) { return n - 1; }),
      resized("one byte long", [](auto n) { return n + 1; }),
      {"with a zip behind it",
       [](fs::path const& p) { std::ofstream(p, std::ios::app) << "PK\3\4........PK\5\6"; }},
      {"zeros in place of a block",
       [](fs::path const& p) {
         auto bytes = parts::read_file(p);
         auto const begin = bytes.size() / 2 / 4096 * 4096;
         bytes.replace(begin, 4096, std::string(std::min<std::size_t>(4096, bytes.size()), '\0'));
         parts::write_file(p, bytes);
       }},
      {"zeros",
       [](fs::path const& p) { parts::write_file(p, std::string(fs::file_size(p), '\0')); }},
      {"deleted", [](fs::path const& p) { fs::remove(p); }},
      {"a link to itself, moved",
       [](fs::path const& p) {
         fs::rename(p, p.string() + ".moved");
         fs::create_symlink(p.string() + ".moved", p);
       }},
      {"a link to /dev/zero",
       [](fs::path const& p) { fs::remove(p), fs::create_symlink("/dev/zero", p); }},
      {"a directory", [](fs::path const& p) { fs::remove(p), fs::create_directory(p); }},
      {"a pipe",
       [](fs::path const& p) {
         fs::remove(p);
         if (::mkfifo(p.c_str(), 0600) != 0) throw std::runtime_error("mkfifo");
       }},
  };
  return all;
}

TEST_CASE(
    "each file of a checkpoint, damaged in each way, is named, and the one before is loaded") {
  Directory const directory;
  CHECK(directory.files().size() == 6);
  for (auto const& file : directory.files())
    for (auto const& damage : damages()) {
      CAPTURE(file);
      CAPTURE(damage.name);
      auto const copy = directory.copy();
      damage.apply(copy / directory.bad / file);
      CHECK(verdict(copy, directory.bad).find("/" + file + ": ") != std::string::npos);
      auto const loaded = resumed(copy);
      REQUIRE(loaded);
      CHECK(loaded->entry == directory.good);
      REQUIRE(loaded->skipped.size() == 1);
      CHECK(loaded->skipped[0].find("/" + file + ": ") != std::string::npos);
    }
}

TEST_CASE("one bit flipped in each 4 KiB of each file is found, and the file is named") {
  Directory const directory;
  auto const copy = directory.copy();
  std::int64_t flips = 0;
  for (auto const& file : directory.files()) {
    auto const path = copy / directory.bad / file;
    auto const right = parts::read_file(path);
    for (std::size_t block = 0; block * 4096 < right.size(); ++block, ++flips) {
      auto bytes = right;
      auto& byte = bytes[std::min(block * 4096 + block * 997 % 4096, bytes.size() - 1)];
      byte = static_cast<char>(byte ^ (1 << block % 8));
      parts::write_file(path, bytes);
      CAPTURE(file);
      CAPTURE(block);
      CHECK(verdict(copy, directory.bad).find("/" + file + ": ") != std::string::npos);
    }
    parts::write_file(path, right);
  }
  CHECK(flips > 60);
  CHECK(verdict(copy, directory.bad).empty());
}

TEST_CASE("any two files of an entry that change places are found, and one of them is named") {
  Directory const directory;
  auto const files = directory.files();
  for (std::size_t i = 0; i < files.size(); ++i)
    for (auto j = i + 1; j < files.size(); ++j) {
      auto const at = directory.copy() / directory.bad;
      fs::rename(at / files[i], at / "x");
      fs::rename(at / files[j], at / files[i]);
      fs::rename(at / "x", at / files[j]);
      CAPTURE(files[i]);
      CAPTURE(files[j]);
      auto const said = verdict(at.parent_path(), directory.bad);
      CHECK((said.find(files[i]) != said.npos || said.find(files[j]) != said.npos));
      CHECK(resumed(at.parent_path())->entry == directory.good);
    }
}

TEST_CASE("a file of the checkpoint before, in the place of the same file, is found") {
  Directory const directory;
  for (auto const& file : directory.files()) {
    auto const copy = directory.copy();
    fs::copy_file(copy / directory.good / file, copy / directory.bad / file,
                  fs::copy_options::overwrite_existing);
    CAPTURE(file);
    CHECK(verdict(copy, directory.bad).find("/" + file + ": ") != std::string::npos);
    CHECK(resumed(copy)->entry == directory.good);
  }
}

// ---- a manifest with one field changed, and a right CRC ----------------------------------------

/// Calls `use(path, value)` for each value in a JSON tree; "tensors.model.w.chunks.0.start" is one.
void each_value(nxd::Json& json, std::string const& path,
                std::function<void(std::string const&, nxd::Json&)> const& use) {
  if (!path.empty()) use(path, json);
  auto const below = [&](std::string const& name, nxd::Json& value) {
    each_value(value, path.empty() ? name : path + "/" + name, use);
  };
  if (auto* const object = std::get_if<nxd::Json::Object>(&json.value))
    for (auto& [name, value] : *object) below(name, value);
  if (auto* const array = std::get_if<nxd::Json::Array>(&json.value))
    for (std::size_t i = 0; i < array->size(); ++i) below(std::to_string(i), (*array)[i]);
}

/// What stands in place of a value.
std::vector<nxd::Json> substitutes() {
  return {std::int64_t{0},
          std::int64_t{-1},
          9223372036854775808.0,
          1e300,
          "9223372036854775807",
          "9007199254740992",
          0.5,
          "",
          "other",
          true,
          nxd::Json(),
          nxd::Json::Array{},
          nxd::Json::Object{},
          nxd::Json::Array{nxd::Json::Array{}}};
}

/// What says nothing that loading depends on: whatever is written there, of its type, is right.
bool is_free(std::string const& path, nxd::Json const& value) {
  auto const* const text = std::get_if<std::string>(&value.value);
  for (auto const* name :
       {"config_hash", "dataset_fp", "tokenizer_fp", "parent_save_id", "save_id"})
    if (path == name) return text != nullptr;
  bool const large = text != nullptr && text->starts_with("9");
  if (path == "health/grad_norm" || path == "health/loss") return large;  // hexadecimal digits
  if (path == "format/minor") return large || nxd::to_text(value) == "0";
  if (path == "layout") return nxd::to_text(value) == "{}";
  return false;
}

std::string text_of(nxd::Json const& json) {
  auto const text = nxd::to_text(json) + "\n";
  return text + nxd::detail::crc_line(text);
}

/// The manifest of one checkpoint, and what becomes of it when it is changed.
struct Forged {
  parts::Folder folder;
  std::string entry = parts::save_one(folder / "ckpt", 1, 1);
  std::string path = folder / ("ckpt/" + entry + "/MANIFEST.json");
  std::string right = parts::read_file(path);
  nxd::Json json = nxd::parse_json(right.substr(0, right.rfind("crc32c ")), "M");
  int tried = 0;

  /// Refused by a complete check or, if it is of another run, by who wants to resume.
  void expect_refused(std::string const& text) {
    ++tried;
    parts::write_file(path, text);
    auto const said = verdict(folder / "ckpt", entry);
    if (said.empty()) {
      nxd::PosixStorage storage(folder / "ckpt");
      nxd::Single comm;
      CHECK_FALSE(nxd::find_newest(comm, storage));
    } else {
      CHECK(said.find(entry) != said.npos);
    }
  }
  void expect_read(std::string const& text) const {
    parts::write_file(path, text);
    CHECK(verdict(folder / "ckpt", entry).empty());
  }
};

TEST_CASE("a manifest with any one field changed is refused, though its CRC is right") {
  Forged forged;
  forged.expect_read(text_of(forged.json));
  each_value(forged.json, "", [&](std::string const& path, nxd::Json& value) {
    for (auto const& other : substitutes()) {
      if (nxd::to_text(other) == nxd::to_text(value)) continue;
      CAPTURE(path);
      CAPTURE(nxd::to_text(other));
      auto const was = std::exchange(value, other);
      if (is_free(path, other))
        forged.expect_read(text_of(forged.json));
      else
        forged.expect_refused(text_of(forged.json));
      value = was;
    }
  });
  MESSAGE(forged.tried << " changed manifests");
  CHECK(forged.tried > 400);
}

TEST_CASE("a manifest that lacks any one field, or has one twice, is refused") {
  Forged forged;
  each_value(forged.json, "", [&](std::string const& path, nxd::Json& value) {
    auto const expect = [&] {
      CAPTURE(path);
      if (path == "layout")
        forged.expect_read(text_of(forged.json));
      else
        forged.expect_refused(text_of(forged.json));
    };
    if (auto* const array = std::get_if<nxd::Json::Array>(&value.value))
      for (std::size_t i = 0; i < array->size(); ++i) {
        auto const was = *array;
        array->erase(array->begin() + static_cast<std::ptrdiff_t>(i));
        expect();
        *array = was;
        array->insert(array->begin() + static_cast<std::ptrdiff_t>(i), was[i]);
        expect();
        *array = was;
      }
    auto* const object = std::get_if<nxd::Json::Object>(&value.value);
    if (object == nullptr) return;
    auto const was = *object;
    for (auto const& [name, field] : was) {
      object->erase(name);
      expect();
      *object = was;
      auto const key = "\"" + name + "\":";
      auto text = nxd::to_text(forged.json) + "\n";
      text.insert(text.find(key), key + nxd::to_text(field) + ",\n");
      forged.expect_refused(text + nxd::detail::crc_line(text));
    }
  });
  for (auto const& field : std::get<nxd::Json::Object>(forged.json.value)) {
    auto less = forged.json;
    std::get<nxd::Json::Object>(less.value).erase(field.first);
    CAPTURE(field.first);
    forged.expect_refused(text_of(less));
  }
  CHECK(forged.tried > 100);
}

}  // namespace
