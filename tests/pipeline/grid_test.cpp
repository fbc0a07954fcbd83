// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/pipeline/grid.hpp>
#include <nxd/pipeline/kinds.hpp>

using namespace nxd;

namespace {

std::size_t count(std::string const& text, std::string_view word) {
  std::size_t n = 0;
  for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1)) ++n;
  return n;
}

bool has(std::string const& text, std::string_view word) { return count(text, word) > 0; }

}  // namespace

TEST_CASE("A grid has a row a rank and a column a pass") {
  auto const s = OneFOneB::make(3, 3);
  CHECK(grid_text(s, verify(s)) ==
        "rank 0 |F0 F1 F2             B0       B1       B2\n"
        "rank 1 |   F0 F1       B0    F2 B1       B2\n"
        "rank 2 |      F0 B0    F1 B1    F2 B2\n"
        "bubble 40.0 % of 15; live chunks 3 2 1\n");
}

TEST_CASE("With several chunks every action says which, and a column is the shortest pass") {
  auto const s = Interleaved::make(1, 2);
  CHECK(grid_text(s, verify(s, Channel::posted, {2, 1, 1})) ==
        "rank 0 |F0.0 F0.1 B0.1 F1.0 B0.0 F1.1 B1.1 B1.0\n"
        "bubble 0.0 % of 8; live chunks 2\n");
}

TEST_CASE("Uneven times never put two actions in one place") {
  auto const s = ZbV::make(4, 9);
  auto const grid = grid_text(s, verify(s, Channel::posted, {1, 1.3, .7, .05}));
  CHECK(count(grid, "F") == 4 * 2 * 9);
  CHECK(count(grid, "W") == 4 * 2 * 9);
}

TEST_CASE("Colours change nothing but colours") {
  auto const s = ZbH1::make(2, 4);
  auto const proof = verify(s);
  auto coloured = grid_text(s, proof, Colours::ansi);
  CHECK(count(coloured, "\x1b[0m") == 2 * 3 * 4);
  for (std::size_t at; (at = coloured.find('\x1b')) != coloured.npos;)
    coloured.erase(at, coloured.find('m', at) + 1 - at);
  CHECK(coloured == grid_text(s, proof));
}

TEST_CASE("The JSON has the actions of every rank, the bubble and the live chunks") {
  auto const s = OneFOneB::make(2, 2);
  CHECK(grid_json(s, verify(s)) ==
        "{\"ranks\": [[\"F0.0\", \"F1.0\", \"B0.0\", \"B1.0\"], "
        "[\"F0.0\", \"B0.0\", \"F1.0\", \"B1.0\"]], "
        "\"bubble\": 0.3333333333333333, \"live\": [2, 1]}\n");
  auto const split = ZbV::make(1, 1);
  CHECK(has(grid_json(split, verify(split)),
            R"([["F0.0", "F0.1", "I0.1", "W0.1", "I0.0", "W0.0"]])"));
}

TEST_CASE("The trace has a thread a rank and an event an action") {
  auto const s = OneFOneB::make(2, 2);
  auto const trace = grid_trace(s, verify(s));
  CHECK(count(trace, R"("ph": "M")") == 2);
  CHECK(count(trace, R"("ph": "X")") == 8);
  CHECK(has(trace, R"({"name": "B0.0", "cat": "backward", "ph": "X", "pid": 0, "tid": 1, )"
                   R"("ts": 2000, "dur": 2000, "args": {"microbatch": 0, "chunk": 0}},)"));
  CHECK(!has(trace, ",\n]"));
}

TEST_CASE("The picture has a box an action") {
  auto const s = ZbV::make(2, 3);
  auto const svg = grid_svg(s, verify(s));
  CHECK(count(svg, "<text") == 2 + 2 * 2 * 3 * 3 + 1);
  CHECK(count(svg, "</svg>") == 1);
}

TEST_CASE("Of a schedule that hangs, the grid shows what ran, and says why no more did") {
  auto const s = OneFOneB::make(2, 2);
  auto const grid = grid_text(s, verify(s, Channel::rendezvous));
  CHECK(has(grid, "rank 0 |F0\n"));
  CHECK(has(grid, "rank 0 waits for ever at F1.0"));
}
