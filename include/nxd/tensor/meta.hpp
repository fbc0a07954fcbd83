// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/local.hpp>

namespace nxd {

/// The backend without elements: running a model on it costs nothing and yields the exact plan of
/// arithmetic and communication. T is the element type that it pretends to have.
template <class T> struct Meta {
  using element = T;
  static constexpr bool has_elements = false;

  struct kernels {};
  struct Nothing {};
  template <class> using buffer = Nothing;

  template <class> static constexpr Nothing allocate(std::int64_t) { return {}; }
  static constexpr T* data(Nothing) { return nullptr; }
  static constexpr bool is_shared(Nothing) { return false; }
};

static_assert(Backend<Meta<float>>);

}  // namespace nxd
