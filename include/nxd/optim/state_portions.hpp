// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include <nxd/nn/parameter.hpp>
#include <nxd/optim/chunk.hpp>
#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

namespace detail {

/// Appends rows [first, last) of a portion, columns [left, right), to `boxes`; their elements lie
/// from `offset` on.
inline void add_box(std::vector<Portion>& boxes, Portion const& p, std::int64_t first,
                    std::int64_t last, std::int64_t left, std::int64_t right, std::int64_t offset) {
  if (first >= last || left >= right) return;
  Portion box{p.name, p.shape, p.start, p.extent, offset};
  if (p.extent.size() > 1) {
    box.start[0] += first;
    box.extent[0] = last - first;
  }
  box.start.back() += left;
  box.extent.back() = right - left;
  boxes.push_back(std::move(box));
}

}  // namespace detail

/// Elements [from, to) of a portion's row-major box, as boxes: the rest of a row, whole rows, the
/// beginning of a row. Offsets count from `base` on.
inline std::vector<Portion> cut(Portion const& p, std::int64_t from, std::int64_t to,
                                std::int64_t base = 0) {
  std::vector<Portion> boxes;
  if (from >= to) return boxes;
  auto const columns = p.extent.back();
  auto const first = from / columns, last = (to - 1) / columns;
  auto const left = from % columns, right = (to - 1) % columns + 1;
  if (first == last) {
    detail::add_box(boxes, p, first, first + 1, left, right, base);
    return boxes;
  }
  auto const whole_from = left == 0 ? first : first + 1;
  auto const whole_to = right == columns ? last + 1 : last;
  auto const at = [&](std::int64_t row) { return base + row * columns - from; };
  if (left > 0) detail::add_box(boxes, p, first, first + 1, left, columns, base);
  detail::add_box(boxes, p, whole_from, whole_to, 0, columns, at(whole_from));
  if (right < columns) detail::add_box(boxes, p, last, last + 1, 0, right, at(last));
  return boxes;
}

/// What a chunk of a parameter holds of the tensors that the parameter stores; offsets count from
/// the beginning of the chunk.
inline std::vector<Portion> chunk_portions(std::vector<Portion> const& portions,
                                           Chunk const& chunk) {
  std::vector<Portion> all;
  for (auto const& p : portions) {
    auto const from = std::max(chunk.first, p.offset);
    auto const to = std::min(chunk.first + chunk.count, p.offset + p.size());
    for (auto& box : cut(p, from - p.offset, to - p.offset, from - chunk.first))
      all.push_back(std::move(box));
  }
  return all;
}

/// The numbers that the elements of a portion have in their tensor, run by run; offsets as the
/// portion's.
inline void add_runs(std::vector<Run>& runs, Portion const& p) {
  auto const columns = p.extent.back(), whole = p.shape.back();
  auto const tensor = hash(p.name);
  std::int64_t row = 0;
  for (std::size_t d = 0; d + 1 < p.extent.size(); ++d) row = row * p.shape[d] + p.start[d];
  auto const first = row * whole + p.start.back();
  if (columns == whole) return runs.push_back({tensor, p.offset, first, p.size()});
  for (std::int64_t r = 0; r < p.size() / columns; ++r)
    runs.push_back({tensor, p.offset + r * columns, first + r * whole, columns});
}

/// What runs, in the order of their offsets, have of elements [first, first + count), with offsets
/// from `first` on. They stay until the thread asks again.
inline std::span<Run const> runs_within(std::span<Run const> runs, std::int64_t first,
                                        std::int64_t count) {
  thread_local std::vector<Run> some;
  some.clear();
  auto const ends_before = [&](Run const& r) { return r.offset + r.count <= first; };
  auto at = std::ranges::partition_point(runs, ends_before);
  for (; at != runs.end() && at->offset < first + count; ++at) {
    auto const from = std::max(at->offset, first),
               to = std::min(at->offset + at->count, first + count);
    some.push_back({at->tensor, from - first, at->first + from - at->offset, to - from});
  }
  return some;
}

}  // namespace nxd
