// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <nxd/config/check_llama.hpp>
#include <nxd/config/plan_llama.hpp>

namespace nxd {

/// A way to lay a run out over ranks, and what it would cost.
struct Candidate {
  TrainingConfig config;
  double seconds = 0;        ///< of a step
  std::int64_t memory = 0;   ///< bytes of the rank that needs most
  std::string rejected;      ///< why it is no way; empty: it is one
};

namespace detail {

/// Numbers from 1 to n that divide n.
inline std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> all;
  for (std::int64_t d = 1; d <= n; ++d)
    if (n % d == 0) all.push_back(d);
  return all;
}

/// Powers of two that divide n, up to `most`.
inline std::vector<std::int64_t> powers_in(std::int64_t n, std::int64_t most) {
  std::vector<std::int64_t> all;
  for (std::int64_t p = 1; p <= most && n % p == 0; p *= 2) all.push_back(p);
  return all;
}

/// The schedules that are worth a try on so many pipeline ranks, with their chunks.
inline std::vector<std::pair<PipelineKind, std::int64_t>> schedules_for(std::int64_t pp) {
  using enum PipelineKind;
  if (pp == 1) return {{one_f_one_b, 1}};
  return {{gpipe, 1}, {one_f_one_b, 1}, {interleaved, 2}, {interleaved, 4}, {zb_h1, 1}, {zb_v, 2}};
}

/// What a layout would cost. Where a step has many microbatches, fewer are run, and the rest takes the
/// time of the slowest place; of the places along a pipeline the typical ones are run. The memory is the
/// same, the time nearly so.
inline void cost(Candidate& candidate, LlamaConfig const& model, std::int64_t ranks, Machine const& machine) {
  auto const m = microbatches(candidate.config, ranks);
  auto const pp = candidate.config.distributed_strategy.pipeline_model_parallel_size;
  auto const few = std::max<std::int64_t>(3 * pp, 4);
  auto part = candidate.config;
  if (m > few) part.data.global_batch_size = candidate.config.data.global_batch_size / m * few;
  auto const plan = plan_step(part, model, ranks, machine, Places::typical);
  double slowest = 0;
  for (auto const& place : plan.places) {
    double busy = 0;
    for (auto const s : place.seconds) busy += s;
    slowest = std::max(slowest, busy / static_cast<double>(plan.schedule.microbatches));
  }
  candidate.seconds = plan.seconds + slowest * static_cast<double>(m - plan.schedule.microbatches);
  candidate.memory = plan.memory();
}

inline std::string megabytes_text(std::int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

}  // namespace detail

/// All ways to lay a run out over so many ranks, with its global batch and model as they are: tensor,
/// sequence, pipeline and data parallelism, schedules and chunks, ZeRO-1, recomputation and microbatches.
/// Those that break a rule, or need more than `memory` bytes on a rank, say so.
inline std::vector<Candidate> enumerate_layouts(TrainingConfig const& asked, LlamaConfig const& model,
                                                std::int64_t ranks, std::int64_t memory,
                                                Machine const& machine) {
  std::vector<Candidate> all;
  auto const judge = [&](Candidate candidate) {
    auto const broken = broken_rules(candidate.config, model.vocab_size, ranks);
    if (!broken.empty()) candidate.rejected = broken.front();
    else if (detail::cost(candidate, model, ranks, machine); candidate.memory > memory)
      candidate.rejected = "needs " + detail::megabytes_text(candidate.memory) + " on a rank, of " +
                           detail::megabytes_text(memory);
    bool const legal = broken.empty();
    all.push_back(std::move(candidate));
    return legal;
  };
  auto const fill = [&](Candidate const& base, std::int64_t dp) {
    for (auto const micro : detail::powers_in(asked.data.global_batch_size / dp, 64))
      for (bool const sequence : {false, true})
        for (bool const zero1 : {true, false})
          for (auto const recompute :
               {std::optional<Granularity>{}, std::optional(Granularity::selective), std::optional(Granularity::full)}) {
            auto candidate = base;
            auto& d = candidate.config.distributed_strategy;
            if ((sequence && d.tensor_model_parallel_size == 1) || (!zero1 && dp == 1)) continue;
            d.sequence_parallel = sequence;
            d.zero1 = zero1;
            candidate.config.data.micro_batch_size = micro;
            candidate.config.model.activations_checkpoint_granularity = recompute;
            if (!judge(std::move(candidate))) return;  // what is wrong is wrong with all of these
          }
  };
  for (auto const tp : detail::divisors(ranks))
    for (auto const pp : detail::divisors(ranks / tp))
      for (auto const& [kind, chunks] : detail::schedules_for(pp)) {
        auto const dp = ranks / (tp * pp);
        Candidate base;
        base.config = asked;
        auto& d = base.config.distributed_strategy;
        d.tensor_model_parallel_size = tp;
        d.pipeline_model_parallel_size = pp;
        d.pipeline_schedule = kind;
        d.virtual_pipeline_model_parallel_size = chunks;
        d.kv_replicator = fewest_copies(model.num_key_value_heads, tp);
        d.pipeline_layers = "balanced";
        base.config.model.pipeline_cuts.clear();
        base.config.exp_manager.checkpoint_callback_params.model_parallel_size.reset();
        if (asked.data.global_batch_size % dp == 0) fill(base, dp);
        else {
          base.rejected = "the global batch of " + std::to_string(asked.data.global_batch_size) +
                          " is not split evenly over DP " + std::to_string(dp);
          all.push_back(std::move(base));
        }
      }
  return all;
}

/// Those for which no other is both faster and smaller, the fastest first.
inline std::vector<Candidate> pareto_set(std::vector<Candidate> const& all) {
  std::vector<Candidate> set;
  for (auto const& c : all)
    if (c.rejected.empty()) set.push_back(c);
  std::ranges::stable_sort(set, [](Candidate const& a, Candidate const& b) {
    return std::pair(a.seconds, a.memory) < std::pair(b.seconds, b.memory);
  });
  std::vector<Candidate> best;
  for (auto& c : set)
    if (best.empty() || c.memory < best.back().memory) best.push_back(std::move(c));
  return best;
}

}  // namespace nxd
