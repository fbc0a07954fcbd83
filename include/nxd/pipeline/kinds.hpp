// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/pipeline/forward_only.hpp>
#include <nxd/pipeline/gpipe.hpp>
#include <nxd/pipeline/interleaved.hpp>
#include <nxd/pipeline/one_f_one_b.hpp>
#include <nxd/pipeline/prove.hpp>
#include <nxd/pipeline/report.hpp>
#include <nxd/pipeline/zero_bubble.hpp>

namespace nxd {

template <ScheduleKind... Ks> struct ScheduleKinds {};

/// The kinds that configurations know by name.
using NamedSchedules = ScheduleKinds<GPipe, OneFOneB, Interleaved, ZbH1, ZbV>;

/// Calls `visit(K{})` for the kind of that name in a list. @throws ConfigError if there is none.
template <ScheduleKind... Ks>
void with_schedule(ScheduleKinds<Ks...>, std::string_view name, auto&& visit) {
  bool const found = ((Ks::name == name && (visit(Ks{}), true)) || ...);
  if (found) return;
  std::string known;
  ((known += (known.empty() ? "" : ", ") + std::string(Ks::name)), ...);
  throw ConfigError("'" + std::string(name) + "' is no kind of schedule; there are " + known);
}

/// The same for the kinds that configurations know.
void with_schedule(std::string_view name, auto&& visit) {
  with_schedule(NamedSchedules{}, name, visit);
}

/// The schedule of K, proved. @throws PlanError if K is not for these numbers or makes
/// another size, ConfigError if the
/// schedule does not run.
template <ScheduleKind K>
Schedule make_proved(std::int64_t ranks, std::int64_t microbatches, std::int64_t chunks,
                     Channel channel = Channel::posted) {
  require(name_of<K>(), check_numbers<K>(ranks, microbatches, chunks));
  auto schedule =
      K::make(static_cast<int>(ranks), static_cast<int>(microbatches), static_cast<int>(chunks));
  require(name_of<K>(), check_size(schedule, ranks, microbatches, chunks));
  if (auto const proof = verify(schedule, channel); !proof)
    throw ConfigError(std::string(name_of<K>()) + ": " + sentence(proof));
  return schedule;
}

}  // namespace nxd
