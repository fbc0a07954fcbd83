// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/expects.hpp>
#include <nxd/tensor/kernels/amx_tiles.hpp>
#include <nxd/tensor/kernels/scratch.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace nxd {

/// Matrix products of floats by tiles of bf16. Sums are in fp32 and go along k in one order:
/// results depend neither on the number of threads nor on how the operands lie.
struct AmxProduct {
  /// One operand: `lines` vectors along k; neighbours along one of both are neighbours in memory.
  struct Operand {
    float const* at;
    std::int64_t line_stride, k_stride;
  };

  /// z[m, n] = x[m, k] y[n, k], or z += it; rows of z are `z_stride` apart. Needs `has_amx()`.
  template <Bf16Terms split>
  static void multiply(std::int64_t m, std::int64_t n, std::int64_t k, Operand x, Operand y,
                       float* z, std::int64_t z_stride, bool accumulate) {
#if defined(__x86_64__)
    using namespace detail;
    NXD_EXPECTS(has_amx());
    AmxOperand const left{x.at, m, k, x.line_stride, k == 1 ? 1 : x.k_stride, AmxSide::left};
    AmxOperand const right{y.at, n, k, y.line_stride, k == 1 ? 1 : y.k_stride, AmxSide::right};
    // Rows of z are written along memory: by strips of columns, or of rows if y fits a cache.
    constexpr auto parts = static_cast<std::int64_t>(split);
    auto const depth = even_part(k, step_depth, deepest / parts);
    bool const by_rows = m > n && n * depth * 2 * parts <= cached_bytes;
    auto const& shared = by_rows ? right : left;
    auto const& own = by_rows ? left : right;
    auto const lines = even_part(shared.lines, panel_lines, widest);
    for (std::int64_t from = 0; from == 0 || from < k; from += depth)
      for (std::int64_t line = 0; line < shared.lines; line += lines)
        multiply_part<split>(
            shared.part(line, lines, from, depth), own.part(0, own.lines, from, depth),
            {z + line * (by_rows ? 1 : z_stride), z_stride}, accumulate || from > 0);
#endif
  }

#if defined(__x86_64__)
 private:
  using Part = detail::AmxOperand;
  struct Target {
    float* at;
    std::int64_t stride;
  };

  /// How deep are the parts that are packed at a time, if floats are one bf16 each, and how many
  /// lines all threads share of one operand.
  static constexpr std::int64_t deepest = 2048, widest = 4096;
  /// Bytes of what a thread packs for itself of the other operand, a part: a quarter of a
  /// second-level cache; and of what all share, to be run over again and again.
  static constexpr std::int64_t strip_bytes = std::int64_t{512} << 10;
  static constexpr std::int64_t cached_bytes = std::int64_t{1200} << 10;
  /// Products of fewer multiplications are not worth waking threads for.
  static constexpr std::int64_t threaded = std::int64_t{1} << 21;

  /// The length of parts that are about equally long, at most `most`, and whole units.
  static std::int64_t even_part(std::int64_t length, std::int64_t unit, std::int64_t most) {
    auto const parts = std::max<std::int64_t>(1, (length + most - 1) / most);
    auto const part = (length + parts - 1) / parts;
    return std::max(unit, (part + unit - 1) / unit * unit);
  }

  static detail::Scratch& shared_scratch() {
    thread_local detail::Scratch one;
    return one;
  }
  static detail::Scratch& own_scratch() {
    thread_local detail::Scratch one;
    return one;
  }

  /// Packs `shared` once for all, and `own` strip by strip, each by the thread that multiplies it.
  template <Bf16Terms split>
  static void multiply_part(Part const& shared, Part const& own, Target z, bool accumulate) {
    auto const panel_bytes =
        own.steps() * 2 * detail::tile_bytes * static_cast<std::int64_t>(split);
    auto* const packed =
        shared_scratch().at_least(static_cast<std::size_t>(shared.panels() * panel_bytes));
    bool const parallel = shared.lines * own.lines * own.depth > threaded;
#ifdef _OPENMP
    auto const threads = parallel ? std::int64_t{omp_get_max_threads()} : std::int64_t{1};
#else
    auto const threads = std::int64_t{1};
#endif
    auto const room = own.side == detail::AmxSide::left
                          ? strip_bytes
                          : strip_bytes * static_cast<std::int64_t>(split);
    auto const most = std::clamp<std::int64_t>(room / std::max<std::int64_t>(1, panel_bytes), 1,
                                               (own.panels() + threads - 1) / threads);
    auto const rounds = (own.panels() + most * threads - 1) / (most * threads);
    auto const strip = (own.panels() + rounds * threads - 1) / (rounds * threads);
    auto const share = (shared.panels() + threads - 1) / threads;
#pragma omp parallel if (parallel)
    {
#pragma omp for schedule(static)
      for (std::int64_t first = 0; first < shared.panels(); first += share)
        detail::pack<split>(shared, first, std::min(first + share, shared.panels()), packed);
#pragma omp for schedule(static)
      for (std::int64_t first = 0; first < own.panels(); first += strip)
        multiply_strip<split>(shared, packed, own, first, std::min(first + strip, own.panels()), z,
                              accumulate);
    }
  }

  template <Bf16Terms split>
  static void multiply_strip(Part const& shared, std::byte const* packed, Part const& own,
                             std::int64_t first, std::int64_t last, Target z, bool accumulate) {
    using namespace detail;
    constexpr auto bytes_a_step = 2 * tile_bytes * static_cast<std::int64_t>(split);
    auto const steps = own.steps();
    auto const lines = own.part(first * panel_lines, (last - first) * panel_lines, 0, own.depth);
    auto* const mine =
        own_scratch().at_least(static_cast<std::size_t>((last - first) * steps * bytes_a_step));
    pack<split>(lines, 0, last - first, mine);
    AmxTiles const tiles;
    bool const by_rows = own.side == AmxSide::left;
    auto const block = [&](std::int64_t row, std::int64_t column) {
      auto const* const left = by_rows ? mine + (row - first) * steps * bytes_a_step
                                       : packed + row * steps * bytes_a_step;
      auto const* const right = by_rows ? packed + column * steps * bytes_a_step
                                        : mine + (column - first) * steps * bytes_a_step;
      multiply_block<split>(left, right, steps, (by_rows ? own : shared).lines - row * panel_lines,
                            (by_rows ? shared : own).lines - column * panel_lines,
                            {z.at + row * panel_lines * z.stride + column * panel_lines, z.stride},
                            accumulate);
    };
    for (auto row = by_rows ? first : 0; row < (by_rows ? last : shared.panels()); ++row)
      for (auto column = by_rows ? 0 : first; column < (by_rows ? shared.panels() : last); ++column)
        block(row, column);
  }

  /// A panel times a panel; z has `rows` and `columns` left from here on.
  template <Bf16Terms split>
  static void multiply_block(std::byte const* left, std::byte const* right, std::int64_t steps,
                             std::int64_t rows, std::int64_t columns, Target z, bool accumulate) {
    using namespace detail;
    if (rows >= panel_lines && columns >= panel_lines)
      multiply_panels<split, 2, 2>(left, right, steps, z.at, z.stride, accumulate);
    else
      multiply_edge<split>(left, right, steps, std::min(rows, panel_lines),
                           std::min(columns, panel_lines), z.at, z.stride, accumulate);
  }
#endif
};

}  // namespace nxd
