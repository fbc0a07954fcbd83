// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

namespace detail {

/// Room for a piece of what an update works on, of the calling thread.
template <class T> T* piece_room(std::size_t slot, std::int64_t count) {
  thread_local std::vector<std::vector<T>> all;
  if (all.size() <= slot) all.resize(slot + 1);
  if (std::ssize(all[slot]) < count) all[slot].resize(static_cast<std::size_t>(count));
  return all[slot].data();
}

}  // namespace detail

/// What changes from step to step, and from parameter to parameter.
struct UpdateStep {
  std::int64_t number = 1;    ///< of the step, from 1
  double rate = 1e-3;         ///< learning rate
  double gradient_scale = 1;  ///< gradients are multiplied by this first: clipping
  bool decays = true;         ///< weight decay applies
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as PyTorch computes it: decay
/// first, epsilon after the bias correction. `Adam` is the same without decay.
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;

  /// What it remembers of every element, by PyTorch's names.
  static constexpr std::array<std::string_view, 2> moments{"exp_avg", "exp_avg_sq"};

  /// One step of n weights against their gradients. Cost: one pass over all of them.
  template <class Kernels, class T>
  void operator()(Kernels, UpdateStep const& step, std::int64_t n, T const* gradient, T* weight,
                  std::array<T*, 2> const& moment) const {
    auto const t = static_cast<double>(step.number);
    AdamWStep const sizes{.rate = step.rate,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .epsilon = epsilon,
                          .weight_decay = step.decays ? weight_decay : 0,
                          .correction1 = 1 - std::pow(beta1, t),
                          .correction2 = 1 - std::pow(beta2, t),
                          .gradient_scale = step.gradient_scale};
    Kernels::adamw(sizes, n, gradient, weight, moment[0], moment[1]);
  }
};

/// Adaptive moment estimation (Kingma and Ba, 2015).
struct Adam : AdamW {
  constexpr Adam() { weight_decay = 0; }
};

/// Stochastic gradient descent with momentum, as PyTorch computes it.
struct Sgd {
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
  double weight_decay = 0;

  static constexpr std::array<std::string_view, 1> moments{"momentum_buffer"};

  template <class Kernels, class T>
  void operator()(Kernels, UpdateStep const& step, std::int64_t n, T const* gradient, T* weight,
                  std::array<T*, 1> const& moment) const {
    SgdStep const sizes{.rate = step.rate,
                        .momentum = momentum,
                        .dampening = dampening,
                        .nesterov = nesterov,
                        .weight_decay = step.decays ? weight_decay : 0,
                        .first = step.number == 1,
                        .gradient_scale = step.gradient_scale};
    Kernels::sgd(sizes, n, gradient, weight, moment[0]);
  }
};

/// The update that a program chooses when it starts: one type where a configuration has the choice.
struct AnyUpdate {
  std::variant<AdamW, Sgd> chosen;

  /// Room for what any of them remembers; see `moment_names`.
  static constexpr std::array<std::string_view, 2> moments{};

  std::span<std::string_view const> names() const {
    return std::visit([](auto const& u) { return std::span<std::string_view const>(u.moments); },
                      chosen);
  }

  template <class Kernels, class T>
  void operator()(Kernels k, UpdateStep const& step, std::int64_t n, T const* gradient, T* weight,
                  std::array<T*, 2> const& moment) const {
    if (auto const* const adamw = std::get_if<AdamW>(&chosen))
      (*adamw)(k, step, n, gradient, weight, moment);
    else
      std::get<Sgd>(chosen)(k, step, n, gradient, weight, std::array{moment[0]});
  }
};

/// What an update remembers of every element.
template <class Update> std::span<std::string_view const> moment_names(Update const& update) {
  if constexpr (requires { update.names(); })
    return update.names();
  else
    return Update::moments;
}

}  // namespace nxd
