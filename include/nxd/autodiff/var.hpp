// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/tape.hpp>
#include <nxd/core/verdict.hpp>
#include <nxd/dist/fits.hpp>

namespace nxd {

/// The type of the gradient of a tensor X over mesh M.
template <class X, class M>
using gradient_t = relaid_t<X, cotangent_layout_t<typename X::layout, M>>;

/// Where pullbacks leave the gradient of a value X. It does not hold the value: a pullback keeps
/// the values that it needs, and no others live on for it.
template <class X, class World> class Slot {
 public:
  using backend = typename World::backend;
  using gradient = gradient_t<X, typename World::mesh>;
  using total = sum_of_t<gradient>;  ///< what that of a weight is summed in
  using Cell = detail::Cell<gradient, backend>;

  constexpr Slot(World& world, Cell* cell) : world_(&world), cell_(cell) {}

  /// Somebody asks for this gradient. Constants, masks and frozen weights have none.
  constexpr bool wanted() const { return cell_ != nullptr; }

  /// The gradient of a weight, or of what else outlives the step: nothing in the step waits for it.
  constexpr bool outlives_steps() const { return cell_->outlives_steps; }

  /// Where the gradient is gathered; what `GradientWatch` calls the weight.
  constexpr Cell* cell() const { return cell_; }

  /// Adds g, which may be of floats where the gradient is of bf16. Every pullback ends here, so a
  /// wrong one does not compile.
  template <class G> constexpr void accumulate(Local<G, backend> const& g) const {
    using Wanted = with_element_t<gradient, typename G::element>;
    static_assert(matches<Expected<Wanted>, Got<G>>, "pullback: the gradient has the wrong layout");
    static_assert(std::same_as<G, gradient> || std::same_as<G, total> || !std::same_as<G, Wanted>,
                  "pullback: the gradient has elements of another type; cast it");
    if constexpr (std::same_as<G, gradient> || std::same_as<G, total>)
      if (wanted()) {
        if (outlives_steps())
          add(cell_->sum(), g);
        else
          add(cell_->gradient, g);
      }
  }

  /// Likewise, for what can be computed in place: `f(sum, accumulate)` writes the gradient to `sum`
  /// or adds it there.
  template <class G> constexpr void gather(auto const& f) const {
    static_assert(matches<Expected<gradient>, Got<G>>,
                  "pullback: the gradient has the wrong layout");
    if (!wanted()) return;
    For<backend> const purpose(outlives_steps() ? MemoryUse::gradients : MemoryUse::activations);
    if (outlives_steps())
      gather_in(cell_->sum(), f);
    else
      gather_in(cell_->gradient, f);
  }

 private:
  template <class S> constexpr void gather_in(Local<S, backend>& sum, auto const& f) const {
    if (cell_->has_gradient && backend::is_shared(sum.data)) {
      auto const g = world_->template make<S>();
      if constexpr (has_kernels<backend>) f(data(g), false);
      return add(sum, g);
    }
    if (!cell_->has_gradient) sum = world_->template make<S>();
    if constexpr (has_kernels<backend>) f(data(sum), cell_->has_gradient);
    cell_->has_gradient = true;
  }

  template <class S, class G>
  constexpr void add(Local<S, backend>& sum, Local<G, backend> const& g) const {
    auto const n = S::local_size(world_->plan);
    bool const first = !std::exchange(cell_->has_gradient, true);
    if constexpr (std::same_as<S, G>) {
      if (first) return void(sum = g);
    } else if (first) {
      sum = world_->template make<S>();
      return compute<backend>([&](auto k) { k.cast(n, data(g), data(sum)); });
    }
    if (!backend::is_shared(sum.data))
      return compute<backend>([&](auto k) { k.axpy(n, 1, data(g), data(sum)); });
    auto const fresh = world_->template make<S>();
    compute<backend>([&](auto k) { k.add(n, data(sum), data(g), data(fresh)); });
    sum = fresh;
  }

  World* world_;
  Cell* cell_;
};

/// A differentiable value: a tensor X, the elements that this rank holds of it, and the slot of its
/// gradient. Copies share both; the elements live as long as a copy, or a pullback that needs them.
template <class X, class World> class Var {
 public:
  using tensor = X;
  using backend = typename World::backend;
  using gradient = gradient_t<X, typename World::mesh>;
  using Cell = detail::Cell<gradient, backend>;

  constexpr Var(World& world, Local<X, backend> value, Cell* cell = nullptr)
      : world_(&world), cell_(cell), value_(std::move(value)) {}

  constexpr World& world() const { return *world_; }
  /// The elements. Those of a weight that is on its way from other ranks are waited for: see
  /// `WeightArrivals`. A handle from before an update does not wait.
  constexpr Local<X, backend> const& value() const {
    if (cell_ != nullptr) cell_->await();
    return value_;
  }
  constexpr Slot<X, World> slot() const { return {*world_, cell_}; }

  /// The value as a constant: what is made of it has no part in its gradient.
  constexpr Var detached() const { return {*world_, value()}; }

  /// What has been gathered so far, in floats where X is of bf16; only a parameter or a variable
  /// keeps it after the backward pass.
  constexpr Local<sum_of_t<gradient>, backend> const& grad() const { return cell_->sum(); }
  constexpr bool has_grad() const { return cell_ != nullptr && cell_->has_gradient; }

  /// Forgets the gradient.
  constexpr void clear_grad() const {
    if (cell_ == nullptr) return;
    cell_->sum() = {};
    cell_->has_gradient = false;
  }

 private:
  World* world_;
  Cell* cell_;
  [[no_unique_address]] Local<X, backend> value_;

  using layout = typename X::layout;
  using shape = typename X::shape;
  static_assert(detail::check_axes(layout{}) && detail::check_dims(layout{}, shape{}) &&
                detail::check_room<typename World::plan_type>(layout{}, shape{}));
};

}  // namespace nxd
