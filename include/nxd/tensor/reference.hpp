// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include <nxd/tensor/kernels/plain.hpp>
#include <nxd/tensor/local.hpp>

namespace nxd {

/// The backend that anyone can check by reading: elements in a vector, plain loops. In double it is
/// what the other backends are tested against.
template <class T = double> struct Reference {
  using element = T;
  using kernels = PlainKernels<T>;
  static constexpr bool has_elements = true;

  template <class E> using buffer = std::shared_ptr<std::vector<E>>;

  template <class E> static buffer<E> allocate(std::int64_t n) {
    return std::make_shared<std::vector<E>>(static_cast<std::size_t>(n));
  }
  template <class E> static E* data(std::shared_ptr<std::vector<E>> const& buffer) {
    return buffer->data();
  }
  template <class E> static bool is_shared(std::shared_ptr<std::vector<E>> const& buffer) {
    return buffer.use_count() > 1;
  }
};

static_assert(Backend<Reference<>>);

}  // namespace nxd
