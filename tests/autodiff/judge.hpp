// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <tuple>

#include <nxd/autodiff/world.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/tensor/reference.hpp>

#include "by_hand.hpp"

// Every combination of placements of an operation's operands, accepted or refused by its rule, each
// held against the whole-tensor computation.

namespace nxd::test {

template <class... Ps> struct Placements {};

template <class... Ds>
auto placements_of(Shape<Ds...>)
    -> Placements<Shard<Ds, TP>..., Shard<Ds, TP, Twice>..., PartialShard<Ds, TP, Twice>...,
                  Replicate<TP>, Partial<TP>, Invariant<TP>>;

/// Every placement of a tensor of shape S on one axis.
template <class S> using placements_t = decltype(placements_of(S{}));

/// What became of all combinations.
struct Tally {
  int accepted = 0;                 ///< by the rule: right in types, and by hand
  int refused = 0;                  ///< by the rule: wrong by hand, wherever the result is
  int unfit = 0;                    ///< of these: the parts do not even fit together
  std::vector<std::string> faults;  ///< the rest
};

inline std::string faults(Tally const& tally) {
  std::string all;
  for (auto const& fault : tally.faults) all += fault + "\n";
  return all;
}

inline std::string name_of(Place place) {
  if (place.invariant) return "Invariant";
  if (place.dim < 0) return place.terms ? "Partial" : "Replicate";
  return std::string(place.terms ? "Partial" : "") + "Shard<" + std::to_string(place.dim) +
         (place.copies == 1 ? ">" : ", twice>");
}

inline std::string name_of(std::vector<Place> const& places) {
  std::string all;
  for (auto const& place : places) all += name_of(place) + " ";
  return all;
}

/// What a rank made of its part: the value, where it is, and the gradients of the operands.
struct Outcome {
  std::vector<double> value;
  Place place;
  std::vector<std::vector<double>> gradients;
};

/// Every rank's outcome is right.
inline bool is_right(Experiment const& e, std::vector<Place> const& places,
                     std::vector<Outcome> const& outcomes) {
  auto const all = [&](auto const& part) {
    std::vector<std::vector<double>> held;
    for (auto const& outcome : outcomes) held.push_back(part(outcome));
    return held;
  };
  for (auto const& outcome : outcomes)
    if (outcome.place != outcomes[0].place) return false;
  if (!is_spread_of(e.z, outcomes[0].place, all([](auto const& o) { return o.value; })))
    return false;
  for (std::size_t i = 0; i < e.constants; ++i)
    if (!is_spread_of(e.gradients[i], places[i].cotangent(),
                      all([i](auto const& o) { return o.gradients[i]; })))
      return false;
  return true;
}

using RankProgram = std::function<Outcome(Threads::Rank)>;

inline std::vector<Outcome> on_threads(std::int64_t n, RankProgram const& program) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(n));
  Threads::run(n, [&](Threads::Rank comm) {
    outcomes[static_cast<std::size_t>(comm.rank())] = program(comm);
  });
  return outcomes;
}

