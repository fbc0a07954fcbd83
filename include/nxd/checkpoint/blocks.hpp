// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include <nxd/checkpoint/box.hpp>

namespace nxd::detail {

/// Elements in memory at a time, of what goes through it block by block.
inline constexpr std::int64_t block_elements = std::int64_t{1} << 20;

/// The boxes of a tensor, in the order of its elements, that `limit` elements have room for: some
/// of the first dimension that has more than one index, whole rows of the others.
template <class Use>
void for_each_block(std::vector<std::int64_t> const& shape, std::int64_t limit, Use&& use) {
  Box block = whole(shape);
  if (volume(block) == 0) return;
  std::size_t cut = 0;
  auto inner = volume(block);
  while (cut < shape.size() && inner / shape[cut] >= limit) inner /= shape[cut++];
  for (std::size_t d = 0; d < cut; ++d) block.extent[d] = 1;
  auto const step =
      cut < shape.size() ? std::max<std::int64_t>(1, limit / (inner / shape[cut])) : 1;
  for (;;) {
    if (cut < shape.size())
      for (block.start[cut] = 0; block.start[cut] < shape[cut]; block.start[cut] += step) {
        block.extent[cut] = std::min(step, shape[cut] - block.start[cut]);
        use(block);
      }
    else
      use(block);
    auto d = std::min(cut, shape.size());
    while (d > 0 && ++block.start[d - 1] == shape[d - 1]) block.start[--d] = 0;
    if (d == 0) return;
  }
}

}  // namespace nxd::detail
