// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include <nxd/tensor/kernels/plain.hpp>
#include <nxd/tensor/local.hpp>

namespace own {

/// A product of one's own: every element of the result is summed in double. All else is inherited.
struct Kernels : nxd::PlainKernels<float> {
  static void multiply(nxd::Product const& p, float const* x, float const* y, float* z,
                       bool accumulate) {
    std::vector<nxd::Loop> places, terms;  // those that move the result, and those that do not
    auto const sort = [&](nxd::Loop const& loop) {
      (loop.z != 0 ? places : terms).push_back(loop);
    };
    for (int i = 0; i < p.batches; ++i) sort(p.batch[static_cast<std::size_t>(i)]);
    for (auto const& loop : {p.rows, p.columns, p.summed}) sort(loop);
    each(places, 0, {}, [&](nxd::Loop const& at) {
      double sum = accumulate ? z[at.z] : 0;
      each(terms, 0, at, [&](nxd::Loop const& term) {
        sum += static_cast<double>(x[term.x]) * static_cast<double>(y[term.y]);
      });
      z[at.z] = static_cast<float>(sum);
    });
  }

 private:
  static void each(std::vector<nxd::Loop> const& loops, std::size_t depth, nxd::Loop at,
                   auto const& work) {
    if (depth == loops.size()) return work(at);
    auto const& loop = loops[depth];
    for (std::int64_t i = 0; i < loop.extent; ++i) {
      each(loops, depth + 1, at, work);
      at = {1, at.x + loop.x, at.y + loop.y, at.z + loop.z};
    }
  }
};

/// A tensor backend of one's own: elements in shared arrays.
struct Backend {
  using element = float;
  using kernels = Kernels;
  static constexpr bool has_elements = true;

  template <class E> using buffer = std::shared_ptr<E[]>;

  template <class E> static buffer<E> allocate(std::int64_t n) {
    return buffer<E>(new E[static_cast<std::size_t>(n)]);
  }
  template <class E> static E* data(std::shared_ptr<E[]> const& buffer) { return buffer.get(); }
  template <class E> static bool is_shared(std::shared_ptr<E[]> const& buffer) {
    return buffer.use_count() > 1;
  }
};

static_assert(nxd::Backend<Backend>);

}  // namespace own
