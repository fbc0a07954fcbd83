// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include <doctest/doctest.h>

#include <nxd/train/metrics.hpp>

namespace fs = std::filesystem;

namespace {

/// A folder that ends with the test.
struct Folder {
  fs::path path;
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "nxd_metrics_XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { fs::remove_all(path); }
};

nxd::StepMetrics at(std::int64_t step) {
  return {.step = step,
          .loss = 5.0 / static_cast<double>(step + 2),
          .grad_norm = 0.1,
          .lr = 3e-4,
          .tokens = 512 * step,
          .tokens_per_s = 12345.5,
          .step_ms = 41.25,
          .peak_bytes = std::nullopt,
          .sent_bytes = std::nullopt,
          .val_loss = std::nullopt};
}

}  // namespace

TEST_CASE("A step is one JSON object on one line") {
  auto m = at(3);
  CHECK(
      nxd::to_json(m) ==
      R"({"step":3,"loss":1,"grad_norm":0.1,"lr":3e-04,"tokens":1536,"tokens_per_s":12345.5,"step_ms":41.25})");
  m.val_loss = 2.5;
  CHECK(nxd::to_json(m).ends_with(R"("step_ms":41.25,"val_loss":2.5})"));
  m.peak_bytes = 1 << 20, m.sent_bytes = 0;
  CHECK(nxd::to_json(m).ends_with(
      R"("step_ms":41.25,"peak_bytes":1048576,"sent_bytes":0,"val_loss":2.5})"));
  auto const read = nxd::parse_metrics(nxd::to_json(m));
  REQUIRE(read);
  CHECK(read->peak_bytes == m.peak_bytes);
  CHECK(read->sent_bytes == m.sent_bytes);
  CHECK(read->val_loss == m.val_loss);
}

TEST_CASE("A number that is not finite is null, and the line says so") {
  auto m = at(3);
  m.loss = std::nan("");
  m.grad_norm = HUGE_VAL;
  CHECK(
      nxd::to_json(m) ==
      R"({"step":3,"loss":null,"grad_norm":null,"lr":3e-04,"tokens":1536,"tokens_per_s":12345.5,"step_ms":41.25,"non_finite":true})");
  auto const read = nxd::parse_metrics(nxd::to_json(m));
  REQUIRE(read);
  CHECK(std::isnan(read->loss));
  CHECK(std::isnan(read->grad_norm));
}

TEST_CASE("Numbers read back exactly") {
  auto m = at(7);
  m.loss = 0.1 + 0.2;
  m.val_loss = 1.0 / 3;
  auto const read = nxd::parse_metrics(nxd::to_json(m));
  REQUIRE(read);
  CHECK(read->loss == m.loss);
  CHECK(read->val_loss == m.val_loss);
  CHECK(read->tokens == m.tokens);
  CHECK(read->step == 7);
}

TEST_CASE("Torn lines and other lines are not metrics") {
  auto const line = nxd::to_json(at(7));
  for (std::size_t n = 0; n < line.size(); ++n)
    CHECK_FALSE_MESSAGE(nxd::parse_metrics(line.substr(0, n)), n);
  CHECK_FALSE(nxd::parse_metrics("{}"));
  CHECK_FALSE(nxd::parse_metrics(line.substr(0, line.size() - 1) + ",\"x\":1}"));
}

TEST_CASE("A resumed run cuts the lines past its checkpoint and goes on") {
  Folder const folder;
  {
    nxd::MetricsWriter writer(folder.path / "a" / "b", 0);
    for (int step = 1; step <= 10; ++step) writer.write(at(step));
  }
  auto const path = folder.path / "a" / "b" / "metrics.jsonl";
  std::ofstream(path, std::ios::app) << "{\"step\":11,\"lo";
  CHECK(nxd::read_metrics(path).size() == 10);
  nxd::MetricsWriter writer(folder.path / "a" / "b", 6);
  CHECK(nxd::read_metrics(path).size() == 6);
  writer.write(at(7));
  auto const steps = nxd::read_metrics(path);
  REQUIRE(steps.size() == 7);
  for (std::size_t i = 0; i < steps.size(); ++i)
    CHECK(steps[i].step == static_cast<std::int64_t>(i) + 1);
}

TEST_CASE("A torn last line goes even where its step would stay") {
  Folder const folder;
  { nxd::MetricsWriter(folder.path, 0).write(at(1)); }
  std::ofstream(folder.path / "metrics.jsonl", std::ios::app) << nxd::to_json(at(2));
  nxd::MetricsWriter(folder.path, 5).write(at(6));
  auto const steps = nxd::read_metrics(folder.path / "metrics.jsonl");
  REQUIRE(steps.size() == 2);
  CHECK(steps[1].step == 6);
}

TEST_CASE("A run that starts anew sets the earlier file aside") {
  Folder const folder;
  for (int run = 0; run < 3; ++run) nxd::MetricsWriter(folder.path, 0).write(at(run + 1));
  CHECK(nxd::read_metrics(folder.path / "metrics.1.jsonl")[0].step == 1);
  CHECK(nxd::read_metrics(folder.path / "metrics.2.jsonl")[0].step == 2);
  CHECK(nxd::read_metrics(folder.path / "metrics.jsonl")[0].step == 3);
}

TEST_CASE("A foreign line is named by its number") {
  Folder const folder;
  auto const path = folder.path / "metrics.jsonl";
  std::ofstream(path) << nxd::to_json(at(1)) << "\nhello\n" << nxd::to_json(at(2)) << "\n";
  CHECK_THROWS_WITH_AS(
      (void)nxd::read_metrics(path),
      (path.string() + ":2: this line is not the metrics of a step; remove it").c_str(),
      nxd::CorruptInput);
  CHECK_THROWS_AS((void)nxd::read_metrics(folder.path / "none"), nxd::IoError);
}

TEST_CASE("A full disk is an error of writing") {
  if (!fs::exists("/dev/full")) return;
  Folder const folder;
  fs::create_symlink("/dev/full", folder.path / "metrics.jsonl");
  nxd::MetricsWriter writer(folder.path, 0);
  CHECK_THROWS_AS(writer.write(at(1)), nxd::IoError);
}

TEST_CASE("A folder that cannot be made is an error of writing") {
  CHECK_THROWS_AS(nxd::MetricsWriter("/dev/null/run", 0), nxd::IoError);
}
