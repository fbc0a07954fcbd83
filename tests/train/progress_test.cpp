// SPDX-License-Identifier: Apache-2.0
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include <nxd/train/progress.hpp>

namespace {

nxd::StepMetrics at(std::int64_t step) {
  return {.step = step,
          .loss = 2.5,
          .grad_norm = 0.75,
          .lr = 3e-4,
          .tokens = 512 * step,
          .tokens_per_s = 12345.5,
          .step_ms = 500,
          .val_loss = std::nullopt};
}

}  // namespace

TEST_CASE("Where there is no terminal, every so many steps make a line") {
  std::ostringstream out;
  nxd::Progress progress(out, 0, {.bar = false, .every = 10}, 25);
  for (int step = 1; step <= 25; ++step) progress.update(at(step));
  progress.finish();
  CHECK(out.str() ==
        "step 10/25  loss 2.5000  12.3k tokens/s  ETA 0:08  lr 0.0003  grad_norm 0.75  500.0 ms\n"
        "step 20/25  loss 2.5000  12.3k tokens/s  ETA 0:03  lr 0.0003  grad_norm 0.75  500.0 ms\n"
        "step 25/25  loss 2.5000  12.3k tokens/s  ETA 0:00  lr 0.0003  grad_norm 0.75  500.0 ms\n");
}

TEST_CASE("A validated step always makes a line") {
  std::ostringstream out;
  nxd::Progress progress(out, 0, {.bar = false, .every = 10}, 25);
  auto m = at(3);
  m.val_loss = 2.25;
  progress.update(m);
  CHECK(out.str().find("step 3/25  loss 2.5000  val 2.2500") == 0);
}

TEST_CASE("On a terminal a bar of the terminal's width is drawn anew") {
  for (auto const charset : {nxd::Charset::ascii, nxd::Charset::unicode}) {
    std::ostringstream out;
    nxd::Progress progress(out, 0, {.bar = true, .width = 70, .charset = charset}, 20);
    progress.update(at(10));
    auto const text = out.str();
    CHECK(text[0] == '\r');
    CHECK(text.find('\n') == text.npos);
    CHECK(nxd::detail::columns(text) - 1 < 70);
    CHECK(text.find(charset == nxd::Charset::ascii ? "#-" : "█░") != text.npos);
    CHECK(text.find("step 10/20 [") == 1);
    CHECK(text.find("ETA 0:05") != text.npos);
  }
}

TEST_CASE("A narrow terminal gets no bar, and no line break") {
  std::ostringstream out;
  nxd::Progress progress(out, 0, {.bar = true, .width = 30}, 20);
  progress.update(at(10));
  CHECK(out.str().size() <= 30);
}

TEST_CASE("A shorter bar wipes out the longer one, and a note stands above it") {
  std::ostringstream out;
  nxd::Progress progress(out, 0, {.bar = true, .width = 60}, 20);
  progress.update(at(10));
  progress.note("saved");
  progress.update(at(11));
  progress.finish();
  CHECK(out.str().find("\rsaved\n") != std::string::npos);
  CHECK(out.str().ends_with("\n"));
}

TEST_CASE("Only rank 0 shows progress") {
  std::ostringstream out;
  nxd::Progress progress(out, 1, {.bar = true}, 20);
  progress.update(at(1));
  progress.note("x");
  progress.finish();
  CHECK(out.str().empty());
}

TEST_CASE("Only rank 0 logs, but every rank its errors") {
  std::ostringstream out;
  nxd::Logger const first(out, 0);
  nxd::Logger const second(out, 1);
  for (auto const* logger : {&first, &second}) {
    logger->debug("d");
    logger->info("i");
    logger->warning("w");
    logger->error("e");
  }
  CHECK(out.str() == "i\nwarning: w\nerror: e\nerror: rank 1: e\n");
}

TEST_CASE("Durations and rates are short") {
  CHECK(nxd::detail::as_duration(42) == "0:42");
  CHECK(nxd::detail::as_duration(725) == "12:05");
  CHECK(nxd::detail::as_duration(11525) == "3:12:05");
  CHECK(nxd::detail::as_duration(2 * 86400 + 3 * 3600 + 12 * 60) == "2d 03:12");
  CHECK(nxd::detail::as_duration(-1) == "?");
  CHECK(nxd::detail::in_thousands(950) == "950");
  CHECK(nxd::detail::in_thousands(4.5e6) == "4.5M");
}
