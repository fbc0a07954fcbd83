// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <nxd/core/random.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/train/pieces.hpp>
#include <nxd/train/step.hpp>
#include <nxd/train/tensor_overlap.hpp>

namespace nxd::test {

/// Four layers, grouped queries, and a vocabulary that no number of ranks but one divides.
inline LlamaConfig small_llama() {
  return {.vocab_size = 37,
          .hidden_size = 32,
          .intermediate_size = 48,
          .num_hidden_layers = 4,
          .num_attention_heads = 8,
          .num_key_value_heads = 2,
          .head_dim = 4,
          .max_position_embeddings = 16,
          .initializer_range = 0.08};
}

/// The same, so wide that exchanges beside its products are cut, if there are tokens enough.
inline LlamaConfig wide_llama() {
  auto config = small_llama();
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.head_dim = 32;
  config.max_position_embeddings = 512;
  config.num_hidden_layers = 2;
  return config;
}

/// A run: a layout, and how much.
struct Job {
  std::int64_t dp = 1;
  std::int64_t tp = 1;
  std::int64_t accumulate = 1;
  std::int64_t global_batch = 16;
  std::int64_t seq = 12;
  std::int64_t steps = 30;
  double rate = 3e-3;
  bool tied = false;
  Overlaps overlaps{Overlap::between_nodes, Overlap::between_nodes};
  Overlap tensor = Overlap::between_nodes;
  bool wide = false;

  std::int64_t micro_batch() const { return global_batch / (dp * accumulate); }
  LlamaConfig model() const {
    auto config = wide ? wide_llama() : small_llama();
    config.tie_word_embeddings = tied;
    return config;
  }
};

/// Sample `index` of a made-up text: a walk with a pattern to learn, some labels ignored.
inline void add_sample(Microbatch& batch, std::int64_t index, std::int64_t seq,
                       std::int64_t vocab) {
  Stream const noise(7, "sample", static_cast<std::uint64_t>(index));
  std::int64_t token = index % vocab;
  for (std::int64_t t = 0; t < seq; ++t) {
    bool const leap = noise.uniform(static_cast<std::uint64_t>(t)) < 0.2;
    auto const next = (3 * token + 1 + (leap ? 5 : 0)) % vocab;
    batch.ids.push_back(static_cast<std::int32_t>(token));
    batch.labels.push_back(static_cast<std::int32_t>((index + t) % 11 == 0 ? -100 : next));
    token = next;
  }
}

/// The microbatches of a step on one rank: the same samples in all, however they are spread.
inline std::vector<Microbatch> microbatches(Job const& job, std::int64_t step, std::int64_t place,
                                            std::int64_t vocab) {
  std::vector<Microbatch> all(static_cast<std::size_t>(job.accumulate));
  auto const micro = job.micro_batch();
  for (std::int64_t m = 0; m < job.accumulate; ++m)
    for (std::int64_t b = 0; b < micro; ++b)
      add_sample(all[static_cast<std::size_t>(m)],
                 step * job.global_batch + (m * job.dp + place) * micro + b, job.seq, vocab);
  return all;
}

/// What training leaves behind on one rank: losses and norms of the steps, and its own part of the
/// parameters, by name and place.
struct Outcome {
  std::vector<double> losses, norms;
  std::map<std::string, std::map<std::int64_t, double>> parameters;

  bool operator==(Outcome const&) const = default;
};

/// Notes a rank's own part of the parameters, which are of type T.
template <class T, class Model> void keep_parameters(Model const& model, Outcome& outcome) {
  for (auto const& piece : model_pieces(model, Holding::owned)) {
    auto& elements = outcome.parameters[piece.name];
    auto const columns = piece.box.extent.back();
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(piece.bytes.size() / sizeof(T)); ++i) {
      T value;
      std::memcpy(&value, piece.bytes.data() + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
      auto const row = piece.shape.size() > 1 ? piece.box.start[0] + i / columns : 0;
      elements[row * piece.shape.back() + piece.box.start.back() + i % columns] =
          static_cast<double>(widen(value));
    }
  }
}

/// Trains the small Llama. `between(step, model, optimizer)` is called before each step.
template <class Region, class Strategy, class Backend,
          template <class, class> class Attention = GroupedQueryAttention, class C>
Outcome train_small(C comm, Job const& job, auto const& between, WeightPrecision precision = {}) {
  auto const config = job.model();
  World<LlamaPlan, Backend, C> world(
      make_plan(config, {job.dp, job.tp, job.micro_batch(), job.seq, 0}), comm);
  TensorOverlap const beside(world, job.tensor);
  Llama<Region, decltype(world), Attention> const model(world, config);
  initialize(model, 5);
  Optimizer<Strategy, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0}, precision,
                                                 {}, job.overlaps);
  auto const place = line<DP>(world.plan, comm.rank()).place;
  Outcome outcome;
  for (std::int64_t step = 0; step < job.steps; ++step) {
    if (!between(step, model, optimizer)) continue;
    auto const batches = microbatches(job, step, place, config.vocab_size);
    auto const report =
        train_step(world, model, optimizer, std::span<Microbatch const>(batches), job.rate);
    outcome.losses.push_back(report.loss);
    outcome.norms.push_back(report.grad_norm);
  }
  keep_parameters<typename decltype(world)::weight>(model, outcome);
  return outcome;
}

template <class Region, class Strategy, class Backend,
          template <class, class> class Attention = GroupedQueryAttention, class C>
Outcome train_small(C comm, Job const& job) {
  return train_small<Region, Strategy, Backend, Attention>(comm, job,
                                                           [](auto const&...) { return true; });
}

/// The ranks' parts of the parameters as one.
inline Outcome merged(std::vector<Outcome> const& ranks) {
  Outcome all = ranks.at(0);
  for (auto const& rank : ranks)
    for (auto const& [name, elements] : rank.parameters)
      all.parameters[name].insert(elements.begin(), elements.end());
  return all;
}

/// How far a run is from another: the largest relative difference of a loss, of a norm, and of all
/// parameters as one vector.
struct Distance {
  double loss = 0, norm = 0, parameters = 0;
};

inline Distance distance(Outcome const& a, Outcome const& b) {
  Distance d;
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    d.loss = std::max(d.loss, std::abs(a.losses[i] / b.losses.at(i) - 1));
    d.norm = std::max(d.norm, std::abs(a.norms[i] / b.norms.at(i) - 1));
  }
  double apart = 0, length = 0;
  for (auto const& [name, elements] : b.parameters)
    for (auto const& [index, value] : elements) {
      auto const other = a.parameters.at(name).at(index);
      apart += (other - value) * (other - value);
      length += value * value;
    }
  d.parameters = std::sqrt(apart / length);
  return d;
}

}  // namespace nxd::test
