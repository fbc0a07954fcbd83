// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include <nxd/comm/recorder.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/train/measured_step.hpp>
#include <nxd/train/step_tracer.hpp>

using namespace nxd;

namespace {

/// Events as a run has them: in the order in which they ended.
RankTrace small_trace() {
  RankTrace trace{3, "rank 3", {}};
  trace.events = {{"data", "data", 0.0010, 0.0015},
                  {"wait", "message", 0.0020, 0.0024},
                  {"exchange", "all_reduce", 0.0024, 0.0030, 4096},
                  {"forward", "F0.0", 0.0020, 0.0031},
                  {"backward", "B0.0", 0.0031, 0.0050},
                  {"exchange", "all_reduce", 0.0051, 0.0052},
                  {"optimizer", "optimizer", 0.0050, 0.0060},
                  {"forward", "F0.0", 0.0061, 0.0068},
                  {"validation", "validation", 0.0060, 0.0070},
                  {"exchange", "barrier", 0.0071, 0.0072},
                  {"save", "save", 0.0070, 0.0090},
                  {"step", "step 7", 0.0010, 0.0100}};
  return trace;
}

TraceFacts const facts{{"ranks", "4"}, {"a \"name\"", "b\\c"}};

std::string small_text() {
  auto const trace = small_trace();
  return trace_text(std::span(&trace, 1), facts);
}

std::string replaced(std::string text, std::string const& what, std::string const& with) {
  auto const at = text.find(what);
  REQUIRE(at != text.npos);
  return text.replace(at, what.size(), with);
}

std::string refusal(std::string const& text) {
  try {
    parse_trace(text, "x.json");
  } catch (CorruptInput const& e) {
    return e.what();
  }
  return "";
}

std::string new_folder() {
  std::string path = (std::filesystem::temp_directory_path() / "nxd-trace.XXXXXX").string();
  REQUIRE(::mkdtemp(path.data()) != nullptr);
  return path;
}

/// As much of a world as a tracer sees.
template <class C> struct SmallWorld {
  Recorder<C> comm;
  Trace* trace = nullptr;
  std::int64_t rank() const { return comm.rank(); }
};

}  // namespace

TEST_CASE("a trace is one line an event, the outer one first, in microseconds from the origin") {
  RankTrace const trace{1, "rank 1", {{"forward", "F0.0", 2.5, 2.75}, {"step", "step 1", 2.5, 3}}};
  CHECK(trace_text(std::span(&trace, 1), {{"ranks", "2"}}, 2) ==
        R"({"displayTimeUnit": "ms", "otherData": {"ranks": "2"},
"traceEvents": [
{"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": "rank 1"}},
{"name": "process_sort_index", "ph": "M", "pid": 1, "tid": 0, "args": {"sort_index": 1}},
{"name": "step 1", "cat": "step", "ph": "X", "pid": 1, "tid": 0, "ts": 500000.000, "dur": 500000.000},
{"name": "F0.0", "cat": "forward", "ph": "X", "pid": 1, "tid": 0, "ts": 500000.000, "dur": 250000.000}
]}
)");
}

TEST_CASE("a trace reads back as it was, to the nanosecond") {
  auto const read = parse_trace(small_text(), "x.json");
  auto const wanted = in_order(small_trace().events);
  CHECK(read.rank == 3);
  CHECK(read.name == "rank 3");
  CHECK(read.facts == facts);
  REQUIRE(read.events.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK(read.events[i].category == wanted[i].category);
    CHECK(read.events[i].name == wanted[i].name);
    CHECK(read.events[i].bytes == wanted[i].bytes);
    CHECK(read.events[i].start == doctest::Approx(wanted[i].start).epsilon(1e-9));
    CHECK(read.events[i].finish == doctest::Approx(wanted[i].finish).epsilon(1e-9));
  }
}

