// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include <nxd/nn/parameter.hpp>
#include <nxd/optim/zero1.hpp>

namespace nxd {

/// Gradient clipping by the global norm, in which every parameter counts once over every axis.
struct Clip {
  enum class Norm : std::uint8_t { l2, infinity } norm = Norm::l2;
  double max = std::numeric_limits<double>::infinity();  ///< no clipping

  /// What gradients are multiplied by. The 1e-6 is PyTorch's.
  double coefficient(double total) const { return std::min(1.0, max / (total + 1e-6)); }
};

namespace detail {

/// Takes the sums of a gradient that are not over the axes of Data: those of tensor parallelism.
template <class W, class G, class B>
constexpr auto settle_over(W&, Local<G, B> const& gradient, Mesh<>, auto) {
  return gradient;
}
template <class A, class... As, class W, class G, class B, class... Data>
constexpr auto settle_over(W& world, Local<G, B> const& gradient, Mesh<A, As...>,
                           Mesh<Data...> data) {
  using P = placement_t<G, A>;
  if constexpr (awaits_sum<P> && !axis_among<A, Data...>)
    return settle_over(world, redistribute<cotangent_t<P>>(world, gradient), Mesh<As...>{}, data);
  else
    return settle_over(world, gradient, Mesh<As...>{}, data);
}

template <class W, class A> constexpr Line line_along(W const& world, Mesh<A>) {
  return line<A>(world.plan, world.rank());
}
template <class W> constexpr Line line_along(W const& world, Mesh<>) {
  return {world.rank(), 1, 1, 0};
}

}  // namespace detail

/// Takes the sums that a gradient awaits over axes that are not data axes, such as those of a
/// norm's weight under sequence parallelism. What is left is what `Zero1` and `Replicated` take.
template <class Strategy, class W, class G, class B>
constexpr auto settle(W& world, Local<G, B> const& gradient) {
  using M = typename W::mesh;
  return detail::settle_over(world, gradient, M{}, typename Strategy::template axes<M>{});
}

/// A mesh in which ranks form a line, if any: of one axis, or of none.
template <class M> inline constexpr bool has_one_axis = false;
template <> inline constexpr bool has_one_axis<Mesh<>> = true;
template <class A> inline constexpr bool has_one_axis<Mesh<A>> = true;

/// A model whose parts are on several stages of a pipeline comes with the line of those that may
/// share a weight: `model.ends()`. Other models are whole on every rank.
template <class Model>
concept SharesWeightsBetweenStages = requires(Model const& model) {
  { model.ends() } -> std::same_as<Line>;
};

/// Trains the parameters of a model: takes their gradients' sums, clips, updates. Strategy is
/// `Zero1<AdamW>`, `Replicated<Sgd>`, ...; its update's state lives here, chunk by chunk.
template <class Strategy, class World> class Optimizer {
  using B = typename World::backend;
  using T = typename World::element;
  using axes = typename Strategy::template axes<typename World::mesh>;
  static_assert(has_one_axis<axes>,
                "Optimizer: state is split over one data axis; name it: Zero1<AdamW, DP>");

 public:
  using Update = typename Strategy::update;
  static constexpr std::size_t moments = Update::moments.size();

  /// What is remembered of one parameter.
  struct State {
    Chunk chunk;
    typename B::template buffer<T> gradient;
    std::array<typename B::template buffer<T>, moments> moment;
  };

  /// @param model visited in its own order, now and at every step
  template <class Model>
  Optimizer(World& world, Model const& model, Update update, Clip clip = {})
      : world_(world), update_(update), clip_(clip), along_(detail::line_along(world, axes{})) {
    For<B> const purpose(MemoryUse::optimizer_state);
    model.visit([this]<class X>(ParameterInfo const&, Var<X, World> const&, auto) {
      State s;
      s.chunk = Strategy::chunk(X::local_size(world_.plan), along_);
      for (auto& m : s.moment) {
        m = B::template allocate<T>(s.chunk.room);
        if constexpr (B::has_elements) std::fill_n(B::data(m), s.chunk.room, T{});
      }
      states_.push_back(std::move(s));
    });
  }

  /// Takes the gradients of a step: sums them over the ranks that share a parameter, forgets the
  /// parameters' own, and measures them. @return the global norm, before clipping; not finite if a
  /// gradient is not.
  template <class Model> double reduce(Model const& model) {
    double total = 0;
    std::size_t i = 0;
    model.visit([&]<class X>(ParameterInfo const& info, Var<X, World> const& parameter, auto) {
      auto& s = states_[i++];
      auto const gradient = gradient_of(model, info, parameter);
      reduce_one<X>(gradient, s);
      parameter.clear_grad();
      if (holders<X>().place != 0 || info.sharing == Sharing::again) return;
      compute<B>([&](auto k) {
        auto const* const g = B::data(s.gradient);
        if (clip_.norm == Clip::Norm::l2)
          total += k.sum_of_squares(s.chunk.count, g);
        else if (auto const m = k.max_abs(s.chunk.count, g); !(m <= total))
          total = m;
      });
    });
    Line const everyone{0, 1, world_.comm.size(), world_.rank()};
    auto const how = clip_.norm == Clip::Norm::l2 ? Op::sum : Op::max;
    exchange<B>(world_.comm,
                [&](auto& comm) { all_reduce(comm, everyone, std::span<double>(&total, 1), how); });
    norm_ = clip_.norm == Clip::Norm::l2 ? std::sqrt(total) : total;
    return norm_;
  }

  /// One step at learning rate `rate` along the gradients that `reduce` has taken.
  template <class Model> void step(Model const& model, double rate) {
    UpdateStep step{++steps_, rate, clip_.coefficient(norm_), true};
    std::size_t i = 0;
    model.visit([&]<class X>(ParameterInfo const& info, Var<X, World> const& parameter, auto) {
      auto& s = states_[i++];
      step.decays = info.decays;
      compute<B>([&](auto k) {
        std::array<T*, moments> moment;
        for (std::size_t m = 0; m < moments; ++m) moment[m] = B::data(s.moment[m]);
        update_(k, step, s.chunk.count, static_cast<T const*>(B::data(s.gradient)),
                data(parameter.value()) + s.chunk.first, moment);
      });
      s.gradient = {};
      if (along_.count > 1) Strategy::gather(world_, along_, parameter.value(), s.chunk);
    });
  }

  /// Steps taken so far; a resumed run sets them.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

  /// The state of the i-th parameter that the model visits.
  State const& state(std::size_t i) const { return states_[i]; }

  /// The ranks that hold the same state of X as this one.
  template <class X> Holders holders() const {
    using Apart = std::conditional_t<Strategy::shards_state, axes, Mesh<>>;
    return nxd::holders<X, Apart>(world_.plan, world_.rank());
  }

 private:
  /// The gradient of a parameter, over all stages that have it.
  template <class Model, class X>
  auto gradient_of(Model const& model, ParameterInfo const& info, Var<X, World> const& parameter) {
    using G = typename Var<X, World>::gradient;
    auto const gradient = parameter.has_grad() ? parameter.grad() : zeros<G>();
    if (info.sharing == Sharing::none) return gradient;
    if constexpr (SharesWeightsBetweenStages<Model>) {
      Line const ends = model.ends();
      world_.ledger.bytes_sent += G::local_bytes(world_.plan);
      auto const n = static_cast<std::size_t>(G::local_size(world_.plan));
      exchange<B>(world_.comm,
                  [&](auto& comm) { all_reduce(comm, ends, std::span<T>(data(gradient), n)); });
    } else {
      detail::broken_expectation("a whole model: one stage does not know who shares its weights");
    }
    return gradient;
  }

  template <class X, class G> void reduce_one(Local<G, B> const& gradient, State& s) {
    auto const settled = settle<Strategy>(world_, gradient);
    using Settled = typename std::remove_cvref_t<decltype(settled)>::tensor;
    check_gradient<Settled>(axes{}, typename World::mesh{});
    world_.ledger.bytes_sent += Strategy::bytes_sent(X::local_bytes(world_.plan), along_.count);
    if (along_.count == 1) {
      s.gradient = settled.data;  // the sum over one rank
    } else {
      For<B> const purpose(MemoryUse::gradients);
      s.gradient = B::template allocate<T>(s.chunk.room);
      Strategy::reduce(world_, along_, settled, s.chunk, B::data(s.gradient));
    }
  }

  template <class G> Local<G, B> zeros() {
    For<B> const purpose(MemoryUse::gradients);
    auto const made = world_.template make<G>();
    if constexpr (B::has_elements) std::fill_n(data(made), G::local_size(world_.plan), T{});
    return made;
  }

  World& world_;
  Update update_;
  Clip clip_;
  Line along_;
  std::vector<State> states_;
  std::int64_t steps_ = 0;
  double norm_ = 0;
};

}  // namespace nxd
