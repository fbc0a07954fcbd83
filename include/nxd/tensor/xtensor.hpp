// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include <xtensor/xadapt.hpp>
#include <xtensor/xtensor.hpp>

#include <nxd/tensor/arena.hpp>
#include <nxd/tensor/kernels/bf16.hpp>
#include <nxd/tensor/kernels/simd.hpp>
#include <nxd/tensor/local.hpp>

namespace nxd {

/// The backend that trains: elements in an `xt::xtensor` on the thread's arena, kernels of xsimd
/// and BLAS. A buffer is flat; `view` gives it the dimensions of its tensor.
struct Xt {
  using element = float;
  using kernels = SimdKernels;
  static constexpr bool has_elements = true;

  template <class T> using allocator = ArenaAllocator<T>;
  template <class E>
  using storage = xt::xtensor<E, 1, xt::layout_type::row_major, ArenaAllocator<E>>;
  template <class E> using buffer = std::shared_ptr<storage<E>>;

  template <class E> static buffer<E> allocate(std::int64_t n) {
    using Extents = typename storage<E>::shape_type;
    return std::allocate_shared<storage<E>>(ArenaAllocator<storage<E>>{},
                                            Extents{static_cast<std::size_t>(n)});
  }
  template <class E>
  static E* data(
      std::shared_ptr<xt::xtensor<E, 1, xt::layout_type::row_major, ArenaAllocator<E>>> const&
          buffer) {
    return buffer->data();
  }
  template <class E> static bool is_shared(std::shared_ptr<E> const& buffer) {
    return buffer.use_count() > 1;
  }

  static Meter& meter() { return this_arena().meter(); }
};

static_assert(Backend<Xt>);

/// The same with elements of bf16: activations, weights and what is sent are half as long. Sums,
/// statistics and the gradients of weights are floats.
struct XtBf16 : Xt {
  using element = bf16;
  using kernels = Bf16Kernels;
};

static_assert(Backend<XtBf16>);

/// A rank's part of x as an xtensor expression, to look at, to slice, to print: no element is
/// copied. Not for arithmetic in a training step, where kernels are many times faster.
template <class X, std::derived_from<Xt> B> auto view(auto const& plan, Local<X, B> const& x) {
  return [&]<class... Ds>(Shape<Ds...>) {
    std::array<std::size_t, sizeof...(Ds)> const extents{
        static_cast<std::size_t>(X::template local_extent<Ds>(plan))...};
    return xt::adapt(data(x), static_cast<std::size_t>(X::local_size(plan)), xt::no_ownership(),
                     extents);
  }(typename X::shape{});
}

}  // namespace nxd