TEST_CASE("events that touch within a fraction of a nanosecond still nest in the text") {
  RankTrace trace{0, "rank 0", {}};
  for (int i = 0; i < 1000; ++i) {
    double const start = 0.1 + i * 1.23456789e-4, finish = start + 1.1111111111e-4 / 3;
    trace.events.push_back({"exchange", "inner", start + 1.2345e-9 * i, finish});
    trace.events.push_back({"forward", "outer", start, finish});
  }
  trace.events.push_back({"step", "step 1", 0.1, 0.1 + 1000 * 1.23456789e-4});
  CHECK(refusal(trace_text(std::span(&trace, 1), {})) == "");
}

TEST_CASE("events of equal times nest as they ended") {
  auto const events = in_order({{"wait", "inner", 1, 2}, {"forward", "outer", 1, 2}});
  CHECK(events[0].name == "outer");
  CHECK(events[1].name == "inner");
}

TEST_CASE("what is torn, or no trace of a rank, is refused with a sentence") {
  auto const text = small_text();
  CHECK(refusal("").find("is empty") != text.npos);
  CHECK(refusal(text.substr(0, text.size() / 2)).find("has a mistake at byte") != text.npos);
  CHECK(refusal("{}").find("has no 'otherData'") != text.npos);
  CHECK(refusal(replaced(text, "\"cat\": \"wait\"", "\"cat\": \"rest\"")).find("category") !=
        text.npos);
  CHECK(refusal(replaced(text, "\"ph\": \"X\"", "\"ph\": \"B\"")).find("is not \"X\"") !=
        text.npos);
  CHECK(refusal(replaced(text, "\"pid\": 3, \"tid\": 0, \"ts\"", "\"pid\": 2, \"tid\": 0, \"ts\""))
            .find("as the others are") != text.npos);
  CHECK(refusal(replaced(text, "\"dur\": 400.000", "\"dur\": -1")).find("negative") != text.npos);
  CHECK(refusal(replaced(text, "\"dur\": 1900.000", "\"dur\": \"1900\"")).find("a number") !=
        text.npos);
  CHECK(refusal(replaced(text, "\"dur\": 400.000", "\"dur\": 1400.000")) ==
        "x.json: B0.0 at 0.003100 s begins in another event and ends after it");
}

TEST_CASE(
    "what an action waits for a message is not part of it, nor a validation or save of a step") {
  auto const steps = measured_steps(parse_trace(small_text(), "x.json"), "x.json");
  REQUIRE(steps.size() == 1);
  auto const& s = steps.front();
  auto const ms = [&](Activity a) { return 1e3 * s.seconds[static_cast<std::size_t>(a)]; };
  CHECK(s.name == "step 7");
  CHECK(s.actions == std::vector<std::string>{"F0.0", "B0.0"});
  CHECK(ms(Activity::forward) == doctest::Approx(0.7));
  CHECK(ms(Activity::backward) == doctest::Approx(1.9));
  CHECK(ms(Activity::wait) == doctest::Approx(0.4));
  CHECK(ms(Activity::exchange) == doctest::Approx(0.7));
  CHECK(ms(Activity::optimizer) == doctest::Approx(1));
  CHECK(ms(Activity::step) == doctest::Approx(9 - 1 - 2));
  CHECK(s.times[static_cast<std::size_t>(Activity::forward)] == 1);
  CHECK(s.times[static_cast<std::size_t>(Activity::exchange)] == 2);
}

TEST_CASE("an event outside the steps is no event of a run") {
  auto trace = small_trace();
  trace.events.push_back({"forward", "F1.0", 0.0101, 0.0102});
  trace.events = in_order(trace.events);
  CHECK_THROWS_WITH_AS(measured_steps(trace, "x"), "x: F1.0 is in no step", CorruptInput);
}

TEST_CASE("a window of steps is two numbers, the first not above the last") {
  CHECK(parse_window("3:7") == StepWindow{3, 7});
  CHECK(parse_window("12:12") == StepWindow{12, 12});
  for (auto const* wrong :
       {"", "3", "3:", ":3", "0:2", "7:3", "3:7x", "3-7", "-1:2", "1:99999999999999999999"})
    CHECK_THROWS_AS(parse_window(wrong), ConfigError);
}

