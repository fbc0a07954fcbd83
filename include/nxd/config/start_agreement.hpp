// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <nxd/checkpoint/agree.hpp>
#include <nxd/checkpoint/crc32c.hpp>
#include <nxd/checkpoint/digest.hpp>
#include <nxd/comm/communicator.hpp>
#include <nxd/core/random.hpp>
#include <nxd/core/version.hpp>
#include <nxd/data/mapped_file.hpp>
#include <nxd/train/config_text.hpp>

namespace nxd {

namespace detail {

/// The lines of canonical YAML as "a.b.c: value".
inline std::vector<std::string> flat_lines(std::string const& yaml) {
  std::vector<std::string> path, lines;
  std::istringstream in(yaml);
  for (std::string line; std::getline(in, line);) {
    auto const depth = line.find_first_not_of(' ') / 2;
    auto const text = line.substr(2 * depth);
    path.resize(depth);
    std::string at;
    for (auto const& name : path) at += name + ".";
    if (text.ends_with(':'))
      path.push_back(text.substr(0, text.size() - 1));
    else
      lines.push_back(at + text);
  }
  return lines;
}

/// What rank 0's lines say other than this rank's, as a user would say it; at most five keys.
inline std::string differences(std::vector<std::string> const& mine,
                               std::vector<std::string> const& first) {
  std::string out;
  int found = 0;
  for (std::size_t i = 0; i < mine.size() && i < first.size(); ++i) {
    if (mine[i] == first[i] || ++found > 5) continue;
    auto const value = [](std::string const& line) { return line.substr(line.find(": ") + 2); };
    out += (out.empty() ? "" : ", ") + mine[i].substr(0, mine[i].find(": ")) + " is " +
           value(mine[i]) + ", not " + value(first[i]);
  }
  return found > 5 ? out + " and " + std::to_string(found - 5) + " more" : out;
}

}  // namespace detail

/// All ranks found the same under `what`. @throws ConfigError naming the first rank that differs
template <Communicator C>
void check_agreement(C& comm, std::string const& what, std::uint64_t fingerprint) {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(comm.size()));
  std::vector<std::uint64_t> const mine{fingerprint};
  comm.all_gather({0, 1, comm.size(), comm.rank()}, std::span<std::uint64_t const>(mine),
                  std::span<std::uint64_t>(all));
  for (std::size_t r = 1; r < all.size(); ++r)
    if (all[r] != all[0])
      throw ConfigError("rank " + std::to_string(r) + " has another " + what +
                        " than rank 0; start all ranks with the same files");
}

namespace detail {

/// What a file holds, as far as ranks compare it: its size, and a CRC of its first and last 64 MiB.
inline std::string file_line(std::string const& path) {
  constexpr std::size_t most = std::size_t{64} << 20;
  try {
    MappedFile const file(path);
    auto const bytes = file.bytes();
    auto const sum = crc32c(bytes.first(std::min(bytes.size(), most))) ^
                     hash(std::to_string(crc32c(bytes.last(std::min(bytes.size(), most)))));
    return std::to_string(bytes.size()) + " bytes, " + hex(sum);
  } catch (IoError const&) {
    return "cannot be read";
  }
}

/// The first file in which another rank's list and rank 0's differ, as a user would say it.
inline std::string file_difference(std::string const& first, std::string const& other,
                                   std::size_t rank) {
  auto const files = [](std::string const& text) {
    std::map<std::string, std::string> all;
    std::istringstream in(text);
    for (std::string path, line; std::getline(in, path) && std::getline(in, line);)
      all[path] = line;
    return all;
  };
  auto const ours = files(first), theirs = files(other);
  for (auto const& [path, line] : ours) {
    auto const found = theirs.find(path);
    if (found == theirs.end()) return path + " is missing on rank " + std::to_string(rank);
    if (found->second != line) return path + " is another file";
  }
  for (auto const& [path, line] : theirs)
    if (!ours.contains(path)) return path + " is on rank " + std::to_string(rank) + " alone";
  return {};
}

}  // namespace detail

/// All ranks found the same under `what`, which is in `files`: they are looked at only if not.
/// @throws ConfigError, on all ranks alike, naming the first rank that differs, and the file
template <Communicator C>
void check_agreement(C& comm, std::string const& what, std::uint64_t fingerprint,
                     std::function<std::vector<std::string>()> const& files) {
  auto const sums = gather_texts(comm, nxd::hex(fingerprint));
  std::size_t rank = 0;
  while (rank < sums.size() && sums[rank] == sums[0]) ++rank;
  if (rank == sums.size()) return;
  std::string mine;
  together(comm, [&] {
    for (auto const& file : files()) mine += file + "\n" + detail::file_line(file) + "\n";
  });
  auto const lists = gather_texts(comm, mine);
  auto const difference = detail::file_difference(lists[0], lists[rank], rank);
  throw ConfigError("rank " + std::to_string(rank) + " has another " + what + " than rank 0" +
                    (difference.empty() ? "" : ": " + difference) +
                    "; start all ranks with the same files");
}

/// A number for the program itself, byte by byte, and its version.
inline std::uint64_t program_fingerprint() {
  std::uint64_t sum = 0;
  try {
    sum = crc32c(MappedFile("/proc/self/exe").bytes());
  } catch (IoError const&) {  // a system without it
  }
  return hash(version, sum + 0xcbf29ce484222325);
}

/// All ranks run the same program with the same configuration. @throws ConfigError, on all ranks
/// alike, naming ranks and the keys in which they differ from rank 0
template <Communicator C> void check_alike(C& comm, TrainingConfig const& config) {
  check_agreement(comm, "program", program_fingerprint());
  auto const yaml = to_yaml(config);
  auto const first = detail::flat_lines(broadcast_text(comm, yaml));
  auto const wrong = gather_texts(comm, detail::differences(detail::flat_lines(yaml), first));
  std::string sentence;
  int told = 0;
  for (std::size_t r = 0; r < wrong.size(); ++r)
    if (!wrong[r].empty() && ++told <= 4)
      sentence += (sentence.empty() ? "rank " : "; rank ") + std::to_string(r) +
                  " has another configuration than rank 0: " + wrong[r];
  if (told > 4) sentence += "; and " + std::to_string(told - 4) + " more ranks";
  if (told > 0) throw ConfigError(sentence + "; start all ranks with the same files");
}

}  // namespace nxd
