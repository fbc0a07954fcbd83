// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nxd/checkpoint/agree.hpp>
#include <nxd/checkpoint/digest.hpp>
#include <nxd/checkpoint/piece.hpp>

namespace nxd::detail {

/// Who reads a piece: this rank, or one of a line of ranks that all need it.
struct Turn {
  std::optional<Line> among;  ///< nothing: each rank reads its own
  std::int64_t reader = 0;    ///< its place in the line

  bool here() const { return !among || reader == among->place; }
};
using Turns = std::vector<Turn>;  ///< one for each piece

/// The name of all that a rank needs of one kind.
inline std::string needs(std::vector<Piece> const& pieces, std::string const& kind) {
  std::string all;
  for (auto const& piece : pieces)
    if (piece.kind == kind)
      all += piece.name + text(piece.box) + std::string(name(piece.dtype)) + "\n";
  return text(run_digest<char>(std::as_bytes(std::span(all)).data(), 0, std::ssize(all)));
}

/// The ranks that have said the same as `rank`, if they are a line of several.
inline std::optional<Line> line_of(std::vector<std::string> const& said, std::int64_t rank) {
  std::vector<std::int64_t> same;
  for (std::int64_t r = 0; r < std::ssize(said); ++r)
    if (said[static_cast<std::size_t>(r)] == said[static_cast<std::size_t>(rank)])
      same.push_back(r);
  auto const count = std::ssize(same);
  if (count == 1) return {};
  auto const stride = same[1] - same[0];
  for (std::int64_t i = 0; i < count; ++i)
    if (same[static_cast<std::size_t>(i)] != same[0] + i * stride) return {};
  return Line{same[0], stride, count, (rank - same[0]) / stride};
}

/// Who reads which piece. Ranks that need the same of one kind take turns, each for about as many
/// bytes.
template <class C> Turns share_reading(C& comm, std::vector<Piece> const& pieces) {
  Turns turns(pieces.size());
  std::string kinds;
  for (auto const& piece : pieces)
    if (("\n" + kinds).find("\n" + piece.kind + "\n") == std::string::npos)
      kinds += piece.kind + "\n";
  std::map<std::string, bool> known;  // in one order on all ranks
  for (auto const& theirs : gather_texts(comm, kinds))
    for (std::size_t at = 0, end; (end = theirs.find('\n', at)) != std::string::npos; at = end + 1)
      known[theirs.substr(at, end - at)] = true;
  for (auto const& [kind, yes] : known) {
    auto const among =
        line_of(gather_texts(comm, needs(pieces, kind)), static_cast<std::int64_t>(comm.rank()));
    if (!among) continue;
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(among->count));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].kind != kind) continue;
      auto const least = std::ranges::min_element(bytes);
      *least += std::ssize(pieces[i].bytes);
      turns[i] = {among, least - bytes.begin()};
    }
  }
  return turns;
}

/// The pieces that this rank reads.
inline std::vector<Piece> read_here(std::vector<Piece> const& pieces, Turns const& turns) {
  std::vector<Piece> mine;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (turns[i].here()) mine.push_back(pieces[i]);
  return mine;
}

/// Sends what has been read to those that need it too, piece by piece, where it belongs.
template <class C>
void exchange_read(C& comm, std::vector<Piece> const& pieces, Turns const& turns) {
  std::map<std::string, std::vector<std::size_t>> kinds;  // in one order on all ranks
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (turns[i].among && !pieces[i].bytes.empty()) kinds[pieces[i].kind].push_back(i);
  for (auto const& [kind, of_kind] : kinds)
    for (auto const i : of_kind) comm.broadcast(*turns[i].among, turns[i].reader, pieces[i].bytes);
}

}  // namespace nxd::detail
