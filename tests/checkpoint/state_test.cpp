// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>
#include <cmath>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <boost/serialization/nvp.hpp>
#include <boost/serialization/split_member.hpp>
#include <doctest/doctest.h>

#include <nxd/checkpoint/state.hpp>

namespace {

using nxd::nvp;

enum class Phase : std::uint8_t { warm = 1, cold = 200 };

/// A type of a library: its function is free, its members have no names.
struct Point {
  float x = 0;
  double y = 0;

  bool operator==(Point const&) const = default;
};
template <class Archive> void serialize(Archive& a, Point& p, unsigned) { a& p.x& p.y; }

/// As with Boost: private, with names by Boost's own means.
class Schedule {
 public:
  Schedule() = default;
  Schedule(std::int64_t steps, std::vector<double> rates)
      : steps_(steps), rates_(std::move(rates)) {}
  bool operator==(Schedule const&) const = default;

 private:
  friend nxd::StateAccess;
  template <class Archive> void serialize(Archive& a, unsigned) {
    a& BOOST_SERIALIZATION_NVP(steps_) & boost::serialization::make_nvp("rates", rates_);
  }

  std::int64_t steps_ = 0;
  std::vector<double> rates_;
};

/// As with Boost: saved and loaded by two functions.
struct Halves {
  std::int64_t twice = 0;

  template <class Archive> void save(Archive& a, unsigned) const {
    auto const once = twice / 2;
    a << nvp("once", once);
  }
  template <class Archive> void load(Archive& a, unsigned) {
    a >> nvp("once", twice);
    twice *= 2;
  }
  BOOST_SERIALIZATION_SPLIT_MEMBER()
  bool operator==(Halves const&) const = default;
};

struct Tree {
  std::vector<Tree> children;

  bool operator==(Tree const&) const = default;
  template <class Archive> void serialize(Archive& a, unsigned) { a& nvp("children", children); }
};

struct All {
  bool yes = false;
  std::int8_t tiny = 0;
  std::uint16_t port = 0;
  std::int64_t least = 0, most = 0;
  std::uint64_t huge = 0;
  float third = 0;
  double tenth = 0;
  std::string name;
  Phase phase = Phase::warm;
  std::optional<double> best, worst;
  std::vector<bool> flags;
  std::vector<Point> points;
  std::array<std::int32_t, 3> three{};
  std::int64_t raw[2] = {};
  std::map<std::string, std::vector<double>> curves;
  std::unordered_map<std::string, std::int64_t> counts;
  std::map<std::int64_t, std::string> names;
  std::set<std::int64_t> seen;
  std::deque<std::string> recent;
  std::list<Halves> halves;
  std::pair<std::int64_t, std::string> both;
  std::tuple<bool, Point> mixed;
  Schedule schedule;
  Tree tree;

