// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <type_traits>
#include <vector>

#include <nxd/core/random.hpp>
#include <nxd/plan/fit.hpp>
#include <nxd/plan/machine.hpp>

namespace nxd {

namespace detail {

/// Measures on all ranks at once, as in a step: what they share, they share here too.
template <class B, Communicator C> class Calibration {
  using K = typename B::kernels;
  using E = typename B::element;
  using S = accumulator_t<E>;  // of statistics, of sums of gradients, and of what is updated

 public:
  explicit Calibration(C comm)
      : comm_(std::move(comm)),
        memory_(pool),
        shorts_(std::is_same_v<E, float> ? 0 : pool),
        ids_(1 << 16) {
    Stream const noise(1, "calibration", 0);
    for (std::size_t i = 0; i < memory_.size(); ++i)
      memory_[i] = static_cast<float>(noise.uniform(i)) - 0.5F;
    for (std::size_t i = 0; i < shorts_.size(); ++i) shorts_[i] = narrow<E>(memory_[i]);
    for (std::size_t i = 0; i < ids_.size(); ++i)
      ids_[i] = static_cast<std::int32_t>(i * 37 % 1000);
  }

  void kernels(KernelPrices& to, double& peak) {
    for (auto& price : to.element) price = 0;
    to.call = seconds([&] { K::add(16, next(16), next(16), next(16)); });
    products(to, peak);
    elements(to);
    attentions(to);
  }

  void links(LinkPrices& to) {
    Line const all{0, 1, comm_.size(), comm_.rank()};
    if (all.count == 1) return;
    auto const price = [&](Exchange exchange, double messages, double share, auto const& talk) {
      // Short ones tell the price of a message, long ones that of a byte.
      auto const small = seconds([&] { talk(64); }), large = seconds([&] { talk(1 << 19); });
      auto const bytes = share * 4 * ((1 << 19) - 64);
      to[static_cast<std::size_t>(exchange)] = {small / messages,
                                                std::max(0.0, large - small) / bytes};
    };
    auto const n = static_cast<double>(all.count);
    auto const count = static_cast<std::size_t>(all.count);
    auto const in = [&](std::size_t size) {
      return std::span<float const>(sums(static_cast<std::int64_t>(size)), size);
    };
    auto const out = [&](std::size_t size) {
      return std::span<float>(sums(static_cast<std::int64_t>(size)), size);
    };
    price(Exchange::all_gather, n - 1, n - 1,
          [&](std::size_t size) { comm_.all_gather(all, in(size), out(size * count)); });
    price(Exchange::reduce_scatter, n - 1, (n - 1) / n, [&](std::size_t size) {
      auto const block = size / count;
      reduce_scatter(comm_, all, in(block * count), out(block));
    });
    price(Exchange::all_to_all, n - 1, (n - 1) / n, [&](std::size_t size) {
      auto const block = size / count;
      comm_.all_to_all(all, in(block * count), out(block * count));
    });
    price(Exchange::all_reduce, 2 * (n - 1), 2 * (n - 1) / n,
          [&](std::size_t size) { all_reduce(comm_, all, out(size)); });
    price(Exchange::broadcast, n - 1, n - 1,
          [&](std::size_t size) { comm_.broadcast(all, 0, out(size)); });
    // There and back, between neighbours.
    auto const other = all.place ^ 1;
    price(Exchange::send, 2, 2, [&](std::size_t size) {
      if (other >= all.count) return;
      if (all.place % 2 == 0)
        comm_.send(other, 1, in(size)), comm_.receive(other, 2, out(size));
      else
        comm_.receive(other, 1, out(size)), comm_.send(other, 2, in(size));
    });
    to[static_cast<std::size_t>(Exchange::receive)] = {0, 0};
    to[static_cast<std::size_t>(Exchange::barrier)] = {seconds([&] { comm_.barrier(); }), 0};
  }

 private:
  static constexpr std::size_t pool = std::size_t{12} << 20;  ///< elements: more than caches hold

  /// The next n elements of the pool: what a kernel works on is not what it has just worked on.
  E* next(std::int64_t n) {
    if constexpr (std::is_same_v<E, float>)
      return sums(n);
    else
      return shorts_.data() + advance(n);
  }
  S* sums(std::int64_t n) { return memory_.data() + advance(n); }

  std::size_t advance(std::int64_t n) {
    auto const size = static_cast<std::size_t>(n + 15) / 16 * 16;
    if (at_ + size > pool) at_ = 0;
    return std::exchange(at_, at_ + size);
  }

  /// Seconds that `work` takes, the mean over the ranks of their medians.
  double seconds(std::function<void()> const& work) {
    using Clock = std::chrono::steady_clock;
    auto const time = [&](std::int64_t times) {
      comm_.barrier();
      auto const start = Clock::now();
      for (std::int64_t i = 0; i < times; ++i) work();
      return std::chrono::duration<double>(Clock::now() - start).count() /
             static_cast<double>(times);
    };
    work();
    auto once = time(1);
    agree(once);
    auto const times = std::clamp<std::int64_t>(static_cast<std::int64_t>(0.01 / once), 1, 10000);
    std::array<double, 7> all{};
    for (auto& t : all) t = time(times);
    std::ranges::sort(all);
    agree(all[3]);
    return all[3];
  }

  /// The mean over the ranks.
  void agree(double& value) {
    all_reduce(comm_, Line{0, 1, comm_.size(), comm_.rank()}, std::span<double>(&value, 1));
    value /= static_cast<double>(comm_.size());
  }

  void products(KernelPrices& to, double& peak) {
    struct Shape {
      std::int64_t m, n, k;
    };
    constexpr Shape shapes[] = {{128, 128, 128},    {256, 256, 256},   {512, 512, 512},
                                {1024, 1024, 1024}, {64, 512, 512},    {512, 64, 512},
                                {512, 512, 64},     {1024, 256, 768},  {1024, 768, 256},
                                {256, 768, 1024},   {2048, 384, 1024}, {384, 1024, 2048},
                                {2048, 1024, 384},  {1024, 128, 384},  {128, 384, 1024}};
    std::vector<std::vector<double>> rows;
    peak = 0;
    for (auto const& shape : shapes) {
      auto const m = shape.m, n = shape.n, k = shape.k;
      // Forward, gradient of the input, gradient of the weight.
      Product const forms[] = {
          {{m, k, 0, n}, {n, 0, k, 1}, {k, 1, 1, 0}, {}, 0},
          {{m, k, 0, n}, {n, 0, 1, 1}, {k, 1, n, 0}, {}, 0},
          {{m, 1, 0, n}, {n, 0, 1, 1}, {k, m, n, 0}, {}, 0},
      };
      for (auto const& form : forms) {
        auto const t =
            seconds([&] { K::multiply(form, next(m * k), next(n * k), next(m * n), false); }) -
            to.call;
        auto const flops = 2.0 * static_cast<double>(m * n * k);
        peak = std::max(peak, flops / t);
        rows.push_back({static_cast<double>(m * n * k) / t, static_cast<double>(m * k) / t,
                        static_cast<double>(n * k) / t, static_cast<double>(m * n) / t});
      }
    }
    auto const fitted = fit_to_ones(rows);
    std::ranges::copy(fitted, to.product.begin());
  }

  void elements(KernelPrices& to) {
    constexpr std::int64_t rows = 512, columns = 512, n = rows * columns;
    auto const price = [&](Kernel kernel, std::function<void()> const& work) {
      auto const t = seconds(work) - to.call;
      to.element[static_cast<std::size_t>(kernel)] = std::max(t, 0.0) / static_cast<double>(n);
    };
    price(Kernel::add, [&] { K::add(n, next(n), next(n), next(n)); });
    if constexpr (!std::is_same_v<E, S>) {
      price(Kernel::cast, [&] { K::cast(n, sums(n), next(n)); });
      std::vector<Run> const runs{{1, 0, 0, n}};
      price(Kernel::cast_stochastic, [&] {
        K::cast_stochastic(std::span<Run const>(runs), Noise{{1, "calibration"}}, sums(n), next(n));
      });
    }
    price(Kernel::axpy, [&] { K::axpy(n, 1, next(n), next(n)); });
    price(Kernel::scale, [&] { K::scale(n, 2, next(n), next(n)); });
    price(Kernel::transpose_blocks, [&] { K::transpose_blocks(8, 64, n / 512, next(n), next(n)); });
    price(Kernel::sum_of_squares, [&] { sink_ += K::sum_of_squares(n, sums(n)); });
    price(Kernel::max_abs, [&] { sink_ += K::max_abs(n, sums(n)); });
    price(Kernel::rms_norm,
          [&] { K::rms_norm(rows, columns, 1e-5, next(n), next(columns), next(n), sums(rows)); });
    price(Kernel::rms_norm_pull, [&] {
      K::rms_norm_pull(rows, columns, next(n), next(columns), sums(rows), next(n), next(n),
                       sums(columns));
    });
    price(Kernel::softmax, [&] { K::softmax(rows, columns, 1, next(n), next(n)); });
    if constexpr (std::is_same_v<E, S>)
      price(Kernel::softmax_pull,
            [&] { K::softmax_pull(rows, columns, 1, next(n), next(n), next(n)); });
    price(Kernel::swiglu, [&] { K::swiglu(rows, columns, next(2 * n), next(n)); });
    price(Kernel::swiglu_pull,
          [&] { K::swiglu_pull(rows, columns, next(2 * n), next(n), next(2 * n)); });
    Rotary const turn{2, rows / 2, 8, columns / 8};
    price(Kernel::rotate, [&] { K::rotate(turn, next(n), sums(n), sums(n), next(n), 1); });
    Rows const look{rows, 0, 1000, columns};
    price(Kernel::gather_rows,
          [&] { K::gather_rows(look, ids_.data(), next(1000 * columns), next(n)); });
    price(Kernel::scatter_add_rows,
          [&] { K::scatter_add_rows(look, ids_.data(), next(n), sums(1000 * columns)); });
    CrossEntropy const loss{rows, columns, columns, 0, -100};
    price(Kernel::cross_entropy_stats,
          [&] { K::cross_entropy_stats(loss, next(n), ids_.data(), sums(4 * rows)); });
    price(Kernel::cross_entropy_pull, [&] {
      K::cross_entropy_pull(loss, next(n), ids_.data(), sums(rows), sums(rows), {0, 0, columns},
                            next(n));
    });
    std::vector<float> mean(n), square(n), weight(n);
    AdamWStep const adamw{1e-3, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1};
    price(Kernel::adamw,
          [&] { K::adamw(adamw, n, sums(n), weight.data(), mean.data(), square.data()); });
    SgdStep const sgd{1e-3, 0.9, 0, false, 0, false, 1};
    price(Kernel::sgd, [&] { K::sgd(sgd, n, sums(n), weight.data(), mean.data()); });
  }

  void attentions(KernelPrices& to) {
    std::array<double, 2> forward{}, pull{};
    constexpr std::array<std::int64_t, 2> dims{32, 128};
    for (std::size_t i = 0; i < 2; ++i) {
      Attention const s{.batch = 2,
                        .queries = 256,
                        .keys = 256,
                        .heads = 4,
                        .kv_heads = 4,
                        .group = 1,
                        .first_head = 0,
                        .head_dim = dims[i],
                        .scale = 0.1,
                        .causal = true};
      auto const n = s.batch * s.queries * s.heads * s.head_dim,
                 rows = s.batch * s.heads * s.queries;
      auto const *q = next(n), *k = next(n), *v = next(n);
      auto* const out = next(n);
      auto* const totals = sums(rows);
      forward[i] =
          (seconds([&] { K::attention(s, q, k, v, out, totals); }) - to.call) / scores_of(s);
      pull[i] = (seconds([&] {
                   K::attention_pull(s, q, k, v, out, totals, next(n), next(n), next(n), next(n));
                 }) -
                 to.call) /
                scores_of(s);
    }
    // A score costs price[0] + price[1] head_dim.
    auto const line = [&](std::array<double, 2> const& t) -> std::array<double, 2> {
      auto const slope = std::max(0.0, (t[1] - t[0]) / static_cast<double>(dims[1] - dims[0]));
      return {std::max(0.0, t[0] - slope * static_cast<double>(dims[0])), slope};
    };
    to.attention = line(forward);
    to.attention_pull = line(pull);
  }

  C comm_;
  std::vector<float> memory_;
  std::vector<E> shorts_;  // the same numbers, shorter
  std::vector<std::int32_t> ids_;
  std::size_t at_ = 0;
  double sink_ = 0;
};

}  // namespace detail

/// Measures what a plan needs to know of this machine, all ranks of `comm` at once, with the
/// kernels of B, over its elements, and the threads that each rank has. Takes some seconds.
template <class B, Communicator C>
Machine calibrate(C comm, std::int64_t cores, std::int64_t threads) {
  Machine machine;
  machine.source = "measured on " + std::to_string(comm.size()) + " ranks of " +
                   std::to_string(threads) + " threads";
  machine.cores = cores;
  machine.threads = threads;
  detail::Calibration<B, C> measure(comm);
  measure.kernels(machine.kernels, machine.peak_flops);
  measure.links(machine.within);
  machine.between = machine.within;
  return machine;
}

}  // namespace nxd
