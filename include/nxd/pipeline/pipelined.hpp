// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <nxd/nn/parameter.hpp>
#include <nxd/pipeline/kinds.hpp>
#include <nxd/pipeline/partition.hpp>

namespace nxd {

/// The strategy of a pipeline: its stages run by schedules of kind K. Numbers come from the plan.
/// `Pipeline<OneFOneB>`, `Pipeline<Interleaved>`
template <ScheduleKind K> struct Pipeline {
  using kind = K;

  /// @throws PlanError, ConfigError if there is no such schedule, or if it does not run
  static Schedule train(std::int64_t ranks, std::int64_t microbatches, std::int64_t chunks) {
    return make_proved<K>(ranks, microbatches, chunks);
  }
  /// Forward passes alone, over the same stages, for any number of microbatches.
  static Schedule evaluate(std::int64_t ranks, std::int64_t microbatches, std::int64_t chunks) {
    return make_proved<ForwardOnly<K>>(ranks, microbatches, chunks);
  }
};

/// What a pipeline is made of when the program starts: the schedule of its steps, and who makes
/// others.
struct PipelinePlan {
  using Maker = Schedule (*)(std::int64_t ranks, std::int64_t microbatches, std::int64_t chunks);

  Schedule training;
  Maker make_evaluation;

  /// As strategy P says. @throws PlanError, ConfigError
  template <class P>
  static PipelinePlan of(std::int64_t ranks, std::int64_t microbatches, std::int64_t chunks) {
    return {P::train(ranks, microbatches, chunks), &P::evaluate};
  }
};

/// One rank's part of a model that is spread over the stages of a pipeline: a chunk of layers, or
/// several. A stage is a Model of its own, which knows its span of the layers; parameters have the
/// names that they have in the whole.
template <class Model, class World> class Pipelined {
 public:
  using Residual = typename Model::Residual;
  using Tokens = typename Model::Tokens;
  using element = typename Model::element;
  static constexpr std::int64_t ignore_index = Model::ignore_index;

  /// @param along the pipeline ranks
  /// @param spans of all stages, in order
  /// @param make `make(span, first)` makes a stage; `first` is the first stage of the model, if it
  /// is on
  ///             this rank, else null
  /// @throws PlanError unless there is a span for every stage
  Pipelined(Line along, PipelinePlan plan, std::vector<StageSpan> spans, auto const& make)
      : along_(along), plan_(std::move(plan)), spans_(std::move(spans)) {
    auto const& s = plan_.training;
    if (std::ssize(spans_) != s.stages())
      throw PlanError("pipeline stages",
                      {Rule::every_stage_needs_a_layer, std::ssize(spans_), s.stages()});
    auto const last = s.stages() - 1;
    chunks_.reserve(static_cast<std::size_t>(s.chunks));
    Model const* first = nullptr;
    for (int c = 0; c < s.chunks; ++c) {
      auto const stage = s.stage(static_cast<int>(along.place), c);
      auto span = spans_[static_cast<std::size_t>(stage)];
      span.ends_together = s.seat(0).rank == s.seat(last).rank;
      chunks_.push_back(make(span, first));
      if (stage == 0) first = &chunks_.back();
    }
  }

  Line along() const { return along_; }
  PipelinePlan const& plan() const { return plan_; }
  std::vector<StageSpan> const& spans() const { return spans_; }
  Model const& chunk(int c) const { return chunks_[static_cast<std::size_t>(c)]; }

  /// The ranks of the first and of the last stage, seen from one of them.
  Line ends() const {
    auto const& s = plan_.training;
    std::int64_t const last = s.seat(s.stages() - 1).rank;
    return {along_.rank(0), along_.stride * last, 2, along_.place == 0 ? 0 : 1};
  }

  /// Calls `f(info, parameter, matrix)` for every parameter of this rank.
  void visit(auto const& f) const {
    for (auto const& chunk : chunks_) chunk.visit(f);
  }

 private:
  Line along_;
  PipelinePlan plan_;
  std::vector<StageSpan> spans_;
  std::vector<Model> chunks_;
};

}  // namespace nxd
