// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the fuzz targets share. Each `<parser>_fuzz.cpp` includes this once and defines the three
// functions below; libFuzzer has the main. run.sh runs it.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/core/error.hpp>

namespace fuzz {

/// Inputs to begin with.
std::vector<std::string> seeds();

/// Words that mean something to the parser.
std::vector<std::string> words();

/// Reads an input. It may refuse it with an `nxd::Error`, and do nothing else that ends this.
void read(std::string_view input);

/// What stands for the input's name.
inline std::string const file = "the/file";

/// Ends the process unless what was accepted holds together.
inline void require(bool holds, char const* fact) {
  if (holds) return;
  std::fprintf(stderr, "It does not hold that %s.\n", fact);
  std::abort();
}

/// Takes one byte off an input: which of several readers it is for, or how long a part is.
inline std::uint8_t take_byte(std::string_view& input) {
  if (input.empty()) return 0;
  auto const byte = static_cast<std::uint8_t>(input[0]);
  input.remove_prefix(1);
  return byte;
}

inline void require_sentence(std::string const& said) {
  bool const named = said.find(file) != said.npos || said.starts_with("command line:");
  require(named, "a refusal names what it refuses");
  require(said.size() < 5000, "a refusal is short");
  for (char const c : said)
    require(static_cast<unsigned char>(c) >= 0x20, "a refusal is one line of text");
}

/// Writes the seeds into `folder/corpus`, and the words into `folder/words`, as libFuzzer reads
/// them.
inline void write_start(std::string const& folder) {
  int number = 0;
  for (auto const& seed : seeds())
    std::ofstream(folder + "/corpus/" + std::to_string(number++), std::ios::binary) << seed;
  std::ofstream dictionary(folder + "/words");
  for (auto const& word : words()) {
    dictionary << '"';
    for (char const c : word) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(c));
      dictionary << hex;
    }
    dictionary << "\"\n";
  }
}

}  // namespace fuzz

/// With NXD_FUZZ_START=FOLDER the program writes what to begin with, and ends.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (auto const* const folder = std::getenv("NXD_FUZZ_START")) {
    fuzz::write_start(folder);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  try {
    fuzz::read({reinterpret_cast<char const*>(data), size});
  } catch (nxd::Error const& refusal) {
    fuzz::require_sentence(refusal.what());
  }
  return 0;
}
