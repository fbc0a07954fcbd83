// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <nxd/checkpoint/archive.hpp>

namespace nxd {

/// An archive that a `serialize` function saves to, as with Boost: what it says with `&` or `<<`
/// becomes an object if its members are named, an array if they are not. Integers of 2^53 and more
/// stand as texts, what is no number as "nan", "inf" and "-inf"; enumerators as their numbers, an
/// optional that is empty as null, maps by text as objects and other maps as arrays of pairs.
/// @throws Error(internal) naming the place if members are named and not named, or a name is there
/// twice
class JsonWriter {
 public:
  using is_saving = std::true_type;
  using is_loading = std::false_type;

  explicit JsonWriter(detail::StatePlace const& at) : at_(at) {}

  template <class T> JsonWriter& operator&(T const& x) {
    if constexpr (detail::NamedMember<T>) {
      std::string const name = x.name();
      if (!elements_.empty()) misuse("has members with names and without");
      if (members_.contains(name)) misuse("has two members '" + name + "'");
      members_[name] = json_of(std::as_const(x.value()), at_.at(name));
    } else {
      if (!members_.empty()) misuse("has members with names and without");
      elements_.push_back(json_of(x, at_.at(elements_.size())));
    }
    return *this;
  }
  template <class T> JsonWriter& operator<<(T const& x) { return *this & x; }

  /// The value that stands for `x`.
  template <class T> static Json json_of(T const& x, detail::StatePlace const& at) {
    if (at.depth > state_limits.depth + 1)
      throw Error(ExitCode::internal, at.text() + ": is more than " +
                                          std::to_string(state_limits.depth) + " levels deep");
    if constexpr (detail::Serialized<JsonWriter, T>)
      return of_members(x, at);
    else if constexpr (std::is_enum_v<T>)
      return json_of(static_cast<std::underlying_type_t<T>>(x), at);
    else if constexpr (detail::Whole<T>)
      return of_whole(x);
    else if constexpr (detail::Real<T>)
      return of_real(double{x});
    else if constexpr (detail::is_optional<T>)
      return x ? json_of(*x, at) : Json();
    else if constexpr (detail::TextMap<T>)
      return of_map(x, at);
    else if constexpr (detail::Sequence<T> || detail::Ordered<T> || std::is_bounded_array_v<T>)
      return of_elements(x, at);
    else if constexpr (detail::Tuple<T>)
      return of_tuple(x, at);
    else {
      static_assert(detail::can_be_stored<T>,
                    "state: this type has no serialize(Archive&, unsigned), member or free, and is "
                    "none of the standard library that can be stored");
      return Json(x);
    }
  }

 private:
  template <class T> static Json of_members(T const& x, detail::StatePlace const& at) {
    JsonWriter members(at);
    unsigned const current = state_version<T>;
    if (current > 0) members& nvp("version", current);
    detail::serialize_into(members, const_cast<T&>(x), current);  // saving changes nothing
    if (members.elements_.empty()) return Json(std::move(members.members_));
    return Json(std::move(members.elements_));
  }

  template <class T> static Json of_whole(T x) {
    if (std::cmp_less(x, detail::exact_in_json) && std::cmp_greater(x, -detail::exact_in_json))
      return Json(static_cast<std::int64_t>(x));
    return Json(std::to_string(x));
  }

  static Json of_real(double x) {
    if (std::isnan(x)) return Json("nan");
    if (std::isinf(x)) return Json(x < 0 ? "-inf" : "inf");
    return Json(x);
  }

  template <class T> static Json of_map(T const& x, detail::StatePlace const& at) {
    Json::Object object;
    for (auto const& [key, value] : x) object[key] = json_of(value, at.at(key));
    return Json(std::move(object));
  }

  template <class T> static Json of_elements(T const& x, detail::StatePlace const& at) {
    Json::Array array;
    for (auto const& element : x) array.push_back(json_of(element, at.at(array.size())));
    return Json(std::move(array));
  }

  template <class T> static Json of_tuple(T const& x, detail::StatePlace const& at) {
    Json::Array array;
    std::apply(
        [&](auto const&... part) { (array.push_back(json_of(part, at.at(array.size()))), ...); },
        x);
    return Json(std::move(array));
  }

  [[noreturn]] void misuse(std::string const& what) const {
    throw Error(ExitCode::internal, at_.text() + ": " + what);
  }

  detail::StatePlace at_;
  Json::Object members_;
  Json::Array elements_;
};

}  // namespace nxd
