// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace nxd {

/// The version of the library. The build reads it from this line.
inline constexpr char const* version = "0.1.0";

}  // namespace nxd