/// A rank's run of Case in types, forward and backward, from what it holds of `e` under Ps.
template <class Job, class Case, class... Ps>
Outcome run_typed(Experiment const& e, std::vector<Operands> const& ranks, Threads::Rank comm) {
  auto const n = static_cast<std::int64_t>(ranks.size());
  auto const r = static_cast<std::size_t>(comm.rank());
  World<Job, Reference<double>, Threads::Rank> world(Job{{"tp", n}}, comm);
  auto const part = [&]<std::size_t I, class P>(std::integral_constant<std::size_t, I>, P) {
    using T = std::conditional_t<(I < Case::constants), double, std::int32_t>;
    using S = std::tuple_element_t<I, typename Case::shapes>;
    auto const local = world.template make<Tensor<T, S, with_t<Layout<>, P>>>();
    auto* to = data(local);
    for (auto const v : ranks[r][I].values) *to++ = static_cast<T>(v);
    if constexpr (I < Case::constants)
      return world.variable(local);
    else
      return world.constant(local);
  };
  return [&]<std::size_t... Is>(std::index_sequence<Is...>) {
    auto const vars = std::tuple{part(std::integral_constant<std::size_t, Is>{}, Ps{})...};
    auto const z = Case::typed(std::get<Is>(vars)...);
    using Z = typename std::remove_cvref_t<decltype(z)>::tensor;
    Outcome outcome{*z.value().data, place_of<placement_t<Z, TP>, typename Z::shape>(), {}};
    auto const dz = world.template make<gradient_t<Z, typename Job::mesh>>();
    *dz.data = spread(e.dz, outcome.place.cotangent(), n, 9)[r].values;
    world.backward(z, dz);
    [[maybe_unused]] auto const keep = [&]<std::size_t I>(std::integral_constant<std::size_t, I>) {
      if constexpr (I < Case::constants)
        outcome.gradients.push_back(*std::get<I>(vars).grad().data);
    };
    (keep(std::integral_constant<std::size_t, Is>{}), ...);
    return outcome;
  }
  (std::index_sequence_for<Ps...>{});
}

/// What types make of accepted placements is right, and so is what is done by hand.
inline void judge_accepted(
    Experiment const& e, std::vector<Place> const& places, Tally& tally,
    std::function<Outcome(std::vector<Operands> const&, Threads::Rank)> const& run) {
  ++tally.accepted;
  for (auto const n : {2, 4}) {
    auto const ranks = e.spread_operands(places, n);
    auto const outcomes = on_threads(n, [&](Threads::Rank comm) { return run(ranks, comm); });
    if (!is_right(e, places, outcomes))
      tally.faults.push_back(name_of(places) + "is accepted, and wrong on " + std::to_string(n));
    if (!e.is_right(places, outcomes[0].place, n))
      tally.faults.push_back(name_of(places) + "is wrong by hand on " + std::to_string(n));
  }
}

inline void judge_refused(Experiment const& e, std::vector<Place> const& places, Tally& tally) {
  ++tally.refused;
  if (!e.op(e.spread_operands(places, 4), 1)) ++tally.unfit;
  if (e.can_be_right(places)) tally.faults.push_back(name_of(places) + "is refused, and right");
}

template <class Job, class Case, class... Ps> void judge(Experiment const& e, Tally& tally) {
  auto const places = []<std::size_t... Is>(std::index_sequence<Is...>) {
    return std::vector{place_of<Ps, std::tuple_element_t<Is, typename Case::shapes>>()...};
  }
  (std::index_sequence_for<Ps...>{});
  if constexpr (Case::template accepts<Ps...>)
    judge_accepted(e, places, tally, [&e](auto const& ranks, Threads::Rank comm) {
      return run_typed<Job, Case, Ps...>(e, ranks, comm);
    });
  else
    judge_refused(e, places, tally);
}

/// Every placement of one operand.
template <class Job, class Case> Tally judge_each() {
  auto const e = Case::experiment();
  Tally tally;
  [&]<class... Ps>(Placements<Ps...>) {
    (judge<Job, Case, Ps>(e, tally), ...);
  }(placements_t<std::tuple_element_t<0, typename Case::shapes>>{});
  return tally;
}

/// Every pair of placements of two operands; further operands are placed like the second.
template <class Job, class Case> Tally judge_pairs() {
  auto const e = Case::experiment();
  Tally tally;
  auto const with = [&]<class P, class... Qs>(P, Placements<Qs...>) {
    if constexpr (std::tuple_size_v<typename Case::shapes> == 2)
      (judge<Job, Case, P, Qs>(e, tally), ...);
    else
      (judge<Job, Case, P, Qs, Qs>(e, tally), ...);
  };
  [&]<class... Ps>(Placements<Ps...>) {
    (with(Ps{}, placements_t<std::tuple_element_t<1, typename Case::shapes>>{}), ...);
  }(placements_t<std::tuple_element_t<0, typename Case::shapes>>{});
  return tally;
}

}  // namespace nxd::test
