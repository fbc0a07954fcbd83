// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <nxd/core/random.hpp>
#include <nxd/dist/tensor.hpp>

// Placements without types: what each rank holds, made from the whole by hand and put together by
// hand, and operations on it that know of no rule.

namespace nxd::test {

using Extents = std::vector<std::int64_t>;

/// What one rank holds: `shape` elements are stored, from global index `first` on in each
/// dimension; `valid` of them exist.
struct Array {
  Extents shape, first, valid;
  std::vector<double> values;
};

inline std::int64_t size_of(Extents const& shape) {
  std::int64_t n = 1;
  for (auto const e : shape) n *= e;
  return n;
}

inline Array whole(Extents shape, std::vector<double> values) {
  return {shape, Extents(shape.size(), 0), shape, std::move(values)};
}

/// Random numbers in [-1, 1).
inline std::vector<double> noise(std::int64_t n, std::uint64_t seed) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(2 * Uniform<double>{seed}(i));
  return values;
}

inline Array random(Extents shape, std::uint64_t seed) {
  return whole(shape, noise(size_of(shape), seed));
}

/// A placement on the one axis of the job. A slice of `dim`, or all of it, is held by `copies`
/// ranks: each has it, or has one of `copies` terms of it.
struct Place {
  int dim = -1;    ///< -1: not sliced
  int copies = 0;  ///< 0: all ranks
  bool terms = false;
  bool invariant = false;

  Place cotangent() const {
    if (invariant || copies == 1) return *this;
    return {dim, copies, !terms, false};
  }
  std::int64_t holders(std::int64_t ranks) const { return copies == 0 ? ranks : copies; }
  bool operator==(Place const&) const = default;
};

/// Two of each: the number of copies that the tests take.
struct Twice : Count<"twice"> {};

namespace detail {

template <class D, class... Ds> constexpr int index_of(Shape<Ds...>) {
  int at = 0, found = -1;
  ((std::same_as<D, Ds> ? found = at++ : at++), ...);
  return found;
}

template <class C> inline constexpr int copies_of = std::same_as<C, Once> ? 1 : 2;

template <class S, class D, class A, class C> Place place_of(Shard<D, A, C>) {
  return {index_of<D>(S{}), copies_of<C>, false, false};
}
template <class S, class D, class A, class C> Place place_of(PartialShard<D, A, C>) {
  return {index_of<D>(S{}), copies_of<C>, true, false};
}
template <class S, class A> Place place_of(Replicate<A>) { return {-1, 0, false, false}; }
template <class S, class A> Place place_of(Partial<A>) { return {-1, 0, true, false}; }
template <class S, class A> Place place_of(Invariant<A>) { return {-1, 0, false, true}; }

}  // namespace detail

/// Placement P of a tensor of shape S.
template <class P, class S> Place place_of() { return detail::place_of<S>(P{}); }

/// Every placement that a tensor of so many dimensions can have.
inline std::vector<Place> every_place(std::size_t dims) {
  std::vector<Place> all{{-1, 0, false, false}, {-1, 0, true, false}, {-1, 0, false, true}};
  for (int d = 0; d < static_cast<int>(dims); ++d) {
    all.push_back({d, 1, false, false});
    all.push_back({d, 2, false, false});
    all.push_back({d, 2, true, false});
  }
  return all;
}

/// Slice `part` of `parts` along `dim`; what is stored beyond the end is zero.
inline Array cut(Array const& from, int dim, std::int64_t part, std::int64_t parts) {
  if (dim < 0) return from;
  auto const d = static_cast<std::size_t>(dim);
  auto const length = (from.shape[d] + parts - 1) / parts;
  auto const first = part * length;
  Array to = from;
  to.shape[d] = length;
  to.first[d] = first;
  to.valid[d] = std::clamp<std::int64_t>(from.shape[d] - first, 0, length);
  std::int64_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < d; ++i) outer *= from.shape[i];
  for (std::size_t i = d + 1; i < from.shape.size(); ++i) inner *= from.shape[i];
  to.values.assign(static_cast<std::size_t>(outer * length * inner), 0.0);
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < to.valid[d] * inner; ++i)
      to.values[static_cast<std::size_t>(o * length * inner + i)] =
          from.values[static_cast<std::size_t>((o * from.shape[d] + first) * inner + i)];
  return to;
}

/// What each rank holds of `all` under a placement. Terms of sums are random but for the last.
inline std::vector<Array> spread(Array const& all, Place place, std::int64_t ranks,
                                 std::uint64_t seed) {
  auto const holders = place.holders(ranks);
  std::vector<Array> terms(static_cast<std::size_t>(holders), all);
  if (place.terms)
    for (std::size_t t = 0; t + 1 < terms.size(); ++t) {
      terms[t].values = noise(std::ssize(all.values), 100 * seed + t);
      for (std::size_t i = 0; i < all.values.size(); ++i)
        terms.back().values[i] -= terms[t].values[i];
    }
  std::vector<Array> parts;
  for (std::int64_t r = 0; r < ranks; ++r)
    parts.push_back(
        cut(terms[static_cast<std::size_t>(r % holders)], place.dim, r / holders, ranks / holders));
  return parts;
}

