// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/s3/xml.hpp>
#include <nxd/checkpoint/save.hpp>
#include <nxd/config/llama_state.hpp>
#include <nxd/config/load.hpp>
#include <nxd/data/indexed_dataset.hpp>
#include <nxd/plan/machine_text.hpp>
#include <nxd/train/metrics.hpp>
#include <nxd/train/trace_text.hpp>

#include "../allocations.hpp"
#include "../checkpoint/parts.hpp"

namespace {

namespace fs = std::filesystem;

/// Runs `work` once for each allocation that it makes, or for each `stride`-th, and lets that one
/// fail: it throws, or gives what it gives otherwise; nothing is lost. `after` looks at what is
/// left.
/// @return how often memory was short
std::int64_t with_each_failure(
    std::function<std::string()> const& work, std::int64_t stride = 1,
    std::function<void()> const& after = [] {}) {
  auto const wanted = work();
  REQUIRE(work() == wanted);  // what is made once is there
  std::int64_t failures = 0, leaks = 0, wrong = 0, beyond = 0;
  for (std::int64_t n = 0; beyond == 0; n += stride) {
    auto const before = allocations::live.load();
    allocations::refused = allocations::count + n;
    try {
      auto const given = work();
      beyond = allocations::count <= allocations::refused;
      allocations::refused = -1;
      wrong += given != wanted;
    } catch (std::bad_alloc const&) {
      ++failures;
    } catch (nxd::Error const&) {
      ++failures;
    }
    allocations::refused = -1;
    leaks += allocations::live != before;
    after();
  }
  CHECK(leaks == 0);
  CHECK(wrong == 0);
  return failures;
}

std::string read_header(std::string const& file) {
  auto const header = nxd::read_safetensors_header(
      std::ssize(file),
      [&](std::int64_t offset, std::span<std::byte> to) {
        std::memcpy(to.data(), file.data() + offset, to.size());
      },
      "f");
  return std::to_string(header.entries.size());
}

TEST_CASE("a parser for which memory is short throws, and loses nothing") {
  std::vector<nxd::SafetensorsEntry> entries{{"a", nxd::DType::f32, {2, 3}},
                                             {"b", nxd::DType::bf16, {5}}};
  auto const header = nxd::safetensors_header(entries, {{"format", "pt"}}) + std::string(34, 'x');
  auto const index = nxd::safetensors_index_text({{"a", "x"}, {"b", "y"}}, 12);
  auto const state = nxd::to_text(nxd::LlamaState{});
  auto const machine = nxd::to_text(nxd::Machine{});
  nxd::RankTrace const trace{1, "rank 1", {{"step", "one", 0, 3e-6, 0}}};
  auto const traced = nxd::trace_text(std::span(&trace, 1), {{"ranks", "2"}});
  auto const metrics = nxd::to_json(nxd::StepMetrics{});
  std::string const xml = "<a><b>1 &amp; 2</b><c><![CDATA[x]]></c></a>";
  struct Reader {
    char const* what;
    std::function<std::string()> read;
  };
  for (auto const& [what, read] : std::vector<Reader>{
           {"safetensors", [&] { return read_header(header); }},
           {"index", [&] { return nxd::parse_safetensors_index(index, "f").at("b"); }},
           {"state", [&] { return nxd::to_text(nxd::parse_llama_state(state, "f")); }},
           {"machine", [&] { return nxd::to_text(nxd::parse_machine(machine, "f")); }},
           {"trace", [&] { return nxd::parse_trace(traced, "f").name; }},
           {"metrics", [&] { return nxd::to_json(nxd::parse_metrics(metrics).value()); }},
           {"xml", [&] { return nxd::parse_xml(xml, "f")["b"]; }}}) {
    CAPTURE(what);
    CHECK(with_each_failure(read) > 0);
  }
}

TEST_CASE("a manifest is read or not, whichever allocation fails") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  auto const text = parts::read_file(folder / ("ckpt/" + entry + "/MANIFEST.json"));
  CHECK(with_each_failure([&] { return nxd::manifest_text(nxd::parse_manifest(text, "f")); },
                          std::getenv("NXD_FULL") == nullptr ? 7 : 1) > 50);
}

TEST_CASE("a configuration is read or not, whichever allocation fails") {
  std::string const yaml =
      "name: &n run\ntrainer: {max_steps: 1_000}\nexp_manager: {name: *n}\n"
      "data: {micro_batch_size: 2, global_batch_size: 16, seq_length: 128, train_dir: \"${name}\"}\n"
      "model: {num_layers: 4, optim: {lr: 3e-4, betas: [0.9, 0.95]}}\n";
  std::vector<std::string> const overrides{"seed=3"};
  CHECK(with_each_failure(
            [&] {
              return nxd::load_config_text(yaml, "f", overrides, nxd::Broken::collect).config.name;
            },
            std::getenv("NXD_FULL") == nullptr ? 5 : 1) > 50);
}

/// Where a sync is cheap, if there is such a place.
std::string fast_folder() {
  auto name = std::string(fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path()) +
              "/nxd-memory-XXXXXX";
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  return name;
}

TEST_CASE("a save for which memory is short leaves the checkpoint before it, or itself") {
  auto const folder = fast_folder();
  nxd::Single comm;
  nxd::PosixStorage storage(folder + "/ckpt");
  auto const first = parts::filled(parts::Split::rows, 0, 1, 1);
  auto const second = parts::filled(parts::Split::rows, 0, 1, 2);
  auto const request = parts::request(second, 2);
  auto const anew = [&] {
    fs::remove_all(folder + "/ckpt");
    nxd::save(comm, storage, parts::request(first, 1));
  };
  anew();
  std::int64_t torn = 0, stuck = 0;
  auto const save = [&] {
    nxd::save(comm, storage, request);
    return std::string("saved");
  };
  auto const failures = with_each_failure(save, std::getenv("NXD_FULL") == nullptr ? 11 : 1, [&] {
    auto held = parts::empty(parts::Split::rows, 0, 1);
    auto const loaded = nxd::resume(comm, storage, held.pieces);
    auto const step = loaded ? static_cast<int>(loaded->manifest.step) : 0;
    torn += step == 0 || !loaded->skipped.empty() ||
            !parts::holds(held, parts::Split::rows, 0, 1, step);
    try {  // a draft that stays hinders no later save
      nxd::save(comm, storage, parts::request(second, 3));
    } catch (nxd::Error const&) {
      ++stuck;
    }
    anew();
  });
  CHECK(failures > 20);
  CHECK(torn == 0);
  CHECK(stuck == 0);
  fs::remove_all(folder);
}

TEST_CASE("a load for which memory is short puts nothing aside") {
  auto const folder = fast_folder();
  parts::save_one(folder + "/ckpt", 1, 1);
  nxd::Single comm;
  nxd::PosixStorage storage(folder + "/ckpt");
  std::int64_t lost = 0;
  auto const load = [&] {
    auto held = parts::empty(parts::Split::rows, 0, 1);
    return std::to_string(nxd::resume(comm, storage, held.pieces).value().manifest.step);
  };
  auto const failures = with_each_failure(load, std::getenv("NXD_FULL") == nullptr ? 5 : 1, [&] {
    lost += nxd::entries(storage).size() != 1;
    for (auto const& found : storage.list(""))
      if (found.name.starts_with(".attempt-")) storage.remove(found.name);
  });
  CHECK(failures > 20);
  CHECK(lost == 0);
  fs::remove_all(folder);
}

}  // namespace
