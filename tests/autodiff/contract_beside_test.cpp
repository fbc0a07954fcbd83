// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <doctest/doctest.h>

#include <nxd/autodiff/contract_beside.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/core/random.hpp>
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
template <class T> using X = Tensor<T, Shape<Batch, Seq, Hidden>, Layout<Shard<Seq, TP>>>;
template <class T> using Up = Tensor<T, Shape<Ffn, Hidden>, Layout<Shard<Ffn, TP>>>;
template <class T> using Down = Tensor<T, Shape<Hidden, Ffn>, Layout<Shard<Ffn, TP>>>;

template <class V, class B> auto elements(auto const& plan, Local<V, B> const& x) {
  return std::vector<typename V::element>(data(x), data(x) + V::local_size(plan));
}

/// Out of slices of a sequence into two products, and back through one: y, dx and weights'
/// gradients of this rank, and the traffic.
template <class B, class Program>
auto results(Threads::Rank rank, std::int64_t seq, Program program) {
  using T = typename B::element;
  using Comm = Recorder<Threads::Rank>;
  Beside<Comm, T> carrier;
  World<Job, B, Comm> world(Job{{"tp", rank.size()}, {"seq", seq}}, Comm(rank));
  auto const numbers = [&]<class V>(std::type_identity<V>, std::uint64_t stream) {
    Stream const noise(stream, "numbers");
    return world.variable(world.template make<V>(
        [&](auto i) { return noise.uniform(static_cast<std::uint64_t>(i)) - 0.5; }));
  };
  auto const x = numbers(std::type_identity<X<T>>{}, 1);
  auto const up = numbers(std::type_identity<Up<T>>{}, 2);
  auto const gate = numbers(std::type_identity<Up<T>>{}, 3);
  auto const down = numbers(std::type_identity<Down<T>>{}, 4);
  auto const y = program(world, carrier, x, up, gate, down);
  auto const made = elements(world.plan, y.value());
  world.backward(y,
                 world.template make<X<T>>([](auto i) { return static_cast<double>(i % 17 - 8); }));
  return std::tuple(made, elements(world.plan, x.grad()), elements(world.plan, up.grad()),
                    elements(world.plan, down.grad()), world.comm.totals(), world.ledger);
}

template <class B> void check_bits(Threads::Rank rank, std::int64_t seq) {
  auto const between = [](auto&, auto&, auto const& x, auto const& up, auto const& gate,
                          auto const& down) {
    auto const whole = redistribute<Replicate<TP>>(x);
    auto const a = contract(whole, up), b = contract(whole, gate);
    return redistribute<Shard<Seq, TP>>(contract(a + b, down));
  };
  auto const beside = [](auto&, auto&, auto const& x, auto const& up, auto const& gate,
                         auto const& down) {
    auto const [a, b] = contract_from<Replicate<TP>>(x, up, gate);
    return contract_to<Shard<Seq, TP>>(a + b, down);
  };
  auto const carried = [&](auto& world, auto& carrier, auto const&... all) {
    world.beside = &carrier;
    return beside(world, carrier, all...);
  };
  auto const expected = results<B>(rank, seq, between);
  bool const same_beside = results<B>(rank, seq, beside) == expected;
  bool const same_carried = results<B>(rank, seq, carried) == expected;
  CHECK(same_beside);
  CHECK(same_carried);
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
        check_bits<Xt>(rank, seq);
        check_bits<XtBf16>(rank, seq);
      });
}

TEST_CASE("a product is made piece by piece only where pieces have the bits of the whole") {
  using Whole = Tensor<float, Shape<Batch, Seq, Hidden>, Layout<Replicate<TP>>>;
  using W = World<Job, Xt>;
  using Z = detail::product_tensor_t<detail::unshared_t<Whole, Up<float>>, Whole, Up<float>, W>;
  W world(Job{{"tp", 1}, {"seq", 256}});
  auto const x = world.make<Whole>();
  auto const up = world.make<Up<float>>();
  auto const z = world.make<Z>();
  auto const is_cut = [&](ProductMaker maker, RowPieces const& pieces) {
    auto const kept = product_table();
    for (std::size_t i = 0; i < ProductTable::size; ++i) product_table()[i] = maker;
    detail::RowsOfProduct<Z, Whole, Up<float>, float, W> const rows(world, pieces, x, up, data(z),
                                                                    false);
    product_table() = kept;
    return rows.is_cut();
  };
  RowPieces const all{.blocks = 2, .length = 256, .pieces = 2};
  CHECK(!is_cut(ProductMaker::openblas, all));
  CHECK(is_cut(ProductMaker::avx512, all) == has_avx512());
  CHECK(!is_cut(ProductMaker::avx512, {.blocks = 1, .length = 256, .pieces = 2}));
  CHECK(!is_cut(ProductMaker::avx512, {.blocks = 2, .length = 256, .pieces = 0}));
}
