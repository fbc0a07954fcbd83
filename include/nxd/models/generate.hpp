// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <vector>

#include <nxd/core/random.hpp>
#include <nxd/train/step.hpp>

namespace nxd {

/// How the next token is chosen.
struct Sampling {
  double temperature = 0.8;  ///< 0 takes the most likely token
  std::uint64_t seed = 0;
};

/// The next token of logits[vocabulary]: number `index` of its stream decides.
template <class T>
std::int32_t choose(std::span<T const> logits, Sampling const& how, std::uint64_t index) {
  auto const top = std::ranges::max_element(logits);
  if (how.temperature <= 0) return static_cast<std::int32_t>(top - logits.begin());
  std::vector<double> weights(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i)
    sum += weights[i] = std::exp(static_cast<double>(logits[i] - *top) / how.temperature);
  auto at = Stream(how.seed, "generate").uniform(index) * sum;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if ((at -= weights[i]) < 0) return static_cast<std::int32_t>(i);
  return static_cast<std::int32_t>(top - logits.begin());
}

/// Goes on from `tokens`, one token at a time, until `stop(token)` or `count` new ones; each is
/// told to `tell`. The model sees as many of the last tokens as its plan has places for; it runs on
/// one rank. Cost: a forward pass over the whole window for each token.
template <class Model, class World>
std::vector<std::int32_t> generate(World& world, Model const& model,
                                   std::vector<std::int32_t> tokens, std::int64_t count,
                                   Sampling const& how, auto const& stop, auto const& tell) {
  auto const places = extent<Seq>(world.plan);
  auto const classes = extent<Vocab>(world.plan);
  for (std::int64_t i = 0; i < count; ++i) {
    auto const seen = std::min<std::int64_t>(places, std::ssize(tokens));
    std::vector<std::int32_t> window(static_cast<std::size_t>(places), 0);
    std::copy(tokens.end() - seen, tokens.end(), window.begin());
    auto const next = world.unrecorded([&] {
      auto const ids = detail::constant_of<typename Model::Tokens>(world, window);
      auto const logits = model.logits(ids);
      auto const* const row = data(logits.value()) + (seen - 1) * classes;
      using T = accumulator_t<typename World::element>;
      std::vector<T> last(static_cast<std::size_t>(classes));
      std::transform(row, row + classes, last.begin(), [](auto x) { return widen(x); });
      return choose(std::span<T const>(last), how, static_cast<std::uint64_t>(tokens.size()));
    });
    if (stop(next)) break;
    tokens.push_back(next);
    tell(next);
  }
  return tokens;
}

}  // namespace nxd
