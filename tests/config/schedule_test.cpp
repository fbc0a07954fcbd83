// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <map>
#include <regex>
#include <sstream>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <nxd/config/commands/schedule.hpp>

using namespace nxd;

namespace {

/// What `nxd schedule` prints for these arguments.
std::string drawn(std::string const& arguments) {
  CLI::App app;
  Task task;
  add_schedule_command(app, task);
  app.parse("schedule " + arguments);
  REQUIRE(task.by == By::first_rank);

  struct Redirect {
    std::ostringstream text;
    std::streambuf* outer = std::cout.rdbuf(text.rdbuf());
    ~Redirect() { std::cout.rdbuf(outer); }
  } redirect;
  task.run();
  return redirect.text.str();
}

nlohmann::json parsed(std::string const& arguments) {
  return nlohmann::json::parse(drawn(arguments));
}

/// The sentence that refuses these arguments.
std::string refusal(std::string const& arguments) {
  try {
    drawn(arguments);
  } catch (CLI::ParseError const& e) {
    CHECK(e.get_exit_code() != 0);
    return e.what();
  } catch (ConfigError const& e) {
    return e.what();
  }
  return "not refused";
}

/// Every tag is closed in its order, and nothing else has brackets or ampersands.
bool is_well_formed(std::string const& xml) {
  static std::regex const tag(R"rx(<(/?)([a-z]+)((?: [a-z-]+="[^"<>&]*")*)(/?)>)rx");
  std::vector<std::string> open;
  int roots = 0;
  for (std::sregex_iterator it(xml.begin(), xml.end(), tag), end; it != end; ++it) {
    auto const& name = (*it)[2];
    if ((*it)[1].length() != 0) {
      if (open.empty() || open.back() != name) return false;
      open.pop_back();
      continue;
    }
    if (open.empty()) ++roots;
    if ((*it)[4].length() == 0) open.push_back(name);
  }
  auto const text = std::regex_replace(xml, tag, "");
  return roots == 1 && open.empty() && text.find_first_of("<>&") == text.npos;
}

}  // namespace

TEST_CASE("The JSON of 1F1B has its order, its bubble and its live microbatches") {
  auto const json = parsed("1f1b --ranks 4 --microbatches 8 --format json");
  REQUIRE(json.size() == 3);
  REQUIRE(json["ranks"].size() == 4);
  for (auto const& rank : json["ranks"]) CHECK(rank.size() == 16);
  CHECK(json["ranks"][3] ==
        nlohmann::json::parse(R"(["F0.0", "B0.0", "F1.0", "B1.0", "F2.0", "B2.0",
      "F3.0", "B3.0", "F4.0", "B4.0", "F5.0", "B5.0", "F6.0", "B6.0", "F7.0", "B7.0"])"));
  CHECK(json["bubble"].get<double>() == doctest::Approx(3. / 11).epsilon(1e-12));
  CHECK(json["live"] == nlohmann::json({4, 3, 2, 1}));
}

TEST_CASE("Every kind has each pass of each microbatch once on every rank") {
  struct Row {
    char const* kind;
    int chunks;
    std::string passes;
  };
  for (Row const& row : {Row{"gpipe", 1, "FB"}, Row{"1f1b", 1, "FB"}, Row{"interleaved", 2, "FB"},
                         Row{"zb-h1", 1, "FIW"}, Row{"zb-v", 2, "FIW"}}) {
    CAPTURE(row.kind);
    auto const json = parsed(std::string(row.kind) + " --ranks 3 --microbatches 6 --format json");
    REQUIRE(json["ranks"].size() == 3);
    REQUIRE(json["live"].size() == 3);
    for (auto const& rank : json["ranks"]) {
      std::map<std::string, int> count;
      for (auto const& action : rank) ++count[action.get<std::string>()];
      CHECK(count.size() == row.passes.size() * 6 * static_cast<std::size_t>(row.chunks));
      for (auto const& [action, times] : count) CHECK(times == 1);
      for (char const pass : row.passes) CHECK(count.contains(pass + std::string("5.0")));
      CHECK(count.contains("F5.1") == (row.chunks == 2));
    }
  }
}

TEST_CASE("Chunks are the fewest of the kind, or as many as asked for") {
  auto const shape = std::string("interleaved --ranks 2 --microbatches 4 --format json");
  CHECK(drawn(shape) == drawn(shape + " --chunks 2"));
  CHECK(parsed(shape + " --chunks 3")["ranks"][0].size() == 24);
}

TEST_CASE("Times change the bubble and not the order") {
  auto const shape = std::string("zb-h1 --ranks 2 --microbatches 4 --format json");
  auto const even = parsed(shape), uneven = parsed(shape + " --times 1,1,0.25");
  CHECK(even["ranks"] == uneven["ranks"]);
  CHECK(even["bubble"].get<double>() == doctest::Approx(1. / 13));
  CHECK(uneven["bubble"].get<double>() == doctest::Approx(1.75 / 10.75));
}

TEST_CASE("Evaluation has forward passes alone, for any number of microbatches") {
  auto const json = parsed("interleaved --ranks 4 --microbatches 3 --evaluation --format json");
  for (auto const& rank : json["ranks"]) {
    CHECK(rank.size() == 6);
    for (auto const& action : rank) CHECK(action.get<std::string>().starts_with("F"));
  }
}

