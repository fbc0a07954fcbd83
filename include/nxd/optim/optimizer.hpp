// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include <nxd/nn/parameter.hpp>
#include <nxd/optim/chunk_update.hpp>
#include <nxd/optim/clip.hpp>
#include <nxd/optim/gathers_under_way.hpp>
#include <nxd/optim/overlap.hpp>
#include <nxd/optim/settle.hpp>
#include <nxd/optim/sums_under_way.hpp>
#include <nxd/optim/weight_gather.hpp>
#include <nxd/optim/weight_precision.hpp>

namespace nxd {

/// Trains the parameters of a model: takes their gradients' sums, clips, updates. Strategy is
/// `Zero1<AdamW>`, `Replicated<Sgd>`, ...; its update's state lives here, chunk by chunk.
///
/// Weights shorter than floats: gradients are floats, and so is the state, unless `WeightPrecision`
/// says otherwise.
template <class Strategy, class World> class Optimizer {
  using B = typename World::backend;
  using T = accumulator_t<typename World::element>;
  using axes = typename Strategy::template axes<typename World::mesh>;
  static_assert(has_one_axis<axes>,
                "Optimizer: state is split over one data axis; name it: Zero1<AdamW, DP>");

 public:
  using Update = typename Strategy::update;
  static constexpr std::size_t moments = Update::moments.size();

  /// What is remembered of one parameter.
  using State = ChunkState<World, moments>;

  /// @param model visited in its own order, now and at every step
  template <class Model>
  Optimizer(World& world, Model const& model, Update update, Clip clip = {},
            WeightPrecision precision = {}, Strategy strategy = {}, Overlaps overlaps = {})
      : world_(world),
        strategy_(strategy),
        update_(update, precision),
        clip_(clip),
        along_(detail::line_along(world, axes{})),
        early_sums_(begin_early(world, along_, overlaps.sums)),
        early_gathers_(strategy_.shards_state() && begin_early(world, along_, overlaps.gathers)),
        gathers_(world) {
    For<B> const purpose(MemoryUse::optimizer_state);
    model.visit([this]<class X>(ParameterInfo const&, Var<X, World> const&, auto) {
      states_.emplace_back(strategy_.chunk(X::local_size(world_.plan), along_), is_short<X>,
                           update_.precision(), moment_names().size());
    });
  }

  /// Who is to be told of gradients in the last passes of a step, so that their sums begin then;
  /// nullptr if they begin in `reduce`. It is there as long as the optimizer stays where it is.
  template <class Model> GradientWatch const* watch(Model const& model) {
    if (!early_sums_) return nullptr;
    early_.clear();
    model.visit([this]<class X>(ParameterInfo const& info, Var<X, World> const& parameter, auto) {
      // What stages share is summed over them first.
      bool const alone = info.sharing == Sharing::none;
      early_.push_back({alone ? parameter.slot().cell() : nullptr, &Optimizer::post<X>});
    });
    watch_ = {this, [](void* who, void* cell) { static_cast<Optimizer*>(who)->begin_sum(cell); },
              [](void* who) { static_cast<Optimizer*>(who)->sums_.poll(); }};
    return &watch_;
  }

  /// Weights of X are shorter than the numbers they are updated in.
  template <class X> static constexpr bool is_short = !std::same_as<typename X::element, T>;

  /// Whether the moments of X are as short as its weights.
  template <class X> bool has_short_moments() const {
    return is_short<X> && !update_.precision().master;
  }

  /// Whether there are longer weights than the model's: those are the ones to save.
  bool has_masters() const { return is_short_world && update_.precision().master; }

  /// The masters become what the model's weights are: after these were set, or read from a file.
  template <class Model> void take_weights(Model const& model) {
    if (!has_masters()) return;
    for_each_chunk(model, [](State& s, auto const& parameter, auto) {
      compute<B>([&](auto k) {
        k.cast(s.chunk.count, data(parameter.value()) + s.chunk.first, B::data(s.master));
      });
    });
    begun_ = true;
  }

  /// The model's weights become what the masters are: after these were read from a file.
  template <class Model> void give_weights(Model const& model) {
    if (!has_masters()) return;
    for_each_chunk(model, [this](State& s, auto const& parameter, auto runs) {
      gathered(s, parameter, [&](PieceMade made) {
        update_.round_masters(s, steps_, data(parameter.value()) + s.chunk.first, runs, made);
      });
    });
    finish();
    begun_ = true;
  }

  /// Takes the gradients of a step: sums them over the ranks that share a parameter, forgets the
  /// parameters' own, and measures them. @return the global norm, before clipping; not finite if a
  /// gradient is not.
  template <class Model> double reduce(Model const& model) {
    double total = 0;
    std::size_t i = 0;
    sums_.finish();
    gathers_.finish();
    model.visit([&]<class X>(ParameterInfo const& info, Var<X, World> const& parameter, auto) {
      bool const early = !early_.empty() && std::exchange(early_[i].begun, false);
      auto& s = states_[i++];
      if (early) {
        NXD_EXPECTS(!parameter.has_grad());  // it would have been whole too soon
      } else {
        reduce_one<X>(gradient_of(model, info, parameter), s);
        parameter.clear_grad();
      }
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

  /// One step at learning rate `rate` along the gradients that `reduce` has taken. Where gathers
  /// overlap, weights may still be on their way when it returns: see `finish`.
  template <class Model> void step(Model const& model, double rate) {
    if (!begun_) take_weights(model);
    UpdateStep step{++steps_, rate, clip_.coefficient(norm_), true};
    std::size_t i = 0;
    model.visit(
        [&]<class X, class M>(ParameterInfo const& info, Var<X, World> const& parameter, M m) {
          auto& s = states_[i++];
          step.decays = info.decays;
          gathered(s, parameter, [&](PieceMade made) {
            auto* const weights = data(parameter.value()) + s.chunk.first;
            if constexpr (is_short<X>)
              update_(s, step, weights, runs_of<X>(info, s.chunk, m), made);
            else
              update_(s, step, weights, made);
          });
          s.gradient = {};
        });
  }

  /// Returns when this rank has all of what `step` has begun to gather. What reads a weight of the
  /// model waits for it anyhow; memory of weights that is known from before a step is to be read,
  /// and a run to end, only after this.
  void finish() { gathers_.finish(); }

  /// Leaves a step out: nothing changes but the number of steps, and the gradients are forgotten.
  void skip() {
    ++steps_;
    for (auto& s : states_) s.gradient = {};
  }

  /// Steps so far, those left out included; a resumed run sets them.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

  /// What the update remembers of every element.
  std::span<std::string_view const> moment_names() const { return update_.moment_names(); }

  /// The state of the i-th parameter that the model visits.
  State const& state(std::size_t i) const { return states_[i]; }

  /// The ranks that hold the same state of X as this one.
  template <class X> Holders holders() const {
    auto const rank = world_.rank();
    return strategy_.shards_state() ? nxd::holders<X, axes>(world_.plan, rank)
                                    : nxd::holders<X>(world_.plan, rank);
  }

 private:
  /// The gradient of a parameter, as this rank's stage has it.
  template <class X> auto own_gradient(Var<X, World> const& parameter) {
    using G = sum_of_t<typename Var<X, World>::gradient>;
    return parameter.has_grad() ? parameter.grad() : zeros<G>();
  }

  /// Likewise, over all stages that have it.
  template <class Model, class X>
  auto gradient_of(Model const& model, ParameterInfo const& info, Var<X, World> const& parameter) {
    using G = sum_of_t<typename Var<X, World>::gradient>;
    auto const gradient = own_gradient(parameter);
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

  /// @param early its sum over the data axes only begins
  template <class X, class G>
  void reduce_one(Local<G, B> const& gradient, State& s, bool early = false) {
    auto const settled = settle<Strategy>(world_, gradient);
    using Settled = typename std::remove_cvref_t<decltype(settled)>::tensor;
    check_gradient<Settled>(axes{}, typename World::mesh{});
    world_.ledger.bytes_sent += strategy_.bytes_sent(sum_of_t<X>::local_bytes(world_.plan),
                                                     X::local_bytes(world_.plan), along_.count);
    if (along_.count == 1) return void(s.gradient = settled.data);  // the sum over one rank
    For<B> const purpose(MemoryUse::gradients);
    s.gradient = B::template allocate<T>(s.chunk.room);
    if (!early) return strategy_.reduce(world_, along_, settled, s.chunk, B::data(s.gradient));
    auto const what = strategy_.shards_state() ? Exchange::reduce_scatter : Exchange::all_reduce;
    sums_.post(world_, along_, what, Settled::local_size(world_.plan), settled.data, s.gradient,
               s.chunk.room);
  }

  /// Calls `make(made)`, which makes this rank's chunk of a parameter, after which all ranks have
  /// the whole, or it is on its way to them.
  template <class X>
  void gathered(State const& s, Var<X, World> const& parameter, auto const& make) {
    if (along_.count == 1 || !strategy_.shards_state()) return make(PieceMade{});
    if (early_gathers_ && parameter.slot().wanted()) {
      make(PieceMade{});
      return gathers_.post(along_, parameter);
    }
    gather_as_made(world_, along_, parameter.value(), s.chunk, make);
  }

  /// A weight whose sum may begin before the end of the last backward pass.
  struct Early {
    void* cell;  ///< of its gradient
    void (Optimizer::*post)(std::size_t i);
    bool begun = false;
  };

  /// The gradient of a weight is whole.
  void begin_sum(void* cell) {
    auto const at = std::ranges::find(early_, cell, &Early::cell);
    if (at == early_.end()) return;
    (this->*at->post)(static_cast<std::size_t>(at - early_.begin()));
    at->begun = true;
  }

  /// Begins the sum of the i-th parameter's gradient, an X's.
  template <class X> void post(std::size_t i) {
    using Cell = typename Var<X, World>::Cell;
    Var<X, World> const parameter(world_, {}, static_cast<Cell*>(early_[i].cell));
    reduce_one<X>(own_gradient(parameter), states_[i], true);
    parameter.clear_grad();
  }

  static constexpr bool is_short_world = !std::same_as<typename World::weight, T>;

  /// Calls `f(state, parameter, runs)` for all whose weights are short.
  template <class Model> void for_each_chunk(Model const& model, auto const& f) {
    std::size_t i = 0;
    model.visit(
        [&]<class X, class M>(ParameterInfo const& info, Var<X, World> const& parameter, M m) {
          auto& s = states_[i++];
          if constexpr (is_short<X>) f(s, parameter, runs_of<X>(info, s.chunk, m));
        });
  }

  /// What number in its tensor each element of a chunk is; nobody asks where rounding is nearest.
  template <class X>
  std::vector<Run> runs_of(ParameterInfo const& info, Chunk const& chunk, auto matrix) const {
    std::vector<Run> runs;
    if (update_.precision().rounding == Rounding::nearest) return runs;
    auto const all = portions<X>(info, world_.plan, world_.rank(), matrix);
    for (auto const& p : chunk_portions(all, chunk)) add_runs(runs, p);
    std::ranges::sort(runs, {}, &Run::offset);
    return runs;
  }

  template <class G> Local<G, B> zeros() {
    For<B> const purpose(MemoryUse::gradients);
    auto const made = world_.template make<G>();
    if constexpr (B::has_elements)
      std::fill_n(data(made), G::local_size(world_.plan), typename G::element{});
    return made;
  }

  World& world_;
  [[no_unique_address]] Strategy strategy_;
  ChunkUpdate<World, Update> update_;
  Clip clip_;
  Line along_;
  bool early_sums_, early_gathers_;
  std::vector<State> states_;
  std::vector<Early> early_;  ///< in the order of the states
  GradientWatch watch_;
  SumsUnderWay<World, T> sums_;
  GathersUnderWay<World> gathers_;
  std::int64_t steps_ = 0;
  bool begun_ = false;  ///< the masters are set
  double norm_ = 0;
};

}  // namespace nxd
