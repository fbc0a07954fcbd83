// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <nxd/checkpoint/json.hpp>

namespace nxd {

/// A member of a type and its name, as a `serialize` function says them to an archive. Boost's
/// `nvp` is one too.
template <class T> struct Nvp {
  char const* called;
  T* held;

  char const* name() const { return called; }
  T& value() const { return *held; }
};

/// `archive & nvp("rate", rate_)`.
template <class T> Nvp<T> nvp(char const* name, T& value) { return {name, &value}; }

/// What a type whose `serialize` is private has as its friend.
struct StateAccess {
  template <class Archive, class T>
  static auto serialize(Archive& archive, T& x, unsigned of_version)
      -> decltype(x.serialize(archive, of_version), void()) {
    x.serialize(archive, of_version);
  }
};

/// The version of a type with named members, which its `serialize` is given; when a state is read,
/// that which it was written with. Specialised, as `= 1` and so on, when members come or go.
template <class T> inline constexpr unsigned state_version = 0;

/// How large a state may be, and how deep. What is larger belongs into tensors.
inline constexpr JsonLimits state_limits{.bytes = std::size_t{16} << 20, .depth = 64};

namespace detail {

template <class A, class T>
concept HasSerialize = requires(A& a, T& x) {
  StateAccess::serialize(a, x, 0u);
};
template <class A, class T>
concept HasFreeSerialize = requires(A& a, T& x) {
  serialize(a, x, 0u);
};
template <class A, class T>
concept Serialized = HasSerialize<A, T> || HasFreeSerialize<A, T>;

/// Calls the `serialize` of a type, member or not.
template <class A, class T> void serialize_into(A& archive, T& x, unsigned of_version) {
  if constexpr (HasSerialize<A, T>)
    StateAccess::serialize(archive, x, of_version);
  else
    serialize(archive, x, of_version);
}

template <class T>
concept NamedMember = requires(T const& member) {
  { member.name() } -> std::same_as<char const*>;
  {member.value()};
  requires std::is_lvalue_reference_v<decltype(member.value())>;
};

/// Integers but characters, which are neither numbers nor texts.
template <class T>
concept Whole = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
                !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
                !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;
template <class T>
concept Real = std::same_as<T, float> || std::same_as<T, double>;

template <class T> inline constexpr bool is_optional = false;
template <class T> inline constexpr bool is_optional<std::optional<T>> = true;

/// `std::map` and `std::unordered_map` by text; other maps and sets only in an order.
template <class T>
concept TextMap = requires {
  typename T::mapped_type;
}
&&std::same_as<typename T::key_type, std::string>;
template <class T>
concept Ordered = requires {
  typename T::key_type;
  typename T::key_compare;
};
/// `std::vector`, `std::deque`, `std::list`.
template <class T>
concept Sequence = requires(T& all, typename T::value_type& x) {
  all.push_back(x);
  all.clear();
}
&&!std::same_as<T, std::string>;
/// `std::pair`, `std::tuple`, `std::array`.
template <class T>
concept Tuple = requires {
  std::tuple_size<T>::value;
};

template <class T>
inline constexpr bool can_be_stored =
    std::same_as<T, Json> || std::same_as<T, bool> || Whole<T> || Real<T> || std::is_enum_v<T> ||
    is_optional<T> || std::same_as<T, std::string> || TextMap<T> || Ordered<T> || Sequence<T> ||
    Tuple<T> || std::is_bounded_array_v<T>;

/// From here on an integer stands as a text, for readers that take numbers for doubles.
inline constexpr std::int64_t exact_in_json = std::int64_t{1} << 53;

/// Where in a state an archive is: in the member or element of an outer place.
struct StatePlace {
  std::string const* file;
  StatePlace const* outer = nullptr;
  std::string_view key{};
  std::size_t index = 0;
  std::size_t depth = 1;

  StatePlace at(std::string_view name) const { return {file, this, name, 0, depth + 1}; }
  StatePlace at(std::size_t i) const { return {file, this, {}, i, depth + 1}; }

  /// "schedule.rates[3]"; nothing for the whole.
  std::string path() const {
    if (outer == nullptr) return {};
    auto const before = outer->path();
    if (key.data() == nullptr) return before + "[" + std::to_string(index) + "]";
    return (before.empty() ? "" : before + ".") + shown_key(key);
  }
  /// "the/file: schedule.rates[3]".
  std::string text() const { return outer == nullptr ? *file : *file + ": " + path(); }
};

}  // namespace detail

}  // namespace nxd
