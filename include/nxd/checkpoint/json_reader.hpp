// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <nxd/checkpoint/archive.hpp>

namespace nxd {

/// An archive that a `serialize` function loads from, with `&` or `>>`: what `JsonWriter` makes,
/// and nothing else. @throws CorruptInput naming file and place if a member or element is missing,
/// is not known, or is of another type or out of its range
class JsonReader {
 public:
  using is_saving = std::false_type;
  using is_loading = std::true_type;

  JsonReader(Json const& json, detail::StatePlace const& at) : json_(&json), at_(at) {}

  template <class T> JsonReader& operator&(T&& x) {
    if constexpr (detail::NamedMember<std::remove_cvref_t<T>>) {
      auto const found = members().find(x.name());
      if (found == members().end()) refuse(at_, "has no '" + std::string(x.name()) + "'");
      taken_.insert(found->first);
      read(found->second, x.value(), at_.at(found->first));
    } else {
      auto const& all = as<Json::Array>(*json_, at_, "an array");
      if (next_ == all.size()) refuse(at_, "has too few elements, " + std::to_string(next_));
      read(all[next_], x, at_.at(next_));
      ++next_;
    }
    return *this;
  }
  template <class T> JsonReader& operator>>(T&& x) { return *this & std::forward<T>(x); }

  /// Makes `x` what `json` stands for.
  template <class T> static void read(Json const& json, T& x, detail::StatePlace const& at) {
    if constexpr (detail::Serialized<JsonReader, T>)
      read_members(json, x, at);
    else if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> number{};
      read(json, number, at);
      x = static_cast<T>(number);
    } else if constexpr (std::same_as<T, Json>)
      x = json;
    else if constexpr (std::same_as<T, bool>)
      x = as<bool>(json, at, "true or false");
    else if constexpr (std::same_as<T, std::string>)
      x = as<std::string>(json, at, "a text");
    else if constexpr (detail::Whole<T>)
      read_whole(json, x, at);
    else if constexpr (detail::Real<T>)
      read_real(json, x, at);
    else if constexpr (detail::is_optional<T>)
      read_optional(json, x, at);
    else if constexpr (detail::TextMap<T>)
      read_map(json, x, at);
    else if constexpr (detail::Sequence<T> || detail::Ordered<T>)
      read_elements(json, x, at);
    else if constexpr (std::is_bounded_array_v<T> || detail::Tuple<T>)
      read_fixed(json, x, at);
    else
      static_assert(detail::can_be_stored<T>,
                    "state: this type has no serialize(Archive&, unsigned), member or free, and is "
                    "none of the standard library that can be stored");
  }

 private:
  using Place = detail::StatePlace;

  [[noreturn]] static void refuse(Place const& at, std::string const& what) {
    throw CorruptInput(at.text() + ": " + what);
  }
  template <class V> static V const& as(Json const& json, Place const& at, char const* wanted) {
    if (auto const* found = std::get_if<V>(&json.value)) return *found;
    refuse(at, std::string("is not ") + wanted);
  }
  Json::Object const& members() const { return as<Json::Object>(*json_, at_, "an object"); }

  template <class T> static void read_members(Json const& json, T& x, Place const& at) {
    JsonReader members(json, at);
    unsigned written = state_version<T>;
    if constexpr (state_version<T> != 0) {
      if (members.members().contains("version"))
        members& nvp("version", written);
      else
        written = 0;
      if (written > state_version<T>)
        refuse(at, "has the version " + std::to_string(written) + ", this program reads " +
                       std::to_string(state_version<T>) + "; use a newer program");
    }
    detail::serialize_into(members, x, written);
    members.finish();
  }

  /// All that is there has been read.
  void finish() const {
    if (auto const* array = std::get_if<Json::Array>(&json_->value)) {
      if (next_ == array->size()) return;
      refuse(at_,
             "has " + std::to_string(array->size()) + " elements, not " + std::to_string(next_));
    }
    for (auto const& [key, value] : members())
      if (!taken_.contains(key)) refuse(at_.at(key), "is not known");
  }