TEST_CASE(
    "The trace is one that Chrome opens: complete events that follow each other on a thread") {
  auto const json = parsed("zb-v --ranks 2 --microbatches 3 --times 1,1.5,0.5 --format trace");
  std::map<int, std::string> names;
  std::map<int, double> end;
  int events = 0;
  for (auto const& e : json["traceEvents"]) {
    auto const tid = e["tid"].get<int>();
    CHECK(e["pid"].is_number_integer());
    if (e["ph"] == "M") {
      CHECK(e["name"] == "thread_name");
      names[tid] = e["args"]["name"];
      continue;
    }
    REQUIRE(e["ph"] == "X");
    CHECK(e["name"].is_string());
    CHECK(e["cat"].is_string());
    CHECK(e["dur"].get<double>() > 0);
    CHECK(e["ts"].get<double>() >= end[tid] - 1e-6);
    end[tid] = e["ts"].get<double>() + e["dur"].get<double>();
    ++events;
  }
  CHECK(events == 2 * 2 * 3 * 3);
  CHECK(names == std::map<int, std::string>{{0, "rank 0"}, {1, "rank 1"}});
}

TEST_CASE("The picture is well-formed XML") {
  for (auto const* kind : {"1f1b", "interleaved", "zb-v"}) {
    auto const svg = drawn(std::string(kind) + " --ranks 2 --microbatches 4 --format svg");
    CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    CHECK(is_well_formed(svg));
  }
  CHECK(!is_well_formed("<svg><text></svg>"));
  CHECK(!is_well_formed("<svg>a < b</svg>"));
}

TEST_CASE("Text has no colours where there is no terminal that takes them") {
  ::setenv("TERM", "dumb", 1);
  CHECK(drawn("1f1b --ranks 2 --microbatches 2") ==
        "rank 0 |F0 F1       B0       B1\n"
        "rank 1 |   F0 B0    F1 B1\n"
        "bubble 33.3 % of 9; live chunks 2 1\n");
}

TEST_CASE("What is no schedule is refused in one sentence") {
  struct Row {
    char const* arguments;
    char const* sentence;
  };
  auto const table = std::to_array<Row>({
      {"1f2b --ranks 2 --microbatches 2", "'1f2b' is no kind of schedule; did you mean 1f1b?"},
      {"1F1B --ranks 2 --microbatches 2", "'1F1B' is no kind of schedule; did you mean 1f1b?"},
      {"zbv --ranks 2 --microbatches 2", "'zbv' is no kind of schedule; did you mean zb-v?"},
      {"dualpipe --ranks 2 --microbatches 2",
       "'dualpipe' is no kind of schedule; there are gpipe, 1f1b, interleaved, zb-h1, zb-v"},
      {"--ranks 2 --microbatches 2", "KIND is required"},
      {"1f1b --ranks 2", "--microbatches is required"},
      {"1f1b --ranks 0 --microbatches 2", "--ranks: Value 0 not in range 1 to 512"},
      {"1f1b --ranks -1 --microbatches 2", "--ranks: Value -1 not in range 1 to 512"},
      {"1f1b --ranks two --microbatches 2", "--ranks: Value two not in range 1 to 512"},
      {"1f1b --ranks 100000 --microbatches 100000", "--ranks: Value 100000 not in range 1 to 512"},
      {"1f1b --ranks 2 --microbatches 99999999999999999999",
       "--microbatches: Value 99999999999999999999 not in range 1 to 65536"},
      {"gpipe --ranks 512 --microbatches 65536",
       "the schedule has 512 stages and 65536 microbatches; "
       "a picture has at most 262144 forward passes"},
      {"interleaved --ranks 512 --microbatches 2 --evaluation",
       "the schedule has 1024 stages and 512 microbatches; "
       "a picture has at most 262144 forward passes"},
      {"1f1b --ranks 2 --microbatches 2 --chunks 2",
       "1f1b: the schedule must have the number of chunks on a rank that it is for "
       "(2 against 1)"},
      {"interleaved --ranks 2 --microbatches 2 --chunks 1",
       "interleaved: the schedule must have the number of chunks on a rank that it is for "
       "(1 against 2)"},
      {"interleaved --ranks 4 --microbatches 3",
       "interleaved: an interleaved pipeline must have as many microbatches as ranks "
       "(3 against 4)"},
      {"1f1b --ranks 2 --microbatches 2 --format pdf",
       "--format: pdf not in {json,svg,text,trace}"},
      {"1f1b --ranks 2 --microbatches 2 --times 1,2",
       "--times is \"1,2\"; write three numbers, for forward passes, gradients of inputs and "
       "gradients of weights, as 1,1,1"},
      {"zb-h1 --ranks 2 --microbatches 2 --times 1,1e-9,1",
       "--times has passes too short to be columns beside the others; "
       "bring them nearer together, or take --format svg"},
  });
  for (auto const& row : table) {
    CAPTURE(row.arguments);
    CHECK(refusal(row.arguments) == row.sentence);
  }
  for (auto const* times :
       {"", "1", "1,1,1,1", "1,1,x", "0,1,1", "-1,1,1", "nan,1,1", "1,inf,1", "1,1,1e300"}) {
    CAPTURE(times);
    CHECK(refusal(std::string("1f1b --ranks 2 --microbatches 2 --times=\"") + times + "\"")
              .find("--times") != std::string::npos);
  }
}