  bool operator==(All const&) const = default;
  template <class Archive> void serialize(Archive& a, unsigned) {
    a& nvp("yes", yes) & nvp("tiny", tiny) & nvp("port", port) & nvp("least", least) &
        nvp("most", most) & nvp("huge", huge) & nvp("third", third) & nvp("tenth", tenth) &
        nvp("name", name) & nvp("phase", phase) & nvp("best", best) & nvp("worst", worst) &
        nvp("flags", flags) & nvp("points", points) & nvp("three", three) & nvp("raw", raw) &
        nvp("curves", curves) & nvp("counts", counts) & nvp("names", names) & nvp("seen", seen) &
        nvp("recent", recent) & nvp("halves", halves) & nvp("both", both) & nvp("mixed", mixed) &
        nvp("schedule", schedule) & nvp("tree", tree);
  }
};

All some() {
  All a;
  a.yes = true;
  a.tiny = -128;
  a.port = 65535;
  a.least = std::numeric_limits<std::int64_t>::min();
  a.most = (std::int64_t{1} << 53) - 1;
  a.huge = std::numeric_limits<std::uint64_t>::max();
  a.third = 1.0F / 3;
  a.tenth = 0.1;
  a.name = "G\u00fcte \"\\\n\u4e09";
  a.phase = Phase::cold;
  a.best = -0.0;
  a.flags = {true, false, true};
  a.points = {{1.5F, 2.5}, {std::numeric_limits<float>::denorm_min(), 5e-324}};
  a.three = {1, -2, 3};
  a.raw[1] = 7;
  a.curves = {{"loss", {3.25, 1e300, -1e-300}}, {"", {}}};
  a.counts = {{"b", 2}, {"a", 1}};
  a.names = {{-1, "x"}, {5, ""}};
  a.seen = {3, 1, 2};
  a.recent = {"one", "two"};
  a.halves = {{4}, {-6}};
  a.both = {9, "nine"};
  a.mixed = {true, {0, 1}};
  a.schedule = {40, {0.5}};
  a.tree.children.resize(2);
  a.tree.children[1].children.resize(1);
  return a;
}

template <class T> T through(T const& x) {
  return nxd::parse_state<T>(nxd::state_text(x), "state.json");
}

TEST_CASE("what the standard library and Boost's conventions can say comes back as it was") {
  auto const all = some();
  CHECK(through(all) == all);
  CHECK(through(All{}) == All{});
  CHECK(nxd::state_text(through(all)) == nxd::state_text(all));
  CHECK(std::signbit(through(all).best.value()));
}

TEST_CASE("a state reads as a person would write it") {
  CHECK(nxd::state_text(Schedule(3, {0.5, 1})) == "{\"rates\":[0.5,1.0],\n\"steps_\":3}\n");
  CHECK(nxd::state_text(Point{1, 2}) == "[1.0,2.0]\n");
  CHECK(nxd::state_text(std::uint64_t{1} << 53) == "\"9007199254740992\"\n");
  CHECK(nxd::state_text(std::vector<double>{NAN, INFINITY, -INFINITY}) ==
        "[\"nan\",\"inf\",\"-inf\"]\n");
}

TEST_CASE("what is no number comes back, and so does every float") {
  auto const odd = through(std::vector<double>{NAN, INFINITY, -INFINITY});
  CHECK(std::isnan(odd[0]));
  CHECK((std::isinf(odd[1]) && odd[1] > 0 && std::isinf(odd[2]) && odd[2] < 0));
  std::vector<float> floats;
  std::vector<double> doubles;
  for (std::uint64_t i = 1; i < 4000; ++i) {
    auto const bits = i * 0x9e3779b97f4a7c15u;
    auto const x = std::bit_cast<double>(bits);
    auto const y = std::bit_cast<float>(static_cast<std::uint32_t>(bits >> 16));
    if (std::isfinite(x)) doubles.push_back(x);
    if (std::isfinite(y)) floats.push_back(y);
  }
  CHECK(through(doubles) == doubles);
  CHECK(through(floats) == floats);
}

// ---- what is wrong
// -------------------------------------------------------------------------------

template <class T> std::string refusal(std::string const& text) {
  try {
    nxd::parse_state<T>(text, "state.json");
  } catch (nxd::CorruptInput const& e) {
    return e.what();
  }
  return "it is read";
}

TEST_CASE("what is not what was written is told in one sentence with the path of the key") {
  using Numbers = std::vector<std::int64_t>;
  using Curves = std::map<std::string, std::vector<double>>;
  CHECK(refusal<Schedule>("{\"rates\":[]}") == "state.json: has no 'steps_'");
  CHECK(refusal<Schedule>("{\"rates\":[],\"steps_\":1,\"x\":2}") == "state.json: x: is not known");
  CHECK(refusal<Schedule>("{\"rates\":[],\"steps_\":1,\"steps_\":2}") ==
        "state.json: its JSON has the key 'steps_' twice");
  CHECK(refusal<Curves>("{\"a\":[1,{\"b\":1,\"b\":2}]}") ==
        "state.json: its JSON has the key 'b' twice, in a[1]");
  CHECK(refusal<Schedule>("{\"rates\":[1,\"x\"],\"steps_\":1}") ==
        "state.json: rates[1]: is not a number");
  CHECK(refusal<Schedule>("[]") == "state.json: is not an object");
  CHECK(refusal<Curves>("{\"a\":{}}") == "state.json: a: is not an array");
  CHECK(refusal<Point>("[1]") == "state.json: has too few elements, 1");
  CHECK(refusal<Point>("[1,2,3]") == "state.json: has 3 elements, not 2");
  CHECK(refusal<std::array<bool, 2>>("[true]") == "state.json: has 1 elements, not 2");
  CHECK(refusal<std::vector<bool>>("[1]") == "state.json: [0]: is not true or false");
  CHECK(refusal<std::vector<std::string>>("[null]") == "state.json: [0]: is not a text");
  CHECK(refusal<std::set<std::int64_t>>("[1,1]") == "state.json: [1]: is there already");
  CHECK(refusal<std::map<std::int64_t, bool>>("[[1,true],[1,false]]") ==
        "state.json: [1]: has a key that is there already");
  for (std::string const text :
       {"1.5", "1.0", "\"5\"", "\"\"", "null", "true", "9007199254740992",
        "\"9223372036854775808\"", "\"-9223372036854775809\"", "\" 9007199254740992\"",
        "\"09007199254740992\"", "18446744073709551615", "\"+9007199254740992\"", "1e18"}) {
    CAPTURE(text);
    CHECK(refusal<Numbers>("[" + text + "]") ==
          "state.json: [0]: is not an integer from -9223372036854775808 to 9223372036854775807");
  }
  CHECK(refusal<std::uint8_t>("256") == "state.json: is not an integer from 0 to 255");
  CHECK(refusal<std::uint64_t>("-1").find("is not an integer from 0 to 1844") != std::string::npos);
  CHECK(refusal<Phase>("300") == "state.json: is not an integer from 0 to 255");
  CHECK(refusal<float>("1e39") == "state.json: is not a number of 32 bits");
  CHECK(refusal<double>("\"NaN\"") == "state.json: is not a number");
  CHECK(refusal<double>("9007199254740993") == "state.json: is not a number");
  CHECK(refusal<double>("1e400").find("state.json: its JSON has a mistake") == 0);
  CHECK(refusal<std::string>("\"\xff\"").find("state.json: its JSON has a mistake") == 0);
  CHECK(refusal<std::string>("\"a\\u0000\"") == "state.json: its JSON has a text with a NUL");
  CHECK(refusal<double>("1 2").find("state.json: its JSON has a mistake") == 0);
  CHECK(refusal<double>(std::string("1\0 2", 4)) == "state.json: its JSON has a NUL at byte 2");
  CHECK(refusal<std::int64_t>("-0").find("is not an integer from") != std::string::npos);
  CHECK(refusal<double>("").find("state.json: its JSON has a mistake") == 0);
}

TEST_CASE("no state is too deep or too large to be refused") {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"children\":[";
  CHECK(refusal<Tree>(deep).find("state.json: its JSON has more than 64 levels, in children[0]") ==
        0);
  CHECK(refusal<std::string>("\"" + std::string(17 << 20, 'x') + "\"").find("allowed") !=
        std::string::npos);
  Tree root;
  auto* at = &root;
  for (int i = 0; i < 1000; ++i) at = &at->children.emplace_back();
  CHECK_THROWS_WITH_AS(nxd::state_text(root), doctest::Contains("more than 64 levels"), nxd::Error);
}

struct Twice {
  double a = 1, b = 2;
  template <class Archive> void serialize(Archive& ar, unsigned) { ar& nvp("a", a) & nvp("a", b); }
};
struct HalfNamed {
  double a = 1, b = 2;
  template <class Archive> void serialize(Archive& ar, unsigned) { ar& nvp("a", a) & b; }
};

TEST_CASE("what could not be read again is not written") {
  CHECK_THROWS_WITH_AS(nxd::state_text(std::vector{Twice{}}),
                       "a state that is to be saved: [0]: has two members 'a'", nxd::Error);
  CHECK_THROWS_WITH_AS(nxd::state_text(HalfNamed{}), doctest::Contains("with names and without"),
                       nxd::Error);
  using Names = std::map<std::string, std::string>;
  CHECK_THROWS_WITH_AS(nxd::state_text(Names{{"x", "\xff"}}), doctest::Contains("mistake at byte"),
                       nxd::Error);
  CHECK_THROWS_WITH_AS(nxd::state_text(Names{{"x", std::string(1, '\0')}}),
                       doctest::Contains("a text with a NUL"), nxd::Error);
}

/// A type that has grown: what older programs have written, it still reads.
struct Grown {
  std::int64_t steps = 0;
  double ema = 1;

  template <class Archive> void serialize(Archive& a, unsigned version) {
    a& nvp("steps", steps);
    if (version >= 1) a& nvp("ema", ema);
  }
};

}  // namespace

template <> inline constexpr unsigned nxd::state_version<Grown> = 2;

namespace {

TEST_CASE("a type that has grown reads what was written before, and not what comes after") {
  CHECK(nxd::state_text(Grown{5, 0.5}) == "{\"ema\":0.5,\n\"steps\":5,\n\"version\":2}\n");
  CHECK(through(Grown{5, 0.5}).ema == 0.5);
  CHECK(nxd::parse_state<Grown>("{\"steps\":7}", "f").steps == 7);
  CHECK(refusal<Grown>("{\"steps\":7,\"version\":3}") ==
        "state.json: has the version 3, this program reads 2; use a newer program");
  CHECK(refusal<Grown>("{\"steps\":7,\"ema\":1}") == "state.json: ema: is not known");
}

}  // namespace
