// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fstream>
#include <ios>
#include <string>

#include <nxd/core/error.hpp>

namespace nxd {

/// All bytes of a file that has no more than `most`; of one that never ends (a device, a pipe) no
/// more than that is read. Memory: what is read, no more.
/// @throws IoError if it cannot be read, CorruptInput if it is longer
inline std::string read_file_text(std::string const& path, std::size_t most) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError(path + ": cannot be read; check the path");
  std::string text, part(1 << 16, '\0');
  while (file.read(part.data(), static_cast<std::streamsize>(part.size())) || file.gcount() > 0) {
    text.append(part, 0, static_cast<std::size_t>(file.gcount()));
    if (text.size() > most)
      throw CorruptInput(path + ": has more than the " + std::to_string(most) +
                         " bytes that are allowed");
  }
  if (file.bad()) throw IoError(path + ": cannot be read; is it a folder?");
  return text;
}

}  // namespace nxd