TEST_CASE("ranks agree on a moment, whatever their clocks show") {
  Threads::run(4, [](Threads::Rank rank) {
    using Clock = std::chrono::steady_clock;
    auto const seconds = [] {
      return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
    };
    auto const off = 1000.0 * static_cast<double>(rank.rank());
    if (rank.rank() == 2) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    auto const moment = common_moment(rank, [&] { return seconds() + off; }) - off;
    std::vector<double> const mine{moment};
    std::vector<double> all(4);
    rank.all_gather({0, 1, 4, rank.rank()}, std::span<double const>(mine), std::span<double>(all));
    for (auto const other : all)
      if (std::abs(other - all[0]) > 5e-3) throw std::runtime_error("moments apart");
    if (seconds() - moment > 1) throw std::runtime_error("a moment long ago");
  });
}

TEST_CASE(
    "a tracer writes the steps of its window and no others, and steps cost nothing after it") {
  auto const folder = new_folder();
  Threads::run(2, [&](Threads::Rank rank) {
    SmallWorld<Threads::Rank> world{Recorder(rank)};
    StepTracer tracer(world, TraceFile(folder, rank.rank()), StepWindow{2, 3}, facts);
    for (std::int64_t step = 1; step <= 6; ++step) {
      tracer.before(step);
      if ((world.trace != nullptr) != (step == 2 || step == 3))
        throw std::runtime_error("wrong window");
      Traced const span(world.trace, "step", [step] { return "step " + std::to_string(step); });
      world.comm.barrier();
    }
    tracer.finish();
  });
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    auto const trace = read_trace(folder, rank);
    std::vector<std::string> names;
    for (auto const& e : trace.events) names.push_back(e.name);
    CHECK(names == std::vector<std::string>{"step 2", "barrier", "step 3", "barrier"});
    CHECK(trace.events.front().start > -1e-3);
    CHECK(trace.facts.at("began") == read_trace(folder, 0).facts.at("began"));
  }
  CHECK_THROWS_AS(read_trace(folder, 2), IoError);
  std::filesystem::rename(trace_file(folder, 1), trace_file(folder, 2));
  CHECK_THROWS_AS(read_trace(folder, 2), CorruptInput);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a run that ends within the window has its steps so far; one that is cut off has none") {
  auto const folder = new_folder();
  Threads::run(1, [&](Threads::Rank rank) {
    SmallWorld<Threads::Rank> world{Recorder(rank)};
    auto const run = [&](std::int64_t steps, bool to_the_end) {
      StepTracer tracer(world, TraceFile(folder, 0), StepWindow{}, facts);
      for (std::int64_t step = 1; step <= steps; ++step) {
        tracer.before(step);
        Traced const span(world.trace, "step", [] { return "step"; });
      }
      if (to_the_end) tracer.finish();
    };
    run(0, true);
    CHECK_THROWS_AS(read_trace(folder, 0), CorruptInput);
    run(3, true);
    CHECK(read_trace(folder, 0).events.size() == 3);
    run(0, true);  // nothing to do: what is there stays
    CHECK(read_trace(folder, 0).events.size() == 3);
    run(2, false);
    CHECK_THROWS_AS(read_trace(folder, 0), CorruptInput);
    CHECK(world.trace == nullptr);
  });
  std::filesystem::remove_all(folder);
}

TEST_CASE("a folder that cannot be made, or a file that cannot be written, is an error of files") {
  CHECK_THROWS_AS(TraceFile("/proc/no/such/folder", 0), IoError);
  auto const folder = new_folder();
  std::filesystem::create_directory(trace_file(folder, 4));
  CHECK_THROWS_AS(TraceFile(folder, 4), IoError);
  std::filesystem::remove_all(folder);
}
