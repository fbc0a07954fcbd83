// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <doctest/doctest.h>

#include <nxd/autodiff/contract_beside.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/nn/dims.hpp>
#include <nxd/tensor/xtensor.hpp>

using namespace nxd;

namespace {

// What is done, in its order: m a piece is made, s it leaves, w one is waited for.
struct Told {
  std::string* all;

  void made(std::int64_t i) { *all += " s" + std::to_string(i); }
  void wait_for(std::int64_t n) { *all += " w" + std::to_string(n); }
  void wait() { *all += " w"; }
  void advance() {}
};

/// What an order makes of pieces, in turn or at once.
template <template <class> class Order>
std::string told(RowPieces const& pieces, std::int64_t place, bool at_once = false) {
  std::string all;
  Told exchange{&all};
  Order<Told> const order{pieces, place, exchange};
  if (at_once)
    order.at_once([&] { all += " m"; });
  else
    order.in_turn([&](RowRange const& rows) { all += " m" + std::to_string(rows.first); });
  return all;
}

struct Job : Plan<Let<TP>, Let<Batch, 2>, Let<Seq>, Let<Hidden, 192>, Let<Ffn, 768>> {
  using Plan::Plan;
};
using X = Tensor<float, Shape<Batch, Seq, Hidden>, Layout<Shard<Seq, TP>>>;
using Up = Tensor<float, Shape<Ffn, Hidden>, Layout<Shard<Ffn, TP>>>;
using Down = Tensor<float, Shape<Hidden, Ffn>, Layout<Shard<Ffn, TP>>>;

using Here = World<Job, Xt, Recorder<Threads::Rank>>;

auto elements(Here& world, auto const& x) {
  using V = typename std::remove_cvref_t<decltype(x)>::tensor;
  return std::vector<float>(data(x), data(x) + V::local_size(world.plan));
}

/// Out of slices of a sequence into two products, and back through one: y, dx and the weights'
/// gradients of this rank, and the traffic.
template <class Program> auto results(Threads::Rank rank, std::int64_t seq, Program program) {
  Here world(Job{{"tp", rank.size()}, {"seq", seq}}, Recorder<Threads::Rank>(rank));
  auto const x = world.template random<X>();
  auto const up = world.template random<Up>(), gate = world.template random<Up>();
  auto const down = world.template random<Down>();
  auto const y = program(world, x, up, gate, down);
  auto const made = elements(world, y.value());
  world.backward(y, world.template make<X>([](auto i) { return static_cast<double>(i % 17) - 8; }));
  return std::tuple(made, elements(world, x.grad()), elements(world, up.grad()),
                    elements(world, down.grad()), world.comm.totals(), world.ledger);
}

}  // namespace

TEST_CASE("what others wait for is made before what they do not, and leaves when it is made") {
  RowPieces const sliced{.blocks = 4, .length = 32, .pieces = 2, .ranks = 2};
  CHECK(told<detail::BeforeSum>(sliced, 0) ==
        " m32 s2 m48 s3 m96 s6 m112 s7 m0 s0 m16 s1 m64 s4 m80 s5");
  CHECK(told<detail::BeforeSum>(sliced, 0, true) == " m s2 s3 s6 s7 s0 s1 s4 s5");
  RowPieces const shared{.blocks = 1, .length = 50, .pieces = 3};
  CHECK(told<detail::BeforeSum>(shared, 1) == " m0 s0 m16 s1 m32 s2");
}

TEST_CASE("what is there is multiplied before what is waited for") {
  RowPieces const sliced{.blocks = 6, .length = 16, .pieces = 1, .ranks = 3};
  CHECK(told<detail::AfterGather>(sliced, 1) == " m16 m64 w1 m0 w2 m48 w3 m32 w4 m80");
  CHECK(told<detail::AfterGather>(sliced, 1, true) == " w m");
}

TEST_CASE("products beside exchanges are those between them, bit for bit") {
  for (std::int64_t const ranks : {1, 2, 4})
    for (std::int64_t const seq : {60 * ranks, 64 * ranks, 200 * ranks})
      Threads::run(ranks, [&](Threads::Rank rank) {
        CAPTURE(ranks);
        CAPTURE(seq);
        auto const between = [](Here&, auto const& x, auto const& up, auto const& gate,
                                auto const& down) {
          auto const whole = redistribute<Replicate<TP>>(x);
          auto const a = contract(whole, up), b = contract(whole, gate);
          return redistribute<Shard<Seq, TP>>(contract(a + b, down));
        };
        auto const beside = [](Here&, auto const& x, auto const& up, auto const& gate,
                               auto const& down) {
          auto const [a, b] = contract_from<Replicate<TP>>(x, up, gate);
          return contract_to<Shard<Seq, TP>>(a + b, down);
        };
        CHECK(results(rank, seq, between) == results(rank, seq, beside));
        Beside<Recorder<Threads::Rank>, float> carrier;
        auto const carried = [&](Here& world, auto const&... all) {
          world.beside = &carrier;
          return beside(world, all...);
        };
        CHECK(results(rank, seq, between) == results(rank, seq, carried));
      });
}
