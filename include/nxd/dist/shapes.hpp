// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/dist/tensor.hpp>

namespace nxd::detail {

// Sets of dimensions, in order.

template <class D, class... Es> inline constexpr bool among = (std::same_as<D, Es> || ...);
template <bool Keep, class D> using dim_if = std::conditional_t<Keep, Shape<D>, Shape<>>;

template <class... Ds, class... Es> Shape<Ds..., Es...> operator+(Shape<Ds...>, Shape<Es...>);

template <class... Ds, class... Es>
auto common(Shape<Ds...>, Shape<Es...>)
    -> decltype((Shape<>{} + ... + dim_if<among<Ds, Es...>, Ds>{}));

template <class... Ds, class... Es>
auto without(Shape<Ds...>, Shape<Es...>)
    -> decltype((Shape<>{} + ... + dim_if<!among<Ds, Es...>, Ds>{}));

template <class D, class... Ds> consteval bool has_dim(Shape<Ds...>) { return among<D, Ds...>; }

}  // namespace nxd::detail

namespace nxd {

/// D is a dimension of shape S.
template <class D, class S> inline constexpr bool is_dim_of = detail::has_dim<D>(S{});

}  // namespace nxd