  template <class T> static void read_whole(Json const& json, T& x, Place const& at) {
    if (auto const* i = std::get_if<std::int64_t>(&json.value);
        i != nullptr && is_short(*i) && std::in_range<T>(*i)) {
      x = static_cast<T>(*i);
      return;
    }
    if (auto const* text = std::get_if<std::string>(&json.value)) {
      auto const end = text->data() + text->size();
      auto const [stopped, error] = std::from_chars(text->data(), end, x);
      if (error == std::errc{} && stopped == end && !is_short(x) && std::to_string(x) == *text)
        return;
    }
    refuse(at, "is not an integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                   std::to_string(std::numeric_limits<T>::max()));
  }
  template <class T> static bool is_short(T x) {
    return std::cmp_less(x, detail::exact_in_json) && std::cmp_greater(x, -detail::exact_in_json);
  }

  template <class T> static void read_real(Json const& json, T& x, Place const& at) {
    constexpr auto infinite = std::numeric_limits<T>::infinity();
    if (auto const* text = std::get_if<std::string>(&json.value)) {
      if (*text == "nan") x = std::numeric_limits<T>::quiet_NaN();
      if (*text == "inf") x = infinite;
      if (*text == "-inf") x = -infinite;
      if (*text == "nan" || *text == "inf" || *text == "-inf") return;
    }
    auto const* real = std::get_if<double>(&json.value);
    auto const* whole = std::get_if<std::int64_t>(&json.value);
    if (real != nullptr && std::abs(*real) <= double{std::numeric_limits<T>::max()})
      x = static_cast<T>(*real);
    else if (whole != nullptr && is_short(*whole))
      x = static_cast<T>(*whole);
    else
      refuse(at, std::same_as<T, float> ? "is not a number of 32 bits" : "is not a number");
  }

  template <class T> static void read_optional(Json const& json, T& x, Place const& at) {
    using Held = typename T::value_type;
    static_assert(!detail::is_optional<Held> && !std::same_as<Held, Json>,
                  "state: an optional of what may be null itself cannot be told apart");
    x.reset();
    if (!std::holds_alternative<std::nullptr_t>(json.value)) read(json, x.emplace(), at);
  }

  template <class T> static void read_map(Json const& json, T& x, Place const& at) {
    x.clear();
    for (auto const& [key, value] : as<Json::Object>(json, at, "an object"))
      read(value, x[key], at.at(key));
  }

  template <class T> static void read_elements(Json const& json, T& x, Place const& at) {
    x.clear();
    auto const& all = as<Json::Array>(json, at, "an array");
    for (std::size_t i = 0; i < all.size(); ++i) {
      if constexpr (requires { typename T::mapped_type; }) {
        std::pair<typename T::key_type, typename T::mapped_type> entry{};
        read(all[i], entry, at.at(i));
        if (!x.insert(std::move(entry)).second) refuse(at.at(i), "has a key that is there already");
      } else {
        typename T::value_type element{};
        read(all[i], element, at.at(i));
        if constexpr (!detail::Ordered<T>)
          x.push_back(std::move(element));
        else if (!x.insert(std::move(element)).second)
          refuse(at.at(i), "is there already");
      }
    }
  }

  template <class T> static void read_fixed(Json const& json, T& x, Place const& at) {
    constexpr auto size = [] {
      if constexpr (std::is_bounded_array_v<T>)
        return std::extent_v<T>;
      else
        return std::tuple_size_v<T>;
    }();
    auto const& all = as<Json::Array>(json, at, "an array");
    if (all.size() != size)
      refuse(at, "has " + std::to_string(all.size()) + " elements, not " + std::to_string(size));
    std::size_t i = 0;
    auto const next = [&](auto& part) {
      read(all[i], part, at.at(i));
      ++i;
    };
    if constexpr (std::is_bounded_array_v<T>)
      for (auto& part : x) next(part);
    else
      std::apply([&](auto&... part) { (next(part), ...); }, x);
  }

  Json const* json_;
  Place at_;
  std::set<std::string_view> taken_;
  std::size_t next_ = 0;
};

}  // namespace nxd
