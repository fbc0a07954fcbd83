// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <nxd/config/llama_setup.hpp>

namespace nxd {

/// Makes microbatches of samples: inputs, and the same one place on as labels.
class MicrobatchMaker {
 public:
  MicrobatchMaker(PackedDataset data, SampleOrder order, BatchSizes sizes, std::int64_t place,
                  std::int64_t vocabulary)
      : data_(std::move(data)),
        order_(order),
        sizes_(sizes),
        place_(place),
        vocabulary_(vocabulary) {}

  /// This rank's samples of step s, counted from 0.
  std::vector<Microbatch> operator()(std::int64_t step) const {
    std::vector<Microbatch> all(static_cast<std::size_t>(sizes_.accumulate()));
    for (std::int64_t m = 0; m < sizes_.accumulate(); ++m)
      for (std::int64_t row = 0; row < sizes_.micro; ++row)
        add(all[static_cast<std::size_t>(m)], order_(sizes_.place(step, m, place_, row)));
    return all;
  }

 private:
  void add(Microbatch& batch, std::int64_t sample) const {
    auto const tokens = data_.sample(sample);
    check_vocabulary(tokens, vocabulary_);
    batch.ids.insert(batch.ids.end(), tokens.begin(), tokens.end() - 1);
    batch.labels.insert(batch.labels.end(), tokens.begin() + 1, tokens.end());
  }

  PackedDataset data_;
  SampleOrder order_;
  BatchSizes sizes_;
  std::int64_t place_;
  std::int64_t vocabulary_;
};

/// Which samples a rank of a run takes, and when. Does not outlive its arguments.
class LlamaBatches {
 public:
  /// `place` is the rank's along the data-parallel axis; `vocabulary` what its model has room for.
  LlamaBatches(TrainingConfig const& config, Split const& data, std::int64_t data_parallel,
               std::int64_t place, std::int64_t vocabulary)
      : config_(config),
        data_(data),
        sizes_{config.data.global_batch_size, config.data.micro_batch_size, data_parallel},
        place_(place),
        vocabulary_(vocabulary) {}

  /// Microbatches of a step of this rank.
  std::size_t a_step() const { return static_cast<std::size_t>(sizes_.accumulate()); }

  /// Steps of the run: `max_steps`, or what `max_epochs` passes over the samples have.
  std::int64_t last_step() const {
    auto const& t = config_.trainer;
    if (t.max_epochs < 0) return t.max_steps;
    return std::min(t.max_steps,
                    t.max_epochs * data_.train.size() / config_.data.global_batch_size);
  }

  /// Microbatches of each step, counted from 1.
  std::function<std::vector<Microbatch>(std::int64_t)> training() const {
    return [make = maker(data_.train, config_.data.shuffle)](std::int64_t step) {
      return make(step - 1);
    };
  }

  /// Global batches that a validation looks at.
  std::int64_t of_a_validation() const {
    auto const there = data_.validation.size() / config_.data.global_batch_size;
    auto const& limit = config_.trainer.limit_val_batches;
    auto const wanted = limit.fraction ? limit.value * static_cast<double>(there) : limit.value;
    return std::min(there, static_cast<std::int64_t>(wanted));
  }

  /// Microbatches of so many global batches that are held out.
  std::vector<Microbatch> held_out(std::int64_t batches) const {
    std::vector<Microbatch> all;
    auto const make = maker(data_.validation, false);
    for (std::int64_t step = 0; step < batches; ++step)
      for (auto& batch : make(step)) all.push_back(std::move(batch));
    return all;
  }

 private:
  MicrobatchMaker maker(PackedDataset const& data, bool shuffle) const {
    return {data,
            {data.size(), static_cast<std::uint64_t>(config_.seed), shuffle},
            sizes_,
            place_,
            vocabulary_};
  }

  TrainingConfig const& config_;
  Split const& data_;
  BatchSizes sizes_;
  std::int64_t place_;
  std::int64_t vocabulary_;
};

}  // namespace nxd
