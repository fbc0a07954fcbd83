// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include <cpuid.h>
#endif

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <nxd/tensor/kernels/avx512.hpp>

namespace nxd {

/// In how many bf16 numbers a float goes into a product. `one`: its nearest; relative error of a
/// product 2.4e-3 (root mean square). `two`: nearest and remainder, three products for one; 4.5e-6.
/// Infinities stay infinite or become NaN; what is below 1.2e-38, remainders included, counts as
/// zero.
enum class Bf16Terms { one = 1, two = 2 };

namespace detail {

/// Asks the processor for the features by their bits, and the system for the state of the tiles.
inline bool request_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & amx_bf16) == 0 || (d & amx_tile) == 0)
    return false;
  if (!supports_avx512_bf16()) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

}  // namespace detail

/// Whether tiles are to be used where they can be: not if the environment has NXD_AMX=off, nor
/// after `amx_wanted() = false`. For tests, and for comparisons with machines that have none.
inline std::atomic<bool>& amx_wanted() {
  static std::atomic<bool> wanted{[] {
    auto const* const said = std::getenv("NXD_AMX");
    return said == nullptr || std::string_view(said) != "off";
  }()};
  return wanted;
}

/// Whether this process multiplies bf16 tiles: they are wanted, the processor has AMX and AVX-512
/// with bf16, and the system allows it. The first call asks for the process's permission.
inline bool has_amx() {
  static bool const allowed = detail::request_amx();
  return allowed && amx_wanted().load(std::memory_order_relaxed);
}

}  // namespace nxd
