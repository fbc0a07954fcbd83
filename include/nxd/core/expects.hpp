// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nxd/core/error.hpp>

namespace nxd::detail {

/// Ends the run: the library has broken its own rule.
[[noreturn]] inline void broken_expectation(char const* text, char const* file = __builtin_FILE(),
                                            int line = __builtin_LINE(),
                                            char const* function = __builtin_FUNCTION()) {
  throw Error(ExitCode::internal, std::string(file) + ":" + std::to_string(line) + ": " + function +
                                      " expects " + text);
}

}  // namespace nxd::detail

/// What the library's own code owes itself at run time. Not for a user's input: that is an `Error`.
#define NXD_EXPECTS(condition) \
  (static_cast<bool>(condition) ? void() : ::nxd::detail::broken_expectation(#condition))
