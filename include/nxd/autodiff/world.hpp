// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <nxd/autodiff/ledger.hpp>
#include <nxd/autodiff/var.hpp>
#include <nxd/comm/communicator.hpp>
#include <nxd/comm/single.hpp>
#include <nxd/core/random.hpp>
#include <nxd/core/trace.hpp>
#include <nxd/core/whereabouts.hpp>
#include <nxd/dist/rules.hpp>
#include <nxd/tensor/indices.hpp>
#include <nxd/tensor/meta.hpp>

namespace nxd {

template <Communicator C, Transferable T> struct Beside;

/// One gradient belongs to a loss so placed. Copies of it would each have their own.
template <class P> inline constexpr bool is_one_loss = true;
template <class A> inline constexpr bool is_one_loss<Replicate<A>> = false;

/// What one rank knows: the plan, its peers, the bill so far, and the operations to differentiate.
/// It outlives what is made in it. One thread uses it.
template <class P, Backend B = Meta<bf16>, Communicator C = Single> class World {
 public:
  using plan_type = P;
  using mesh = typename P::mesh;
  using backend = B;
  using communicator = C;
  using element = typename B::element;
  using weight = typename Numbers<B>::weight;
  using residual = typename Numbers<B>::residual;

  P plan;
  C comm;
  Ledger ledger;
  Trace* trace = nullptr;              ///< where the time of actions is written, if anywhere
  Whereabouts* whereabouts = nullptr;  ///< where it is said what the rank is at, if anywhere
  GradientWatch const* gradient_watch = nullptr;    ///< who asks for gradients early, if anybody
  WeightArrivals const* weight_arrivals = nullptr;  ///< who brings weights, if any are under way
  /// What carries exchanges over ranks while products are made that can be made meanwhile, if
  /// anything does.
  Beside<C, element>* beside = nullptr;

  constexpr explicit World(P p = {}) requires std::default_initializable<C> : plan(p) {}
  constexpr World(P p, C c) : plan(p), comm(std::move(c)) {}
  World(World const&) = delete;
  World& operator=(World const&) = delete;

  constexpr std::int64_t rank() const { return comm.rank(); }

  /// This rank's part of a tensor X, its elements not yet set. @throws PlanError if X cannot be
  /// placed.
  template <class X> constexpr Local<X, B> make() {
    auto const size = X::local_size(plan);
    return {B::template allocate<typename X::element>(size)};
  }

  /// Likewise, element i being `f(i)`, i counted over all ranks; padding is zero.
  template <class X> constexpr Local<X, B> make(auto const& f) {
    auto made = make<X>();
    if constexpr (B::has_elements) {
      using T = typename X::element;
      std::fill_n(data(made), X::local_size(plan), T{});
      for_each_run(local_part<X>(plan, rank()), [&](auto local, auto global, auto length) {
        for (std::int64_t i = 0; i < length; ++i) data(made)[local + i] = narrow<T>(f(global + i));
      });
    }
    return made;
  }

  /// A value without a gradient: an input, a mask.
  template <class X> constexpr Var<X, World> constant(Local<X, B> value) {
    return {*this, std::move(value)};
  }

  /// A value that keeps its gradient, as long as the world lives: what one differentiates for.
  template <class X> constexpr Var<X, World> variable(Local<X, B> value) {
    using G = gradient_t<X, mesh>;
    auto* const leaf = detail::Recorded<G, B, Nothing>::make({});
    leaf->cell.outlives_steps = true;
    leaves_.push(leaf);
    return {*this, std::move(value), &leaf->cell};
  }

  /// A weight: a variable whose elements are yet to be set, and paid for in memory.
  template <class X> constexpr Var<X, World> parameter() {
    ledger.bytes_of_parameters += X::local_bytes(plan);
    For<B> const purpose(MemoryUse::parameters);
    return variable(make<X>());
  }

  /// Inputs of random numbers: the same, however they are placed.
  template <class X> constexpr Var<X, World> random() {
    return variable(make<X>(Uniform<element>{inputs_++}));
  }

  /// Records that `pullback` turns the gradient of y into those of what it was made from, if any of
  /// them is wanted, or if they are not named.
  template <class Y, class Pullback, class... Xs>
  constexpr Var<Y, World> record(Local<Y, B> y, Pullback pullback, Slot<Xs, World> const&... from) {
    if (weight_arrivals != nullptr) weight_arrivals->turn(weight_arrivals->who);
    bool const wanted = sizeof...(from) == 0 || (from.wanted() || ...);
    if (!recording_ || !wanted) return {*this, std::move(y)};
    if (watched()) (foresee(from), ...);
    using G = gradient_t<Y, mesh>;
    auto* const node = detail::Recorded<G, B, Pullback>::make(std::move(pullback));
    tape_.push(node);
    return {*this, std::move(y), &node->cell};
  }

  /// Likewise, for a y made from operands that met. If they could not, that is one error already.
  template <class Meeting, class Y, class Pullback, class... Xs>
  constexpr Var<Y, World> record_if(Meeting, Local<Y, B> y, Pullback pullback,
                                    Slot<Xs, World> const&... from) {
    if constexpr (Meeting::ok)
      return record(std::move(y), std::move(pullback), from...);
    else
      return {*this, std::move(y)};
  }

  /// Runs the pullbacks, last operation first, from the gradient dy of y, and forgets the step.
  template <class Y, class G>
  constexpr void backward(Var<Y, World> const& y, Local<G, B> const& dy) {
    y.slot().accumulate(dy);
    backward_to(nullptr);
  }

  /// Likewise, from a loss, which the ranks share or are yet to sum; `scale` is its gradient.
  template <class Y> constexpr void backward(Var<Y, World> const& loss, double scale = 1) {
    []<class... As>(Mesh<As...>) {
      static_assert((is_one_loss<placement_t<Y, As>> && ...),
                    "backward: each rank's copy of the loss would count; make it Invariant");
    }(mesh{});
    backward(loss, make<gradient_t<Y, mesh>>([=](auto) { return scale; }));
  }

  /// Likewise, from where the gradient of y is gathered: y itself need not be there any more.
  template <class Y>
  constexpr void backward(Slot<Y, World> const& y, Local<gradient_t<Y, mesh>, B> const& dy) {
    y.accumulate(dy);
    backward_to(nullptr);
  }

  /// A value that comes from elsewhere within the step, such as from the stage before:
  /// `sink(gradient)` is called when the backward pass has come to it.
  template <class X, class Sink> constexpr Var<X, World> arriving(Local<X, B> value, Sink sink) {
    return record(std::move(value), std::move(sink));
  }

  /// Records on another tape, and leaves the one of before in its place.
  constexpr void exchange(Tape& tape) { std::swap(tape_, tape); }

  /// From now on pullbacks put off what only weights wait for, and leave it on `tape`, until
  /// `nullptr` is given.
  constexpr void defer_weights_to(Tape* tape) { deferred_ = tape; }

  /// Does `work`, which makes the gradient of `slot`, or puts it off.
  template <class X, class Work>
  constexpr void make_gradient(Slot<X, World> const& slot, Work work) {
    if (!slot.wanted()) return;
    if (!slot.outlives_steps()) {
      work();
      puts_off_ = puts_off_ || slot.cell()->is_summed;
    } else if (deferred_ != nullptr || puts_off_) {
      (deferred_ != nullptr ? *deferred_ : put_off_)
          .push(detail::Deferred<B, Work>::make(std::move(work)));
    } else {
      work();
    }
  }

  /// Ranks are to sum the gradient of `slot` once it is whole. If something carries the sum
  /// meanwhile, what makes gradients of weights is put off from when that gradient is made on,
  /// until the sum is on its way: see `make_put_off`.
  template <class X> constexpr void put_off_beside(Slot<X, World> const& slot) {
    if (beside != nullptr && slot.wanted()) slot.cell()->is_summed = true;
  }
  constexpr bool has_put_off() const { return put_off_.top() != nullptr; }

  /// Makes the gradients that were put off, in the order in which they would have been made; who is
  /// told of whole gradients is told then. Products call `turn`, if it does something.
  constexpr void make_put_off(Turn const& turn = {}) {
    puts_off_ = false;
    if (!has_put_off()) return;
    auto all = std::move(put_off_);
    all.turn_around();
    struct Restore {
      Turn const*& now;
      constexpr ~Restore() { now = nullptr; }
    } restore{turn_};
    if (turn.go != nullptr) turn_ = &turn;
    all.pull_until(nullptr, [this] {
      if (watched()) gradient_watch->turn(gradient_watch->who);
    });
  }

  /// What products that take long are to call now and then, or nullptr.
  constexpr Turn const* turn() const { return turn_; }

  /// Forgets the operations recorded so far, without a backward pass.
  constexpr void forget() {
    tape_.drop_until(nullptr);
    put_off_.drop_until(nullptr);
    puts_off_ = false;
  }

  /// Operations are recorded: a backward pass may follow.
  constexpr bool records() const { return recording_; }

  /// What `program` computes is not recorded: it needs no memory but for its results.
  constexpr auto unrecorded(auto const& program) {
    auto const before = std::exchange(recording_, false);
    struct Restore {
      bool& recording;
      bool before;
      constexpr ~Restore() { recording = before; }
    } restore{recording_, before};
    return program();
  }

  /// The operations since `mark`; for regions that are computed anew in the backward pass.
  constexpr auto mark() const { return tape_.top(); }
  constexpr void backward_to(detail::Operation* mark) {
    if (!watched()) return tape_.pull_until(mark);
    tape_.pull_until(mark, [watch = gradient_watch] { watch->turn(watch->who); });
  }

  /// While what is returned lives, the step comes to weights for the last time, if `last`, in
  /// forward and in backward passes that put off nothing: the gradient watch is told of gradients
  /// that are whole. A weight that regions of `recompute` share is none of those.
  constexpr auto last_uses(bool last) {
    struct Restore {
      bool& now;
      bool before;
      constexpr ~Restore() { now = before; }
    };
    return Restore{last_uses_, std::exchange(last_uses_, last)};
  }

 private:
  constexpr bool watched() const { return last_uses_ && gradient_watch != nullptr; }

  template <class X> constexpr void foresee(Slot<X, World> const& slot) {
    if (slot.wanted() && slot.outlives_steps())
      tape_.push(detail::LastUse<B>::make(*gradient_watch, slot.cell(), put_off_));
  }

  struct Nothing {
    constexpr void operator()(auto const&) const {}
  };

  Tape leaves_;
  Tape tape_;
  Tape put_off_;
  Tape* deferred_ = nullptr;
  Turn const* turn_ = nullptr;
  bool puts_off_ = false;
  bool recording_ = true;
  bool last_uses_ = false;
  std::uint64_t inputs_ = 0;
};

/// Only in one world can values meet: it has the plan, the peers, and the tape of all of them.
template <class V, class W> inline constexpr bool is_one_world = std::same_as<V, W>;

}  // namespace nxd
