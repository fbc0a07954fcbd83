// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <nxd/comm/roll_call.hpp>

namespace nxd {

namespace detail {

inline std::string status_path(std::string const& folder, std::int64_t rank) {
  return folder + "/status/rank-" + std::to_string(rank);
}

}  // namespace detail

/// Ranks of several nodes share no memory: one that has waited too long leaves what it knows of
/// itself in `<folder>/status/rank-N`. What cannot be written is not.
inline void write_status(std::string const& folder, RollCall const& roll) {
  std::error_code none;
  std::filesystem::create_directories(folder + "/status", none);
  auto const path = detail::status_path(folder, roll.rank());
  auto const draft = path + ".tmp";
  {
    std::ofstream file(draft, std::ios::binary | std::ios::trunc);
    auto const present = roll.mine().present.load();
    file << roll.mine().inside.load() << '\n' << Whereabouts::text_of(roll.mine().spot) << '\n';
    file.write(reinterpret_cast<char const*>(&present), sizeof present);
  }
  std::filesystem::rename(draft, path, none);
}

/// Removes what an earlier run has left; the first rank calls it before the run begins.
inline void remove_status(std::string const& folder) {
  std::error_code none;
  std::filesystem::remove_all(folder + "/status", none);
}

/// Adds the ranks of other nodes, as far as they have left their status within half a second.
inline void add_others(std::string const& folder, RollCall const& roll,
                       std::vector<Presence>& ranks) {
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  for (std::int64_t rank = 0; rank < roll.size(); ++rank) {
    if (std::ranges::find(roll.ranks(), rank) != roll.ranks().end()) continue;
    Presence p;
    p.rank = rank;
    std::ifstream file(detail::status_path(folder, rank), std::ios::binary);
    int inside = 0;
    std::string at;
    if (file >> inside && file.ignore() && std::getline(file, at) &&
        file.read(reinterpret_cast<char*>(&p.present), sizeof p.present)) {
      p.state = Presence::State::running;
      p.inside = inside != 0;
      p.at = at;
    }
    ranks.push_back(std::move(p));
  }
  std::ranges::sort(ranks, {}, &Presence::rank);
}

}  // namespace nxd
