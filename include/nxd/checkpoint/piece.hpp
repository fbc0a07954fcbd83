// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <nxd/checkpoint/box.hpp>
#include <nxd/core/dtype.hpp>

namespace nxd {

/// What one rank holds of a tensor that files know by a name: a box of it, in memory.
struct Piece {
  std::string name;                 ///< canonical: the same on any number of ranks
  std::vector<std::int64_t> shape;  ///< of the whole tensor, without padding
  Box box;                          ///< what this rank holds
  DType dtype;
  std::span<std::byte> bytes;  ///< the elements of the box, row-major, contiguous
  std::string kind = "model";  ///< "model" or "optim": the folder of its file
};

/// The piece as a message names it.
inline std::string text(Piece const& piece) { return piece.kind + " tensor '" + piece.name + "'"; }

}  // namespace nxd
