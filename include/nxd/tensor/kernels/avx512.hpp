// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace nxd {

namespace detail {

/// What the processor has, by its feature bits and never by its model: AVX-512, and it with bf16.
inline bool supports_avx512() {
#if defined(__x86_64__)
  static bool const found = __builtin_cpu_supports("avx512f");
  return found;
#else
  return false;
#endif
}
inline bool supports_avx512_bf16() {
#if defined(__x86_64__)
  static bool const found = supports_avx512() && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512bf16");
  return found;
#else
  return false;
#endif
}

/// Whether AVX-512 makes products of bf16 no faster than those of floats: at half the rate, where
/// it has half floats too. Such processors have AMX for bf16, which a system may not allow.
inline bool has_slow_bf16() {
#if defined(__x86_64__)
  constexpr unsigned avx512_fp16 = 1u << 23;
  static bool const found = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & avx512_fp16) != 0;
  }();
  return found;
#else
  return true;
#endif
}

}  // namespace detail

/// Whether vectors of 512 bits are to be used where they can be: not if the environment has
/// NXD_AVX512=off, nor after `avx512_wanted() = false`. For tests, and for comparisons.
inline std::atomic<bool>& avx512_wanted() {
  static std::atomic<bool> wanted{[] {
    auto const* const said = std::getenv("NXD_AVX512");
    return said == nullptr || std::string_view(said) != "off";
  }()};
  return wanted;
}

/// Whether this process uses AVX-512: it is wanted, and the processor has it.
inline bool has_avx512() {
  return detail::supports_avx512() && avx512_wanted().load(std::memory_order_relaxed);
}

/// The same of lines of bf16, for which it takes AVX-512 with bf16. What is below 1.2e-38 counts as
/// zero then.
inline bool has_avx512_bf16() {
  return detail::supports_avx512_bf16() && avx512_wanted().load(std::memory_order_relaxed);
}

}  // namespace nxd
