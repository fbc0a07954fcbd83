// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include <nxd/checkpoint/storage.hpp>

namespace nxd::detail {

/// So many jobs may die while they load an entry; then an older one is tried.
inline constexpr std::int64_t most_attempts = 3;

/// The beginning of the names of the files that stand for the attempts to load an entry.
inline std::string attempt_name(std::string const& entry) { return ".attempt-" + entry + "."; }

/// How many attempts to load an entry have begun and not ended, not even with an error.
template <Storage S> std::int64_t attempts(S& storage, std::string const& entry) {
  std::int64_t count = 0;
  for (auto const& found : storage.list(""))
    if (found.name.starts_with(attempt_name(entry))) ++count;
  return count;
}

/// An attempt to load an entry: on record from the beginning to the end of this object, and after a
/// death for good. A directory that cannot be written to records none.
template <Storage S> class Attempt {
 public:
  Attempt(S& storage, std::string entry) : storage_(&storage), entry_(std::move(entry)) {
    try {
      storage.create(attempt_name(entry_) + std::to_string(attempts(storage, entry_) + 1)).close();
    } catch (Error const&) {
    }
  }
  Attempt(Attempt const&) = delete;
  Attempt& operator=(Attempt const&) = delete;
  ~Attempt() {
    try {
      for (auto const& found : storage_->list(""))
        if (found.name.starts_with(attempt_name(entry_))) storage_->remove(found.name);
    } catch (std::exception const&) {  // of memory that is short, too
    }
  }

 private:
  S* storage_;
  std::string entry_;
};

}  // namespace nxd::detail
