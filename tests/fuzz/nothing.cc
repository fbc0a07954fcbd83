// SPDX-License-Identifier: Apache-2.0
// A fuzz target of nothing: does this compiler have libFuzzer?
#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const*, std::size_t) { return 0; }
