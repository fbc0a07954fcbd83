// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace nxd {

/// How the program ends. The numbers are part of the interface: launchers and scripts act on them.
enum class ExitCode : int {
  done = 0,
  config = 64,      ///< a wrong key, value or plan
  corrupt = 65,     ///< a file that is not what it claims to be
  internal = 70,    ///< a mistake of the library
  desync = 71,      ///< ranks that should agree do not
  hang = 72,        ///< a rank that stopped answering
  non_finite = 73,  ///< a loss or a gradient that is not a number
  io = 74,          ///< a file that cannot be read or written
  requeue = 75,     ///< saved, and wants to go on in a new job
};

/// Anything that ends a run in an orderly way: one sentence, and the exit code that goes with it.
struct Error : std::runtime_error {
  ExitCode code;

  Error(ExitCode c, std::string const& sentence) : std::runtime_error(sentence), code(c) {}
};

/// What a file says, as part of a sentence: on one line, without what a terminal would obey, and
/// cut where it is longer than `most`.
inline std::string on_one_line(std::string text, std::size_t most) {
  if (text.size() > most) text = text.substr(0, most) + " ...";
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

/// A configuration that cannot be run: names the key and the mend.
struct ConfigError : Error {
  explicit ConfigError(std::string const& sentence) : Error(ExitCode::config, sentence) {}
};

/// A file that lies about itself: names the file and what is wrong with it.
struct CorruptInput : Error {
  explicit CorruptInput(std::string const& sentence)
      : Error(ExitCode::corrupt, on_one_line(sentence, 4000)) {}
};

/// The system refused to read or write: names the path and the reason.
struct IoError : Error {
  explicit IoError(std::string const& sentence) : Error(ExitCode::io, sentence) {}
};

}  // namespace nxd
