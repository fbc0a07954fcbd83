// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <nxd/checkpoint/crc32c.hpp>
#include <nxd/comm/communicator.hpp>
#include <nxd/core/error.hpp>
#include <nxd/optim/optimizer.hpp>

namespace nxd {

namespace detail {

/// The ranks along A hold the same of X, unless the placement says other.
template <class X, class A>
inline constexpr bool is_copied_along =
    std::same_as<typename Slicing<placement_t<X, A>>::dim, void>;

/// A check sum of something that the ranks of a line hold alike.
struct ReplicaSum {
  std::string name;
  std::uint32_t sum;
};

/// @throws Error(desync) naming what differs first, and the ranks that are not with the most
template <Communicator C>
void compare_along(C& comm, Line line, std::vector<ReplicaSum> const& sums) {
  if (line.count == 1 || sums.empty()) return;
  std::vector<std::int32_t> mine;
  for (auto const& s : sums) mine.push_back(static_cast<std::int32_t>(s.sum));
  std::vector<std::int32_t> all(mine.size() * static_cast<std::size_t>(line.count));
  comm.all_gather(line, std::span<std::int32_t const>(mine), std::span<std::int32_t>(all));
  for (std::size_t i = 0; i < sums.size(); ++i) {
    std::map<std::int32_t, std::vector<std::int64_t>> who;
    for (std::int64_t p = 0; p < line.count; ++p)
      who[all[static_cast<std::size_t>(p) * sums.size() + i]].push_back(line.rank(p));
    if (who.size() < 2) continue;
    auto most = who.begin();
    for (auto at = who.begin(); at != who.end(); ++at)
      if (at->second.size() > most->second.size()) most = at;
    std::string others;
    for (auto const& [sum, ranks] : who)
      for (auto const r : ranks)
        if (sum != most->first)
          others += (others.empty() ? "rank " : ", rank ") + std::to_string(r);
    bool const clear = most->second.size() > 1 || who.size() > 2;
    throw Error(
        ExitCode::desync,
        sums[i].name + ": " + others +
            (clear ? " has" : " and rank " + std::to_string(most->second.front()) + " have") +
            " other bits than " + (clear ? "the other ranks" : "each other") +
            " of the same data-parallel group; memory or a link of " +
            (clear ? "it" : "one of them") +
            " is at fault; go on from the last checkpoint on other machines");
  }
}

}  // namespace detail

/// Compares what ranks hold in common, bit by bit as far as CRC32C sees: every parameter, over each
/// axis along which it is replicated, and the optimizer's state where it is. Costs one pass over
/// the memory of both, and a small all-gather along each axis.
/// @throws Error(desync), on the ranks that differ and their peers, naming tensor and rank
template <Communicator C, class Model, class Strategy, class World>
void check_replicas(C& comm, World const& world, Model const& model,
                    Optimizer<Strategy, World> const& optimizer) {
  using B = typename World::backend;
  auto const along = [&]<class A>(A) {
    std::vector<detail::ReplicaSum> sums;
    auto const add = [&](std::string name, auto const* elements, std::int64_t n) {
      auto const bytes = std::as_bytes(std::span(elements, static_cast<std::size_t>(n)));
      sums.push_back({std::move(name), crc32c(bytes)});
    };
    std::size_t i = 0;
    model.visit([&]<class X>(ParameterInfo const& info, Var<X, World> const& v, auto) {
      auto const& state = optimizer.state(i++);
      if constexpr (detail::is_copied_along<X, A>) {
        add(info.names.front(), data(v.value()), X::local_size(world.plan));
        if (state.chunk.count != X::local_size(world.plan)) return;  // each rank has another part
        auto const moments = optimizer.moment_names();
        for (std::size_t m = 0; m < moments.size(); ++m)
          if (state.moment[m])
            add(info.names.front() + "." + std::string(moments[m]), B::data(state.moment[m]),
                state.chunk.count);
        if (state.master)
          add(info.names.front() + " as a master", B::data(state.master), state.chunk.count);
      }
    });
    detail::compare_along(comm, line<A>(world.plan, world.rank()), sums);
  };
  [&]<class... As>(Mesh<As...>) { (along(As{}), ...); }(typename World::mesh{});
}

}  // namespace nxd
