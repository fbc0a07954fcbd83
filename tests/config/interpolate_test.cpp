// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

#include <nxd/config/interpolate.hpp>
#include <nxd/config/yaml.hpp>

using nxd::Node;

namespace {

Node resolved(std::string const& text) { return nxd::interpolate(nxd::parse_yaml(text, "f.yaml")); }

std::string refusal(std::string const& text) {
  try {
    (void)resolved(text);
  } catch (nxd::ConfigError const& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("A path from the root gives the value itself, maps and lists too") {
  Node const root =
      resolved("a: {b: 3, c: [1, 2]}\nx: ${a.b}\ny: ${a}\nz: ${a.c[1]}\nw: ${a.c.0}\n");
  CHECK(root.find("x")->text == "3");
  CHECK(root.find("x")->where.line == 2);
  CHECK(root.find("y")->find("b")->text == "3");
  CHECK(root.find("z")->text == "2");
  CHECK(root.find("w")->text == "1");
}

TEST_CASE("Leading dots count from the section of the key") {
  Node const root =
      resolved("a:\n  n: 1\n  b:\n    n: 2\n    x: ${.n}\n    y: ${..n}\n    z: ${...m}\nm: 4\n");
  Node const& b = *root.find("a")->find("b");
  CHECK(b.find("x")->text == "2");
  CHECK(b.find("y")->text == "1");
  CHECK(b.find("z")->text == "4");
  CHECK(refusal("a: ${..b}\n") == "f.yaml:1: ${..b} leads out of the file; take dots away");
}

TEST_CASE("Interpolations nest, chain, and stand inside a text") {
  Node const root = resolved(
      "tp: 4\npp: 2\nmp: ${multiply:${tp}, ${pp}}\ntwice: ${multiply:2,${mp}}\n"
      "name: run-${mp}x${tp}\nplain: \\${tp}\nhalf: ${multiply:0.5,3}\n");
  CHECK(root.find("mp")->text == "8");
  CHECK(root.find("twice")->text == "16");
  CHECK(root.find("name")->text == "run-8x4");
  CHECK(root.find("plain")->text == "${tp}");
  CHECK(root.find("half")->text == "1.5");
}

TEST_CASE("A path may lead through a section that is itself interpolated") {
  CHECK(resolved("a: ${b}\nb: {c: 5}\nd: ${a.c}\n").find("d")->text == "5");
}

TEST_CASE("The environment gives a value, or else the default") {
  ::setenv("NXD_TEST_VALUE", "12", 1);
  ::unsetenv("NXD_TEST_NOTHING");
  Node const root = resolved(
      "a: ${oc.env:NXD_TEST_VALUE}\nb: ${oc.env:NXD_TEST_NOTHING,7}\n"
      "c: ${oc.env:NXD_TEST_NOTHING,${a}}\nd: ${oc.env:NXD_TEST_NOTHING,null}\n");
  CHECK(root.find("a")->text == "12");
  CHECK(root.find("b")->text == "7");
  CHECK(root.find("c")->text == "12");
  CHECK(root.find("d")->kind == Node::Kind::null);
}

TEST_CASE("Circles are refused, however long") {
  CHECK(refusal("a: ${b}\nb: ${c}\nc: ${a}\n")
            .ends_with("leads back to itself; write the value out"));
  CHECK(refusal("a: {b: \"${a}\"}\n") ==
        "f.yaml:1: ${a} leads back to itself; write the value out");
}

TEST_CASE("An interpolation inside braces must be quoted, and the sentence says so") {
  CHECK(refusal("a: {b: ${c}}\nc: 1\n") ==
        "f.yaml:1: this is not YAML: end of map flow not found; quote ${...} inside [ ] and { }");
}

TEST_CASE("Interpolations that multiply are refused before they are large") {
  std::string lists = "a0: [x, x, x, x, x, x, x, x, x, x]\n";
  std::string texts = "a0: xxxxxxxxxx\n";
  for (int i = 1; i < 12; ++i) {
    auto const to = "${a" + std::to_string(i - 1) + "}";
    auto const key = "a" + std::to_string(i) + ": ";
    lists += key + "\n";
    for (int k = 0; k < 10; ++k) lists += "  - " + to + "\n";
    texts += key;
    for (int k = 0; k < 10; ++k) texts += to;
    texts += "\n";
  }
  CHECK(refusal(lists).find("more than 10") != std::string::npos);
  CHECK(refusal(texts).find("longer than 64 KiB") != std::string::npos);
}
