// SPDX-License-Identifier: Apache-2.0
#include <nxd/config/interpolate.hpp>
#include <nxd/config/override.hpp>
#include <nxd/config/yaml.hpp>

#include "target.hpp"

namespace {

void check(nxd::Node const& tree) {
  fuzz::require(nxd::node_count(tree) <= 2 * nxd::TreeLimits::nodes, "a tree is not too large");
  fuzz::require(nxd::height(tree) <= 2 * nxd::TreeLimits::depth, "a tree is not too deep");
  fuzz::require(nxd::text_bytes(tree) <= 2 * nxd::TreeLimits::all_text_bytes, "its text is not");
}

}  // namespace

/// A file, and overrides after it, each behind a byte 1.
void fuzz::read(std::string_view input) {
  auto const end = input.find('\1');
  auto tree = nxd::parse_yaml(std::string(input.substr(0, end)), file);
  check(tree);
  while (end != input.npos && !input.empty()) {
    input.remove_prefix(std::min(input.find('\1'), input.size() - 1) + 1);
    auto const [path, value] = nxd::parse_override(input.substr(0, input.find('\1')));
    auto node = nxd::parse_yaml(value, "command line");
    nxd::forget_lines(node);
    nxd::set_at(tree, path, std::move(node));
    if (input.find('\1') == input.npos) break;
  }
  check(nxd::interpolate(tree));
}

std::vector<std::string> fuzz::seeds() {
  return {
      "a: 1\nb:\n  c: '2'\n  d: ~\n  e: [x, 1.5, {f: g}]\n",
      "x: &x {a: 1, b: 1}\ny: &y {b: 2}\nz:\n  <<: [*y, *x]\n  c: 3\nw:\n  <<: *x\n",
      "a: 3\nb: ${a}\nc: {d: ${.e}, e: ${..a}}\nf: \"${multiply:${a}, 1.5}\"\ng: x${a}y\\${z}\n",
      "e: ${oc.env:NOT_THERE,default}\nf: ${oc.env:HOME}\nl: [1, 2]\ng: ${l[1]}\nh: ${k.a}\nk: ${m}\nm: {a: 1}\n",
      "a: {b: [1, 2]}\n\1a.b[1]=5\1c.d={e: f}\1g=\1a.b.0=${a.b[1]}",
      "--- # comment\n? a\n: |\n  text\n  text\nb: >-\n  folded\n\n  text\nc: \"\\x41\\u00e9\"\n...\n",
      "%YAML 1.2\n---\n!!map {a: !!str b}\n",
      "a: ${b}\nb: ${a}\n",
      "a: &a [*a]\n",
      std::string(65, '['),
      "\"\n\xc3",
      "[a, b]: 1\n",
      "<<: 3\n",
      "a: [${b}]\n",
      "a: x${b}\nb: [1]\n",
      "a: 1\na: 2\n",
      "1_000: -0x10\nk: [1e-5, .5, 2., 010, 1__0, 9223372036854775808]\n"};
}

std::vector<std::string> fuzz::words() {
  return {"${",
          "}",
          "${multiply:",
          "${oc.env:",
          "${.",
          "<<: *",
          "&a ",
          "*a",
          "!!str ",
          "!x ",
          "|\n",
          ">-\n",
          "---\n",
          "...\n",
          "? ",
          ": ",
          "- ",
          "{a: ",
          "[",
          "]",
          "'",
          "\"",
          "\\x",
          "\\u0000",
          "%TAG ! tag:x,2000:\n",
          "~",
          "null",
          "true",
          "\1a.b=",
          "[0]",
          "\xc3\xa9",
          "\xff",
          "#"};
}
