// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>

#include <nxd/comm/communicator.hpp>
#include <nxd/dist/tensor.hpp>
#include <nxd/tensor/meter.hpp>

namespace nxd {

/// How one rank holds and computes on elements.
///
///   B::element                 what models compute in, unless they say otherwise
///   B::buffer<E>               a handle to contiguous elements; copies of a handle share them
///   B::allocate<E>(n)          a handle to n elements, not yet set
///   B::data(buffer)            where they lie: E*
///   B::is_shared(buffer)       another handle shares them, and so they must not be changed
///   B::kernels                 a struct of static functions on pointers and sizes, such as
///                              `PlainKernels<float>`; a backend of one's own inherits what it does
///                              not do better
template <class B>
concept Backend = requires(typename B::template buffer<float> const& buffer) {
  typename B::element;
  typename B::kernels;
  { B::has_elements } -> std::convertible_to<bool>;
  {
    B::template allocate<float>(std::int64_t{})
    } -> std::same_as<typename B::template buffer<float>>;
  { B::is_shared(buffer) } -> std::convertible_to<bool>;
};

/// What models keep their weights in, and what passes from one of their blocks to the next: if the
/// backend does not say `B::weight` and `B::residual`, what they compute in.
template <class B> struct Numbers {
  using weight = typename B::element;
  using residual = typename B::element;
};
template <class B>
requires requires {
  typename B::weight;
  typename B::residual;
}
struct Numbers<B> {
  using weight = typename B::weight;
  using residual = typename B::residual;
};

/// The part of a tensor X that one rank holds, as backend B holds it. Copies share the elements.
template <class X, class B> struct Local {
  using tensor = X;
  [[no_unique_address]] typename B::template buffer<typename X::element> data;
};

/// The elements of x, row-major over what the rank holds.
template <class X, class B>
constexpr typename X::element* data([[maybe_unused]] Local<X, B> const& x) {
  if constexpr (B::has_elements)
    return B::data(x.data);
  else
    return nullptr;
}

/// The backend's kernels are called, if only to count what they would do.
template <class B> inline constexpr bool has_kernels = B::has_elements || requires {
  requires B::counts_work;
};

/// Calls `work(kernels)` where there is somebody to work, or to count the work.
template <class B> constexpr void compute(auto const& work) {
  if constexpr (has_kernels<B>) work(typename B::kernels{});
}

/// Calls `talk(comm)` where there are elements to exchange, or a record of what would be.
template <class B, class C> constexpr void exchange(C& comm, auto const& talk) {
  if constexpr (B::has_elements || keeps_record<C>) talk(comm);
}

/// x under another type of the same elements in the same order: nothing is copied.
template <class Y, class X, class B> constexpr Local<Y, B> as(Local<X, B> const& x) {
  return {x.data};
}

}  // namespace nxd
