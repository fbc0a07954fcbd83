// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include <nxd/autodiff/world.hpp>
#include <nxd/comm/post.hpp>
#include <nxd/core/expects.hpp>
#include <nxd/pipeline/report.hpp>

namespace nxd {

/// What the stages of a model do with a microbatch.
///
///   P::Residual            the tensor that stages pass on
///   begin(microbatch)      what the first stage makes of its input: Var<Residual>
///   pass(chunk, x)         x through the layers of a chunk of this rank: Var<Residual>
///   end(microbatch, x)     what the last stage makes of it: a number, summed over microbatches
template <class P, class World>
concept PipelineProgram = requires(P const& program, Var<typename P::Residual, World> const& x) {
  { program.begin(0) } -> std::same_as<Var<typename P::Residual, World>>;
  { program.pass(0, x) } -> std::same_as<Var<typename P::Residual, World>>;
  program.end(0, x).value();
};

/// Runs a schedule on one rank of a line of pipeline ranks. Receives are posted one action ahead,
/// and a send is awaited only when its buffer is used again: what `verify` proves under
/// `Channel::posted` is what runs. Shapes are known from types and never negotiated. Activations
/// live from their forward pass to their backward pass; what is sent is not copied.
template <class World, PipelineProgram<World> Program> class PipelineExecutor {
  using B = typename World::backend;
  using X = typename Program::Residual;
  using G = gradient_t<X, typename World::mesh>;
  using T = typename X::element;
  using Comm = typename World::communicator;
  using Loss = decltype(std::declval<Program const&>().end(0, std::declval<Var<X, World>>()));
  using Sending = decltype(post_send(std::declval<Comm&>(), 0, 0, std::span<T const>()));
  using Receiving = decltype(post_receive(std::declval<Comm&>(), 0, 0, std::span<T>()));

 public:
  /// @param along the pipeline ranks, in the order of the schedule's; both outlive the executor
  PipelineExecutor(World& world, Schedule const& schedule, Line along, Program const& program)
      : world_(world),
        schedule_(schedule),
        along_(along),
        program_(program),
        flights_(static_cast<std::size_t>(schedule.chunks * schedule.microbatches)),
        outgoing_(static_cast<std::size_t>(2 * schedule.chunks * schedule.send_buffers)) {
    NXD_EXPECTS(along.count == schedule.ranks());
    last_is_last_ = ends_with_last_microbatch();
  }

  /// Does this rank's actions, and leaves gradients where the schedule is for training.
  /// @return the sum over microbatches that the last stage has made; 0 on other ranks
  /// @throws Error naming the action at which a message did not come
  double run() {
    auto const& actions = schedule_.actions[static_cast<std::size_t>(along_.place)];
    if (actions.empty()) return 0;
    named(actions[0], [&] { post(actions[0], arriving_[0]); });
    for (std::size_t i = 0; i < actions.size(); ++i) {
      if (i + 1 < actions.size())
        named(actions[i + 1], [&] { post(actions[i + 1], arriving_[(i + 1) % 2]); });
      named(actions[i], [&] {
        if (world_.whereabouts != nullptr) world_.whereabouts->at(text(actions[i]));
        Traced const span(world_.trace, name_of(actions[i].kind), [&] { return text(actions[i]); });
        act(actions[i], arriving_[i % 2]);
      });
    }
    named(actions.back(), [&] {
      for (auto& message : outgoing_) message.wait();
    });
    return sum_;
  }

  /// The most chunks of microbatches whose activations were kept at once.
  int live_peak() const { return live_peak_; }

 private:
  /// A microbatch in a chunk, from its forward pass until the gradients of its weights are made.
  struct Flight {
    Tape tape, weights;
    std::optional<Slot<X, World>> output;
    std::optional<Loss> loss;
    Local<X, B> input;     ///< handed over by another chunk of this rank
    Local<G, B> gradient;  ///< likewise, of the output
    Local<G, B> of_input;
  };

  /// What comes from another rank for one action.
  struct Arriving {
    Local<X, B> input;
    Local<G, B> gradient;
    std::optional<Receiving> message;

    void wait() {
      if (message) message->wait();
      message.reset();
    }
  };

  /// What goes to another rank, and is kept until it has gone.
  struct Outgoing {
    Local<X, B> output;
    Local<G, B> gradient;
    std::optional<Sending> message;

    void wait() {
      if (message) message->wait();
      *this = {};
    }
  };

  /// Does `work`, whose errors are those of an action.
  void named(Action const& a, auto const& work) {
    try {
      work();
    } catch (Error const& e) {
      throw Error(e.code, "pipeline rank " + std::to_string(along_.place) + " at " + text(a) +
                              ": " + e.what());
    }
  }

  Flight& flight(int chunk, int microbatch) {
    return flights_[static_cast<std::size_t>(chunk * schedule_.microbatches + microbatch)];
  }
  int stage_of(Action const& a) const {
    return schedule_.stage(static_cast<int>(along_.place), a.chunk);
  }
  bool is_mine(int stage) const { return schedule_.seat(stage).rank == along_.place; }

  /// The stage that an action works on what comes from; none: -1.
  int source(Action const& a) const {
    auto const stage = stage_of(a);
    if (a.kind == Pass::forward) return stage - 1;
    return makes_gradient(a.kind) && stage + 1 < schedule_.stages() ? stage + 1 : -1;
  }

  void post(Action const& a, Arriving& to) {
    auto const from = source(a);
    if (from < 0 || is_mine(from)) return;
    auto const receive = [&]<class Y>(Local<Y, B>& buffer) {
      For<B> const purpose(MemoryUse::messages);
      buffer = world_.template make<Y>();
      exchange<B>(world_.comm, [&](auto& comm) {
        to.message.emplace(post_receive(
            comm, along_.rank(schedule_.seat(from).rank),
            tag(schedule_, a.kind == Pass::forward ? Pass::forward : Pass::backward, stage_of(a),
                a.microbatch),
            std::span<T>(data(buffer), static_cast<std::size_t>(Y::local_size(world_.plan)))));
      });
    };
    if (a.kind == Pass::forward)
      receive(to.input);
    else
      receive(to.gradient);
  }

  /// Of each chunk of this rank the last microbatch's gradients are made last, and none are put
  /// off.
  bool ends_with_last_microbatch() const {
    std::vector<Action> last(static_cast<std::size_t>(schedule_.chunks));
    for (auto const& a : schedule_.actions[static_cast<std::size_t>(along_.place)])
      if (a.kind != Pass::forward) last[static_cast<std::size_t>(a.chunk)] = a;
    return std::ranges::all_of(last, [&](Action const& a) {
      return a.kind == Pass::backward && a.microbatch + 1 == schedule_.microbatches;
    });
  }

  void act(Action const& a, Arriving& arriving) {
    auto const last = world_.last_uses(last_is_last_ && a.microbatch + 1 == schedule_.microbatches);
    auto& f = flight(a.chunk, a.microbatch);
    if (a.kind == Pass::forward) return forward(a, f, arriving);
    if (a.kind == Pass::weight_gradient)
      f.weights.pull_until(nullptr);
    else
      backward(a, f, arriving);
    if (frees_activations(a.kind)) --live_;
  }

  void forward(Action const& a, Flight& f, Arriving& arriving) {
    auto const stage = stage_of(a);
    bool const last = stage + 1 == schedule_.stages();
    auto const input = [&] {
      if (stage == 0) return program_.begin(a.microbatch);
      arriving.wait();
      auto local = std::exchange(is_mine(stage - 1) ? f.input : arriving.input, {});
      return world_.arriving(std::move(local), [&f](Local<G, B> const& g) { f.of_input = g; });
    };
    auto const compute = [&] {
      auto const y = program_.pass(a.chunk, input());
      if (!last) {
        f.output.emplace(y.slot());
        return send(a, stage + 1, y.value());
      }
      f.loss.emplace(program_.end(a.microbatch, y));
      if constexpr (B::has_elements) sum_ += static_cast<double>(data(f.loss->value())[0]);
    };
    live_peak_ = std::max(live_peak_, live_ + 1);
    if (schedule_.purpose == Purpose::evaluation) {
      world_.unrecorded(compute);
      f.output.reset(), f.loss.reset();
      return;
    }
    ++live_;
    on_tape(f, compute);
  }

  void backward(Action const& a, Flight& f, Arriving& arriving) {
    auto const stage = stage_of(a);
    arriving.wait();
    on_tape(f, [&] {
      if (a.kind == Pass::input_gradient) world_.defer_weights_to(&f.weights);
      if (f.loss) {
        world_.backward(*f.loss);
      } else {
        auto const g = std::exchange(is_mine(stage + 1) ? f.gradient : arriving.gradient, {});
        world_.backward(*f.output, g);
      }
      world_.defer_weights_to(nullptr);
    });
    f.output.reset(), f.loss.reset();
    if (stage > 0) send(a, stage - 1, std::exchange(f.of_input, {}));
  }

  /// Records on, and pulls from, the tape of a microbatch.
  void on_tape(Flight& f, auto const& work) {
    world_.exchange(f.tape);
    work();
    world_.exchange(f.tape);
  }

  /// Hands a value over to another stage, on this rank or another.
  template <class Y> void send(Action const& a, int to, Local<Y, B> const& value) {
    auto const seat = schedule_.seat(to);
    bool const onward = a.kind == Pass::forward;
    if (seat.rank == along_.place) {
      auto& f = flight(seat.chunk, a.microbatch);
      if constexpr (std::same_as<Y, X>)
        if (onward) f.input = value;
      if constexpr (std::same_as<Y, G>)
        if (!onward) f.gradient = value;
      return;
    }
    world_.ledger.bytes_sent += Y::local_bytes(world_.plan);
    auto& message = outgoing_[static_cast<std::size_t>((a.chunk * 2 + (onward ? 0 : 1)) *
                                                           schedule_.send_buffers +
                                                       a.microbatch % schedule_.send_buffers)];
    message.wait();
    if constexpr (std::same_as<Y, X>)
      if (onward) message.output = value;
    if constexpr (std::same_as<Y, G>)
      if (!onward) message.gradient = value;
    exchange<B>(world_.comm, [&](auto& comm) {
      message.message.emplace(post_send(
          comm, along_.rank(seat.rank),
          tag(schedule_, onward ? Pass::forward : Pass::backward, to, a.microbatch),
          std::span<T const>(data(value), static_cast<std::size_t>(Y::local_size(world_.plan)))));
    });
  }

  World& world_;
  Schedule const& schedule_;
  Line along_;
  Program const& program_;
  std::vector<Flight> flights_;
  std::vector<Outgoing> outgoing_;
  Arriving arriving_[2]{};
  double sum_ = 0;
  int live_ = 0, live_peak_ = 0;
  bool last_is_last_ = false;  ///< the last microbatch is the last that adds to any gradient
};

}  // namespace nxd