inline bool is_close(std::vector<double> const& a, std::vector<double> const& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= 1e-8 * (1 + std::abs(b[i])))) return false;
  return true;
}

/// What the ranks hold is `all`, placed so: slices, copies that are alike, or terms of a sum; and
/// what is stored beyond the end of a dimension is zero.
inline bool is_spread_of(Array const& all, Place place,
                         std::vector<std::vector<double>> const& held) {
  auto const ranks = static_cast<std::int64_t>(held.size());
  auto const holders = place.holders(ranks);
  if (ranks % holders != 0) return false;
  for (std::int64_t part = 0; part < ranks / holders; ++part) {
    auto const expected = cut(all, place.dim, part, ranks / holders).values;
    std::vector<double> sum(expected.size());
    for (std::int64_t h = 0; h < holders; ++h) {
      auto const& mine = held[static_cast<std::size_t>(part * holders + h)];
      if (mine.size() != expected.size()) return false;
      if (!place.terms && !is_close(mine, expected)) return false;
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += mine[i];
    }
    if (place.terms && !is_close(sum, expected)) return false;
  }
  return true;
}

/// The operands that one rank holds.
using Operands = std::vector<Array>;

/// An operation on what the ranks hold, done by rank `r` on its own part, and nothing if those
/// parts do not fit together. Only the cross-entropy looks at what its peers hold.
using LocalOp =
    std::function<std::optional<std::vector<double>>(std::vector<Operands> const&, std::size_t r)>;

/// The gradient of sum(dz * op) with respect to operand i of rank r, by fourth-order differences.
inline std::vector<double> slope(LocalOp const& op, std::vector<Operands> ranks, std::size_t r,
                                 std::size_t i, std::vector<double> const& dz) {
  constexpr double step = 4e-3;
  auto const at = [&](double& x, double moved) {
    auto const before = x;
    x = moved;
    auto const z = *op(ranks, r);
    x = before;
    double sum = 0;
    for (std::size_t k = 0; k < z.size(); ++k) sum += dz[k] * z[k];
    return sum;
  };
  std::vector<double> slopes;
  for (auto& x : ranks[r][i].values)
    slopes.push_back(
        (8 * (at(x, x + step) - at(x, x - step)) - at(x, x + 2 * step) + at(x, x - 2 * step)) /
        (12 * step));
  return slopes;
}

/// An operation on whole tensors, and what it should give: its value, and the gradients of its
/// operands for a random gradient of its value. Operands from `constants` on have none.
struct Experiment {
  LocalOp op;
  Operands operands;
  std::size_t constants;
  Array z, dz;
  std::vector<Array> gradients;

  Experiment(LocalOp o, Operands with, Extents result, std::size_t constants_from)
      : op(std::move(o)), operands(std::move(with)), constants(constants_from) {
    z = whole(result, *op({operands}, 0));
    dz = whole(result, noise(size_of(result), 77));
    for (std::size_t i = 0; i < constants; ++i)
      gradients.push_back(whole(operands[i].shape, slope(op, {operands}, 0, i, dz.values)));
  }

  std::vector<Operands> spread_operands(std::vector<Place> const& places, std::int64_t n) const {
    std::vector<Operands> ranks(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < operands.size(); ++i) {
      auto const parts = spread(operands[i], places[i], n, i + 1);
      for (std::size_t r = 0; r < ranks.size(); ++r) ranks[r].push_back(parts[r]);
    }
    return ranks;
  }

  /// The operation, done by each of n ranks on what it holds, gives value and gradients that are
  /// right if `places` is where its operands are, and `result` where its value is.
  bool is_right(std::vector<Place> const& places, Place result, std::int64_t n) const {
    auto const ranks = spread_operands(places, n);
    std::vector<std::vector<double>> held;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      auto const mine = op(ranks, r);
      if (!mine) return false;
      held.push_back(*mine);
    }
    if (!is_spread_of(z, result, held)) return false;
    auto const pulled = spread(dz, result.cotangent(), n, 9);
    for (std::size_t i = 0; i < constants; ++i) {
      std::vector<std::vector<double>> slopes;
      for (std::size_t r = 0; r < ranks.size(); ++r)
        slopes.push_back(slope(op, ranks, r, i, pulled[r].values));
      if (!is_spread_of(gradients[i], places[i].cotangent(), slopes)) return false;
    }
    return true;
  }

  /// There is a placement of the result with which it is right, on 2 ranks and on 4.
  bool can_be_right(std::vector<Place> const& places) const {
    for (auto const& result : every_place(z.shape.size()))
      if (is_right(places, result, 4) && is_right(places, result, 2)) return true;
    return false;
  }
};

}  // namespace nxd::test
