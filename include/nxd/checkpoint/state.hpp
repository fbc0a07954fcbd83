// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <nxd/checkpoint/json_reader.hpp>
#include <nxd/checkpoint/json_writer.hpp>

namespace nxd {

/// The JSON text of a state, for `SaveRequest::state`: any type with an ordinary Boost-style
/// `serialize` function, member or free, and what the standard library makes of such.
///
///   struct Progress {
///     std::int64_t steps = 0;
///     std::map<std::string, double> rates;
///
///     template <class Archive> void serialize(Archive& a, unsigned) {
///       a & nxd::nvp("steps", steps) & nxd::nvp("rates", rates);
///     }
///   };
///   request.state = nxd::state_text(progress);
///   ...
///   auto const loaded = nxd::resume(comm, storage, pieces);
///   progress = nxd::parse_state<Progress>(loaded->state, loaded->entry);
///
/// What is written can be read: the text is parsed before it is handed out.
/// @throws Error(internal) naming the place if a text in it is no UTF-8 or has a NUL, or if it is
/// beyond `state_limits`
template <class T> std::string state_text(T const& state) {
  std::string const name = "a state that is to be saved";
  auto text = to_text(JsonWriter::json_of(state, detail::StatePlace{&name})) + "\n";
  try {
    parse_json(text, name, state_limits);
  } catch (CorruptInput const& reason) {
    throw Error(ExitCode::internal, reason.what());
  }
  return text;
}

/// The state that a text stands for. @throws CorruptInput naming `where` and the place in it
template <class T> T parse_state(std::string_view text, std::string const& where) {
  auto const json = parse_json(text, where, state_limits);
  T state{};
  JsonReader::read(json, state, detail::StatePlace{&where});
  return state;
}

}  // namespace nxd
