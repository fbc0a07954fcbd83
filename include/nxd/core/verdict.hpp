// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <nxd/core/error.hpp>

namespace nxd {

/// What a plan can get wrong. The compiler prints these names, so they are sentences.
enum class Rule : std::uint8_t {
  none_broken,
  every_dynamic_extent_needs_a_value,
  configured_extent_must_match_its_type,
  sharded_dim_must_split_evenly_over_its_axis,
  microbatches_must_be_a_multiple_of_pipeline_ranks,
  every_microbatch_must_visit_every_stage_once,
  schedule_must_not_deadlock,
  renamed_dim_must_keep_its_extent,
  copies_of_a_shard_must_divide_its_axis,
  query_heads_must_be_a_multiple_of_key_heads,
  ranks_must_fill_the_mesh,
  head_dim_must_be_even,
  gate_and_up_must_be_two,
  global_batch_must_be_a_multiple_of_micro_batches,
  pipeline_numbers_must_be_positive,
  pipeline_messages_must_fit_their_tags,
  schedule_must_suit_its_chunks,
  microbatches_must_fill_the_pipeline,
  microbatch_groups_must_fill_the_pipeline,
  actions_must_name_microbatches_and_chunks_of_the_schedule,
  microbatches_must_keep_their_order,
  gradients_must_follow_the_forward_pass,
  schedule_must_have_the_size_asked_for,
  every_stage_needs_a_layer,
  every_layer_must_be_in_one_stage,
  cuts_must_be_one_fewer_than_stages,
};

constexpr std::string_view text(Rule rule) {
  constexpr auto texts = std::to_array<std::string_view>({
      "no rule broken",
      "every dynamic extent needs a value",
      "a configured extent must match its type",
      "a sharded dimension must split evenly over its axis",
      "microbatches must be a multiple of pipeline ranks",
      "every microbatch must visit every stage once",
      "the schedule must not deadlock",
      "a renamed dimension must keep its extent",
      "copies of a shard must divide its axis",
      "query heads must be a multiple of key heads",
      "the ranks of the job must fill the mesh",
      "the head dimension must be even",
      "gate and up must be two",
      "the global batch must be a multiple of the micro batches of all ranks",
      "pipeline ranks, microbatches and chunks must be positive",
      "the messages of a pipeline must have few enough stages and microbatches for their tags",
      "the schedule must have the number of chunks on a rank that it is for",
      "an interleaved pipeline must have as many microbatches as ranks",
      "every group of microbatches, the last one too, must have as many as there are ranks",
      "actions must name microbatches and chunks of the schedule",
      "microbatches must keep their order in every stage",
      "gradients must follow the forward pass, and those of the weights those of the input",
      "a schedule must have the ranks, the microbatches and the chunks that it was asked for",
      "every stage of a pipeline needs a layer",
      "every layer must be in one stage of the pipeline",
      "cuts must be one fewer than the stages that they cut",
  });
  return texts[static_cast<std::size_t>(rule)];
}

/// The outcome of a check: the rule that is broken, and the two numbers that break it.
struct Verdict {
  Rule broken = Rule::none_broken;
  std::int64_t lhs = 0;
  std::int64_t rhs = 0;

  constexpr explicit operator bool() const { return broken == Rule::none_broken; }
  bool operator==(Verdict const&) const = default;
};

/// The compile-time face of a verdict. Assert it inside a template and by its qualified name: only
/// there do g++ and clang both print `nxd::accepted<nxd::Rule::schedule_must_not_deadlock, 2, 5>`.
template <Rule Broken, std::int64_t Lhs, std::int64_t Rhs>
inline constexpr bool accepted = Broken == Rule::none_broken;

/// The type-level counterpart of `accepted`: what was wanted against what was given.
template <class T> struct Expected;
template <class T> struct Got;
template <class Wanted, class Given> inline constexpr bool matches = false;
template <class T> inline constexpr bool matches<Expected<T>, Got<T>> = true;

/// A verdict as a sentence: the rule, and the numbers that break it.
inline std::string describe(Verdict const& v) {
  return std::string(text(v.broken)) + " (" + std::to_string(v.lhs) + " against " +
         std::to_string(v.rhs) + ")";
}

/// A plan that was read at start-up breaks a rule.
struct PlanError : ConfigError {
  Verdict verdict;

  PlanError(std::string_view subject, Verdict v)
      : ConfigError(std::string(subject) + ": " + describe(v)), verdict(v) {}
};

/// The start-up face of a verdict. @throws PlanError if a rule is broken.
constexpr void require(std::string_view subject, Verdict v) {
  if (!v) throw PlanError(subject, v);
}

}  // namespace nxd
