// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <limits>
#include <random>

#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/nn/sequential.hpp>
#include <nxd/tensor/reference.hpp>
#include <nxd/train/replicas.hpp>

using namespace nxd;

namespace {

struct Job : Plan<Let<DP, 3>, Let<TP, 2>, Let<Batch, 6>, Let<Hidden, 4>, Let<Ffn, 8>> {};
using X = Tensor<float, Shape<Batch, Hidden>, Layout<Shard<Batch, DP>, Invariant<TP>>>;
using Mlp =
    Sequential<Linear<Hidden, Ffn, ColumnParallel<TP>>, Gelu, Linear<Ffn, Hidden, RowParallel<TP>>>;
constexpr std::int64_t rank_count = 6;

using World = nxd::World<Job, Reference<float>, Threads::Rank>;
using Adams = Optimizer<Replicated<Adam>, World>;

/// One step of training; on `sick`, one of the inputs is not a number. @return whether it was taken
bool step(World& world, auto const& mlp, Adams& optimizer, std::int64_t sick = -1) {
  auto const x = world.random<X>(), minus_target = world.random<X>();
  if (world.rank() == sick) data(x.value())[1] = std::numeric_limits<float>::quiet_NaN();
  auto const error = mlp(x) + minus_target;
  auto const loss = redistribute<Invariant<DP>>(contract(error, error));
  world.backward(loss);
  bool const finite = std::isfinite(optimizer.reduce(mlp));
  if (finite)
    optimizer.step(mlp, 1e-2);
  else
    optimizer.skip();
  return finite;
}

/// A run on all ranks, three steps old: calls `f(comm, world, mlp, optimizer)` on each.
template <class F> void trained(F const& f) {
  Threads::run(rank_count, [&](Threads::Rank comm) {
    World world({}, comm);
    auto const mlp = bind<Mlp>(world);
    initialize(mlp, 1);
    Adams optimizer(world, mlp, {});
    for (int i = 0; i < 3; ++i) step(world, mlp, optimizer);
    f(comm, world, mlp, optimizer);
  });
}

/// What a rank holds of a run: name, first element, number of elements.
struct Part {
  std::string name;
  float* elements;
  std::int64_t count;
};
std::vector<Part> parts_of(World& world, auto const& mlp, Adams const& optimizer) {
  std::vector<Part> all;
  std::size_t i = 0;
  mlp.visit([&]<class P>(ParameterInfo const& info, Var<P, World> const& v, auto) {
    auto const n = P::local_size(world.plan);
    all.push_back({info.names.front(), data(v.value()), n});
    auto const& state = optimizer.state(i++);
    for (std::size_t m = 0; m < optimizer.moment_names().size(); ++m)
      all.push_back({info.names.front() + "." + std::string(optimizer.moment_names()[m]),
                     const_cast<float*>(Reference<float>::data(state.moment[m])), n});
  });
  return all;
}

}  // namespace

TEST_CASE("ranks that have trained alike hold the same bits") {
  CHECK_NOTHROW(trained([](auto comm, auto& world, auto const& mlp, auto const& optimizer) {
    check_replicas(comm, world, mlp, optimizer);
  }));
}

TEST_CASE("any bit that is flipped on any rank, in weight or moment, names tensor and rank") {
  std::mt19937 random(7);
  for (int trial = 0; trial < 100; ++trial) {
    CAPTURE(trial);
    auto const victim = static_cast<std::int64_t>(random() % rank_count);
    auto const which = random(), where = random(), bit = random() % 32;
    std::string name, said;
    try {
      trained([&](auto comm, auto& world, auto const& mlp, auto const& optimizer) {
        if (comm.rank() == victim) {
          auto const all = parts_of(world, mlp, optimizer);
          auto const& part = all[which % all.size()];
          auto& element = part.elements[where % static_cast<std::size_t>(part.count)];
          element = std::bit_cast<float>(std::bit_cast<std::uint32_t>(element) ^ 1u << bit);
          name = part.name;
        }
        check_replicas(comm, world, mlp, optimizer);
      });
    } catch (Error const& e) {
      said = e.what();
      CHECK(e.code == ExitCode::desync);
    }
    CAPTURE(said);
    CHECK(said.starts_with(name + ": rank " + std::to_string(victim) + " has other bits"));
  }
}

TEST_CASE("a step that is not a number on one rank is taken by none, and changes no bit") {
  std::mt19937 random(8);
  for (int trial = 0; trial < 50; ++trial) {
    CAPTURE(trial);
    auto const sick = static_cast<std::int64_t>(random() % rank_count);
    std::atomic<int> taken = 0, changed = 0, after = 0;
    trained([&](auto comm, auto& world, auto const& mlp, auto& optimizer) {
      auto const bits = [&] {
        std::vector<float> all;
        for (auto const& part : parts_of(world, mlp, optimizer))
          all.insert(all.end(), part.elements, part.elements + part.count);
        return all;
      };
      auto const before = bits();
      taken += step(world, mlp, optimizer, sick);
      changed += bits() != before;
      after += step(world, mlp, optimizer);
      check_replicas(comm, world, mlp, optimizer);
    });
    CHECK(taken == 0);
    CHECK(changed == 0);
    CHECK(after == rank_count);
  }
}
