// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <doctest/doctest.h>

#include <nxd/config/yaml.hpp>

using nxd::Node;
using nxd::parse_yaml;

namespace {

std::string refusal(std::string const& text) {
  try {
    (void)parse_yaml(text, "f.yaml");
  } catch (nxd::ConfigError const& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("A node knows its file and line, and whether it was quoted") {
  Node const root = parse_yaml("a: 1\nb:\n  c: '2'\n  d: ~\n", "f.yaml");
  REQUIRE(root.kind == Node::Kind::map);
  CHECK(root.find("a")->where.text() == "f.yaml:1");
  CHECK(root.find("b")->find("c")->where.text() == "f.yaml:3");
  CHECK(root.find("b")->find("c")->kind == Node::Kind::quoted);
  CHECK(root.find("a")->kind == Node::Kind::plain);
  CHECK(root.find("b")->find("d")->kind == Node::Kind::null);
  CHECK(root.find("x") == nullptr);
}

TEST_CASE("Merge keys are applied: the section's own keys win, then the earlier source") {
  Node const root = parse_yaml(
      "x: &x {a: 1, b: 1, c: 1}\ny: &y {b: 2, d: 2}\nz:\n  <<: [*y, *x]\n  c: 3\n", "f.yaml");
  Node const& z = *root.find("z");
  CHECK(z.keys.size() == 4);
  CHECK(z.find("a")->text == "1");
  CHECK(z.find("b")->text == "2");
  CHECK(z.find("c")->text == "3");
  CHECK(z.find("d")->text == "2");
  CHECK(z.find("<<") == nullptr);
}

TEST_CASE("A quoted << is a key like any other") {
  CHECK(parse_yaml("'<<': 3\n", "f.yaml").find("<<")->text == "3");
}

TEST_CASE("Keys that stand twice are refused, merge keys too") {
  CHECK(refusal("a: 1\n\"a\": 2\n") ==
        "f.yaml:2: a stands twice in one section; leave one of them");
  CHECK(refusal("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n") ==
        "f.yaml:4: << stands twice in one section; leave one of them");
}

TEST_CASE("An alias bomb is refused before it is large") {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    auto const last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int k = 0; k < 9; ++k) bomb += ", " + last;
    bomb += "]\n";
  }
  CHECK(refusal(bomb).ends_with("hold more than 100000 values; write fewer"));
}

TEST_CASE("More than 1000 aliases are refused") {
  auto const many = [](int count) {
    std::string text = "a: &a 1\nb: [*a";
    for (int i = 1; i < count; ++i) text += ", *a";
    return text + "]\n";
  };
  CHECK(refusal(many(1000)) == "accepted");
  CHECK(refusal(many(1001)) == "f.yaml:2: there are more than 1000 aliases; write the values out");
}

TEST_CASE("Depth is bounded, through aliases too") {
  auto const nested = [](int depth, std::string const& core) {
    return std::string(static_cast<std::size_t>(depth), '[') + core +
           std::string(static_cast<std::size_t>(depth), ']');
  };
  CHECK(refusal(nested(64, "x")) == "accepted");
  CHECK(refusal(nested(65, "x")) == "f.yaml:1: values are nested more than 64 deep; flatten them");
  CHECK(refusal("a: &a " + nested(40, "x") + "\nb: " + nested(40, "*a") + "\n") ==
        "f.yaml:2: values are nested more than 64 deep; flatten them");
  CHECK(refusal(nested(100'000, "x")) ==
        "f.yaml:1: values are nested more than 64 deep; flatten them");
}

TEST_CASE("Nested anchors do not multiply") {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "&n" + std::to_string(i) + " [";
  for (int i = 0; i < 5000; ++i) text += "x, ";
  text += "x" + std::string(60, ']');
  CHECK(refusal(text).ends_with("hold more than 100000 values; write fewer"));
}

TEST_CASE("A file of more than 1 MiB and bytes that are not text are refused") {
  CHECK(refusal(std::string((1 << 20) + 1, ' ')) ==
        "f.yaml: the file is larger than 1 MiB; a configuration is small");
  CHECK(refusal(std::string("a: 1\nb: \0", 9)).starts_with("f.yaml:2: there is a byte"));
  CHECK(refusal("a: \xc3\xa9\n") == "accepted");
  CHECK(refusal("a: \xc3\n").starts_with("f.yaml:1: there is a byte"));
}

TEST_CASE("A file that is not there is an error of reading") {
  try {
    (void)nxd::read_yaml_text("/nowhere/f.yaml");
    FAIL("read");
  } catch (nxd::IoError const& error) {
    CHECK(std::string(error.what()) ==
          "/nowhere/f.yaml: the configuration cannot be read; check the path");
  }
  CHECK_THROWS_AS((void)nxd::read_yaml_text("/"), nxd::IoError);
}
