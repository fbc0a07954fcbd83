// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nxd/core/expects.hpp>

namespace nxd {

namespace detail {

/// a + b and a * b of numbers that others wrote: nothing if the result has no place in 63 bits, or
/// if one is negative.
inline std::optional<std::int64_t> checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum)) return {};
  return sum;
}
inline std::optional<std::int64_t> checked_product(std::vector<std::int64_t> const& factors,
                                                   std::int64_t times = 1) {
  bool zero = times == 0;
  for (auto const f : factors) {
    if (f < 0) return {};
    zero = zero || f == 0;
    if (!zero && __builtin_mul_overflow(times, f, &times)) return {};
  }
  return zero ? 0 : times;
}

}  // namespace detail

/// A block of a tensor: its first global index and its length along each dimension. A box of no
/// dimensions holds one element.
struct Box {
  std::vector<std::int64_t> start, extent;

  bool operator==(Box const&) const = default;
};

/// The box that is all of a tensor.
inline Box whole(std::vector<std::int64_t> const& shape) {
  return {std::vector<std::int64_t>(shape.size(), 0), shape};
}

/// How many elements a box holds.
inline std::int64_t volume(Box const& box) {
  if (std::ranges::find(box.extent, 0) != box.extent.end()) return 0;
  std::int64_t n = 1;
  for (auto const e : box.extent) n *= e;
  return n;
}

/// The box lies in a tensor of this shape; numbers that others wrote are safe here.
inline bool lies_in(Box const& box, std::vector<std::int64_t> const& shape) {
  if (box.start.size() != shape.size() || box.extent.size() != shape.size()) return false;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (box.start[d] < 0 || box.extent[d] < 0 || shape[d] < 0) return false;
    if (box.start[d] > shape[d] || box.extent[d] > shape[d] - box.start[d]) return false;
  }
  return true;
}

/// What two boxes of one tensor have in common; nothing if that is no element.
inline std::optional<Box> intersection(Box const& a, Box const& b) {
  NXD_EXPECTS(a.start.size() == b.start.size());
  Box common = a;
  for (std::size_t d = 0; d < a.start.size(); ++d) {
    auto const first = std::max(a.start[d], b.start[d]);
    auto const last = std::min(a.start[d] + a.extent[d], b.start[d] + b.extent[d]);
    if (first >= last) return {};
    common.start[d] = first;
    common.extent[d] = last - first;
  }
  return common;
}

namespace detail {

/// Two boxes of one tensor have an element in common.
inline bool overlap(Box const& a, Box const& b) {
  for (std::size_t d = 0; d < a.start.size(); ++d)
    if (std::max(a.start[d], b.start[d]) >=
        std::min(a.start[d] + a.extent[d], b.start[d] + b.extent[d]))
      return false;
  return true;
}

/// The dimension along which boxes begin at the most places.
inline std::size_t most_cut(std::vector<Box> const& boxes, std::size_t dims) {
  std::size_t best = 0;
  std::ptrdiff_t most = 0;
  std::vector<std::int64_t> starts(boxes.size());
  for (std::size_t d = 0; d < dims; ++d) {
    for (std::size_t i = 0; i < boxes.size(); ++i) starts[i] = boxes[i].start[d];
    std::ranges::sort(starts);
    auto const places = std::unique(starts.begin(), starts.end()) - starts.begin();
    if (places > most) best = d, most = places;
  }
  return best;
}

}  // namespace detail

/// "[4, 6]".
inline std::string text(std::vector<std::int64_t> const& shape) {
  std::string said = "[";
  for (std::size_t d = 0; d < shape.size(); ++d)
    said += (d == 0 ? "" : ", ") + std::to_string(shape[d]);
  return said + "]";
}

/// "[0:4,2:6]", as one would index; what others wrote may be no box at all.
inline std::string text(Box const& box) {
  if (box.start.size() != box.extent.size())
    return "from " + text(box.start) + " of extent " + text(box.extent);
  std::string said = "[";
  for (std::size_t d = 0; d < box.start.size(); ++d) {
    std::int64_t end;
    if (__builtin_add_overflow(box.start[d], box.extent[d], &end)) end = INT64_MAX;
    said += (d == 0 ? "" : ",") + std::to_string(box.start[d]) + ":" + std::to_string(end);
  }
  return said + "]";
}

namespace detail {

inline std::int64_t offset_in(Box const& box, std::vector<std::int64_t> const& index) {
  std::int64_t offset = 0;
  for (std::size_t d = 0; d < index.size(); ++d)
    offset = offset * box.extent[d] + index[d] - box.start[d];
  return offset;
}

}  // namespace detail

/// Calls `run(offset in a, offset in b, count)` for each run of elements of `inner`, which both
/// boxes contain, that follow each other in the row-major order of both. Offsets count elements;
/// those in a ascend, and those in b.
template <class Run> void for_each_run(Box const& inner, Box const& a, Box const& b, Run&& run) {
  auto const dims = inner.extent.size();
  if (volume(inner) == 0) return;
  std::int64_t count = 1;
  std::size_t outer = dims;  // dimensions before `outer` are walked, the others are in the run
  while (outer > 0) {
    auto const d = --outer;
    count *= inner.extent[d];
    if (inner.extent[d] != a.extent[d] || inner.extent[d] != b.extent[d]) break;
  }
  auto index = inner.start;
  for (;;) {
    run(detail::offset_in(a, index), detail::offset_in(b, index), count);
    auto d = outer;
    while (d > 0) {
      --d;
      if (++index[d] < inner.start[d] + inner.extent[d]) break;
      index[d] = inner.start[d];
      if (d == 0) return;
    }
    if (outer == 0) return;
  }
}

/// A mistake in the cover of a tensor by boxes: a sentence, or nothing if each element lies in
/// exactly one box. Cost: sorts, and the pairs of boxes that overlap along the dimension that is
/// cut most; where these are too many for any layout of ranks, that is the mistake.
inline std::optional<std::string> cover_mistake(std::vector<std::int64_t> const& shape,
                                                std::vector<Box> boxes) {
  for (auto const& box : boxes) {
    if (!lies_in(box, shape))
      return "the part " + text(box) + " does not lie in its shape " + text(shape);
  }
  std::erase_if(boxes, [](Box const& box) { return volume(box) == 0; });
  auto const along = detail::most_cut(boxes, shape.size());
  auto const begin = [&](Box const& box) { return shape.empty() ? 0 : box.start[along]; };
  std::ranges::stable_sort(boxes, {}, begin);
  std::int64_t pairs = std::int64_t{1} << 24;
  for (std::size_t i = 0; i < boxes.size(); ++i)
    for (auto j = i + 1; j < boxes.size(); ++j) {
      if (!shape.empty() && begin(boxes[j]) >= begin(boxes[i]) + boxes[i].extent[along]) break;
      if (detail::overlap(boxes[i], boxes[j]))
        return "the parts " + text(boxes[i]) + " and " + text(boxes[j]) +
               " have elements in common";
      if (--pairs < 0)
        return "its " + std::to_string(boxes.size()) + " parts are more than can be compared";
    }
  std::int64_t covered = 0;  // no more than the tensor: no two boxes overlap
  for (auto const& box : boxes) covered += volume(box);
  auto const wanted = volume(whole(shape));
  if (covered != wanted)
    return std::to_string(wanted - covered) + " of its " + std::to_string(wanted) +
           " elements are in no part";
  return {};
}

}  // namespace nxd
