// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/error.hpp>
#include <source_location>
#include <string>

namespace nxd::detail {

/// Ends the run: the library has broken its own rule.
[[noreturn]] inline void broken_expectation(
    char const* text, std::source_location at = std::source_location::current()) {
  throw Error(ExitCode::internal, std::string(at.file_name()) + ":" + std::to_string(at.line()) +
                                      ": " + at.function_name() + " expects " + text);
}

}  // namespace nxd::detail

/// What the library's own code owes itself at run time. Not for a user's input: that is an `Error`.
#define NXD_EXPECTS(condition) \
  (static_cast<bool>(condition) ? void() : ::nxd::detail::broken_expectation(#condition))
