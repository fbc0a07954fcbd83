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
  double seconds = 0;       ///< of a step
  std::int64_t memory = 0;  ///< bytes of the rank that needs most
  bool exact = false;       ///< whether all places and microbatches were looked at
  std::string rejected;     ///< why it is no way; empty: it is one
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

/// Bytes of the rank that needs most under schedule `s`, if `part` is the plan of a step with fewer
/// microbatches: some schedules keep more of them.
inline std::int64_t memory_under(Schedule const& s, StepPlan const& part) {
  double most = 0;
  for (std::size_t i = 0; i < part.places.size(); ++i) {
    auto const& place = part.places[i];
    auto const more = peak_live(s.actions[i]) - peak_live(part.schedule.actions[i]);
    most = std::max(most, static_cast<double>(place.cost.peak.total()) +
                              static_cast<double>(place.kept_per_microbatch) * more / s.chunks);
  }
  return static_cast<std::int64_t>(most);
}

/// Nearly what a layout would cost. Where a step has many microbatches, fewer are run, and the rest
/// takes the time of the slowest place; of the places along a pipeline the typical ones are run.
inline void cost(Candidate& candidate, LlamaConfig const& model, std::int64_t ranks,
                 Machine const& machine) {
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
  candidate.memory = memory_under(pipeline_plan(candidate.config, m).training, plan);
}

/// What it costs, to the byte, with all places and all microbatches.
inline void cost_exactly(Candidate& candidate, LlamaConfig const& model, std::int64_t ranks,
                         Machine const& machine) {
  auto const plan = plan_step(candidate.config, model, ranks, machine);
  candidate.seconds = plan.seconds;
  candidate.memory = plan.memory();
  candidate.exact = true;
}

inline std::string mebibytes_text(std::int64_t bytes) {
  return std::to_string((bytes >> 20) + (bytes % (1 << 20) > 0 ? 1 : 0)) + " MiB";
}

/// Rejects it if it needs more than `memory` bytes on a rank.
inline void refuse_large(Candidate& candidate, std::int64_t memory) {
  if (candidate.memory > memory)
    candidate.rejected =
        "needs " + mebibytes_text(candidate.memory) + " on a rank, of " + mebibytes_text(memory);
}

}  // namespace detail

/// All ways to lay a run out over so many ranks, with its global batch and model as they are:
/// tensor, sequence, pipeline and data parallelism, schedules and chunks, ZeRO-1, recomputation and
/// microbatches. Those that break a rule, or need more than `memory` bytes on a rank, say so.
inline std::vector<Candidate> enumerate_layouts(TrainingConfig const& asked,
                                                LlamaConfig const& model, std::int64_t ranks,
                                                std::int64_t memory, Machine const& machine) {
  std::vector<Candidate> all;
  auto const judge = [&](Candidate candidate) {
    auto const broken = broken_rules(candidate.config, model.vocab_size, ranks);
    if (!broken.empty())
      candidate.rejected = broken.front();
    else
      detail::cost(candidate, model, ranks, machine), detail::refuse_large(candidate, memory);
    bool const legal = broken.empty();
    all.push_back(std::move(candidate));
    return legal;
  };
  auto const fill = [&](Candidate const& base, std::int64_t dp) {
    for (auto const micro : detail::powers_in(asked.data.global_batch_size / dp, 64))
      for (bool const sequence : {false, true})
        for (bool const zero1 : {true, false})
          for (auto const recompute :
               {std::optional<Granularity>{}, std::optional(Granularity::selective),
                std::optional(Granularity::full)}) {
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
        auto const stages =
            check_stages(model.num_hidden_layers, pp * pipeline_chunks(base.config));
        if (pp > 1 && !stages)
          base.rejected = PlanError("pipeline stages", stages).what();
        else if (asked.data.global_batch_size % dp != 0)
          base.rejected = "the global batch of " + std::to_string(asked.data.global_batch_size) +
                          " is not split evenly over DP " + std::to_string(dp);
        if (base.rejected.empty())
          fill(base, dp);
        else
          all.push_back(std::move(base));
      }
  return all;
}

/// Those for which no other is both faster and smaller, the fastest first.
inline std::vector<Candidate*> pareto_set(std::vector<Candidate>& all) {
  std::vector<Candidate*> set;
  for (auto& c : all)
    if (c.rejected.empty()) set.push_back(&c);
  std::ranges::stable_sort(set, [](Candidate const* a, Candidate const* b) {
    return std::pair(a->seconds, a->memory) < std::pair(b->seconds, b->memory);
  });
  std::vector<Candidate*> best;
  for (auto* c : set)
    if (best.empty() || c->memory < best.back()->memory) best.push_back(c);
  return best;
}

/// The best of all layouts, the fastest first, each looked at in full. What turns out to need more
/// than `memory` is rejected after all.
inline std::vector<Candidate> search_layouts(std::vector<Candidate>& all, LlamaConfig const& model,
                                             std::int64_t ranks, std::int64_t memory,
                                             Machine const& machine) {
  auto best = pareto_set(all);
  auto const rough = [](Candidate const* c) { return !c->exact; };
  while (std::ranges::any_of(best, rough)) {
    for (auto* c : best)
      if (!c->exact)
        detail::cost_exactly(*c, model, ranks, machine), detail::refuse_large(*c, memory);
    best = pareto_set(all);
  }
  std::vector<Candidate> found;
  for (auto const* c : best) found.push_back(*c);
  return found;
}

}  // namespace nxd
