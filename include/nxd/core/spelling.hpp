// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nxd {

/// An enumeration whose values have spellings: `names_of(E)`, in the order of the values, from 0
/// on.
template <class E>
concept Spelled = requires(E e) {
  names_of(e).size();
};

/// How a value is written everywhere: in files, on command lines, in reports.
template <Spelled E> std::string spelling(E value) {
  return std::string(names_of(value)[static_cast<std::size_t>(value)]);
}

}  // namespace nxd
