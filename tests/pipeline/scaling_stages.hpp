// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <thread>

#include <nxd/core/plan.hpp>
#include <nxd/pipeline/executor.hpp>
#include <nxd/pipeline/kinds.hpp>

namespace nxd::test {

struct Width : Dim<"width"> {};
struct ScalingPlan : Plan<Let<Width>> {
  using Plan::Plan;
};

/// Stands in for the activations of a chunk: counts how many of its kind there are, and were at
/// most.
class Kept {
 public:
  struct Count {
    int now = 0, peak = 0;
  };
  explicit Kept(Count& count) : count_(count) { count.peak = std::max(count.peak, ++count.now); }
  Kept(Kept const&) = delete;
  Kept& operator=(Kept const&) = delete;
  ~Kept() { --count_.now; }

 private:
  Count& count_;
};

/// How long a rank takes for each pass through all of its layers, in seconds: first what it should
/// take, spent asleep, so that any machine has enough cores; then what it did take, summed.
struct Clock {
  Times wanted{0, 0, 0};
  Times taken{0, 0, 0};

  static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  static void spend(double wanted, double& taken) {
    auto const start = now();
    if (wanted > 0) std::this_thread::sleep_for(std::chrono::duration<double>(wanted));
    taken += now() - start;
  }
};

/// A model that one can check in one's head: stage s multiplies by weight(s), and so what passes on
/// tells where it comes from. All numbers are small whole ones times powers of two: every element
/// and every gradient has one value, however it is computed. An element in `stride` has a part in
/// the loss.
template <class World> struct ScalingStages {
  using Residual = Tensor<float, Shape<Width>, Layout<>>;
  using Weight = Tensor<float, Shape<>, Layout<>>;
  using B = typename World::backend;

  static constexpr std::int64_t stride = 4096;
  static constexpr double weight(int stage) { return stage % 2 == 0 ? 2 : 4; }
  /// Element i of what the first stage makes of a microbatch, and of the gradient that the last
  /// begins with.
  static constexpr double input(int microbatch, std::int64_t i) {
    return static_cast<double>(i % 64 + microbatch);
  }
  static constexpr double share(int microbatch, std::int64_t i) {
    return i % stride == microbatch % stride ? static_cast<double>(i / stride % 3 + 1) : 0;
  }

  World& world;
  Schedule const& schedule;
  std::vector<Var<Weight, World>> weights{};  ///< one a chunk
  std::int64_t mutable mistakes = 0;          ///< elements that are not what they should be
  Kept::Count mutable live{};                 ///< chunks of microbatches whose input is kept
  Clock mutable clock{};

  ScalingStages(World& w, Schedule const& s, int place) : world(w), schedule(s) {
    for (int c = 0; c < s.chunks; ++c) {
      auto const value = weight(s.stage(place, c));
      weights.push_back(
          w.template variable<Weight>(w.template make<Weight>([=](auto) { return value; })));
    }
  }

  std::int64_t width() const { return Residual::local_size(world.plan); }

  /// What so many stages multiply by.
  static double product(int stages) {
    double all = 1;
    for (int s = 0; s < stages; ++s) all *= weight(s);
    return all;
  }
  /// What the loss of so many microbatches must be.
  static double loss(std::int64_t width, int stages, int microbatches) {
    double sum = 0;
    for (int k = 0; k < microbatches; ++k)
      for (std::int64_t i = k % stride; i < width; i += stride) sum += input(k, i) * share(k, i);
    return sum * product(stages);
  }

  void check(Local<Residual, B> const& x, auto const& wanted) const {
    for (std::int64_t i = 0; i < width(); ++i)
      mistakes += static_cast<double>(data(x)[i]) != wanted(i) ? 1 : 0;
  }

  Var<Residual, World> begin(int microbatch) const {
    auto x = world.template make<Residual>([=](auto i) { return input(microbatch, i); });
    return world.arriving(std::move(x), [this, microbatch](Local<Residual, B> const& g) {
      check(g, [=, all = whole()](auto i) { return all * share(microbatch, i); });
    });
  }

  Var<Residual, World> pass(int chunk, Var<Residual, World> const& x) const {
    spend(&Times::forward);
    auto const& w = weights[static_cast<std::size_t>(chunk)];
    auto const scaled = [this, by = data(w.value())[0]](Local<Residual, B> const& from) {
      auto const to = world.template make<Residual>();
      B::kernels::scale(width(), by, data(from), data(to));
      return to;
    };
    auto const kept = std::make_shared<Kept>(live);
    return world.record(
        scaled(x.value()),
        [=, this, gx = x.slot(), gw = w.slot(), x = x.value()](Local<Residual, B> const& dy) {
          spend(&Times::input_gradient);
          gx.accumulate(scaled(dy));
          world.make_gradient(gw, [this, kept, gw, x, dy] {
            spend(&Times::weight_gradient);
            gw.accumulate(world.template make<Weight>([&](auto) { return dot(x, dy); }));
          });
        },
        x.slot(), w.slot());
  }

  Var<Weight, World> end(int microbatch, Var<Residual, World> const& x) const {
    check(x.value(), [=, all = whole()](auto i) { return all * input(microbatch, i); });
    auto const shares = world.template make<Residual>([=](auto i) { return share(microbatch, i); });
    return world.record(
        world.template make<Weight>([&](auto) { return dot(x.value(), shares); }),
        [gx = x.slot(), shares](auto const&) { gx.accumulate(shares); }, x.slot());
  }

  /// The gradients of the weights are those of `microbatches` in all.
  bool has_right_gradients(int place) const {
    auto const sum = loss(width(), schedule.stages(), schedule.microbatches);
    bool right = true;
    for (int c = 0; c < schedule.chunks; ++c) {
      auto const& w = weights[static_cast<std::size_t>(c)];
      right = right && w.has_grad() &&
              static_cast<double>(data(w.grad())[0]) == sum / weight(schedule.stage(place, c));
    }
    return right;
  }

 private:
  void spend(double Times::*time) const {
    Clock::spend(clock.wanted.*time / schedule.chunks, clock.taken.*time);
  }
  double whole() const { return product(schedule.stages()); }
  double dot(Local<Residual, B> const& x, Local<Residual, B> const& y) const {
    double sum = 0;
    for (std::int64_t i = 0; i < width(); ++i)
      sum += static_cast<double>(data(x)[i]) * static_cast<double>(data(y)[i]);
    return sum;
  }
};

/// The line of all ranks of a job.
inline Line all_ranks(auto const& comm) { return {0, 1, comm.size(), comm.rank()}; }

/// Runs `run<K>(name, chunks)` for every named schedule.
void for_every_schedule(auto const& run) {
  for (auto const name : {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"})
    with_schedule(
        name, [&]<class K>(K) { run.template operator()<K>(check_numbers<K>(2, 4, 1) ? 1 : 2); });
}

}  // namespace nxd::test
