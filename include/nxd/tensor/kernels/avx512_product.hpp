// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/avx512.hpp>
#include <nxd/tensor/kernels/avx512_pack.hpp>
#include <nxd/tensor/kernels/bf16_operand.hpp>
#include <nxd/tensor/kernels/scratch.hpp>

namespace nxd {

/// Where a product of floats goes: z = alpha x y, or z += alpha x y; rows of z are `stride` apart.
struct FloatResult {
  float* at;
  std::int64_t stride;
  float alpha = 1;
  bool accumulate = false;
};

#if defined(__x86_64__)
/// Products of floats by AVX-512: z[m, n] = sum over k of x[m, k] y[n, k]. The right operand is
/// packed, the left one too where it is used often enough or threads are several; one thread asks
/// for what it packs next while it makes sums.
///
/// Sums go along k, a part of at most `deepest_sum` at a time: the order depends on k alone, so
/// results depend neither on the number of threads nor on how operands lie. Needs `has_avx512()`.
/// 2 m n k FLOPs.
class Avx512Product {
 public:
  static void multiply(std::int64_t m, std::int64_t n, std::int64_t k, FloatOperand const& x,
                       FloatOperand const& y, FloatResult const& z) {
    Avx512Product(m, n, k, x, y, z, detail::product_threads(m * n * k)).run();
  }

 private:
  Avx512Product(std::int64_t m, std::int64_t n, std::int64_t k, FloatOperand const& x,
                FloatOperand const& y, FloatResult const& z, int threads)
      : m_(m), n_(n), k_(k), x_(x), y_(y), z_(z), threads_(threads) {
    depth_ = (detail::even_length(k, detail::deepest_sum) + 15) / 16 * 16;
  }

  /// Left panels that are packed together, by a thread for itself: rows one by one, to stay in a
  /// first-level cache; columns as many as make long pieces of the rows of memory.
  static constexpr std::int64_t panels_at_a_time = 16;
  /// What is packed of the left operand for all strips, if there are more than one, and of rows
  /// if there are more columns than `few`: these are multiplied as they lie at hardly less a rate.
  static constexpr std::int64_t kept_floats = std::int64_t{4} << 20;
  static constexpr std::int64_t few = 2048;
  /// What is packed of the right operand at a time: by a thread for itself, to stay in its
  /// second-level cache, and by all for all.
  static constexpr std::int64_t strip_floats = std::int64_t{240} << 10;
  static constexpr std::int64_t shared_floats = std::int64_t{2} << 20;

  template <int> static float* room(std::int64_t floats) {
    thread_local detail::Scratch one;
    return reinterpret_cast<float*>(one.at_least(static_cast<std::size_t>(floats) * 4));
  }

  /// [first, last) of rows, columns or steps.
  struct Range {
    std::int64_t first, last;

    std::int64_t count() const { return last - first; }
    Range share(std::int64_t i, std::int64_t of, std::int64_t unit) const {
      auto const units = (count() + unit - 1) / unit;
      auto const at = [&](std::int64_t j) { return std::min(first + units * j / of * unit, last); };
      return {at(i), at(i + 1)};
    }
    /// What follows it within another one, as long if there is so much.
    Range next(Range const& all) const { return {last, std::min(last + count(), all.last)}; }
    Range first_of(std::int64_t length) const { return {first, std::min(first + length, last)}; }
    /// Calls `work(part)` for parts of `length`.
    void each(std::int64_t length, auto const& work) const {
      for (auto i = first; i < last; i += length) work(Range{i, std::min(i + length, last)});
    }
  };

  void over_shares(auto const& work) const {
    if (threads_ == 1) return work(0);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < threads_; ++i) work(i);
  }

  void run() const {
    if (k_ == 0) return clear();
    threads_ == 1 || n_ >= m_ ? by_columns() : by_rows();
  }

  /// Each thread its columns, of which it packs a strip at a time, while the next one is asked for.
  void by_columns() const {
    auto const* const left = packed_left();
    over_shares([&](int i) {
      auto const mine = Range{0, n_}.share(i, threads_, detail::sum_columns);
      strips(mine, [&](Range const& strip) {
        Range{0, k_}.each(depth_, [&](Range const& steps) {
          auto* const packed = room<0>(strip_floats + detail::sum_columns * depth_);
          detail::pack_right(y_.from(strip.first, steps.first), strip.count(), steps.count(),
                             packed);
          auto const next = steps.last < k_ ? ahead(y_, strip, {steps.last, k_})
                                            : ahead(y_, strip.next(mine), {0, k_});
          multiply({0, m_}, strip, steps, packed, left, next);
        });
      });
    });
  }

  /// Of some lines of an operand, the first of the steps that are left.
  detail::Ahead ahead(FloatOperand const& x, Range const& lines, Range const& steps) const {
    if (threads_ > 1) return {};
    return detail::ahead_of(x.from(lines.first, steps.first), lines.count(),
                            std::min(steps.count(), depth_));
  }

  /// Whether rows of the left operand may be multiplied as they lie. Not by several threads: no
  /// gain was seen there, of this or of asking ahead. Nor where all rows meet in one set of a
  /// first-level cache, which has ways for eight of them, or for twelve.
  bool lies() const {
    constexpr std::int64_t set_floats = 1024;
    return threads_ == 1 && x_.k_stride == 1 && x_.line_stride % set_floats != 0;
  }

  /// All of the left operand, if that is worth it, else null.
  float const* packed_left() const {
    auto const floats = detail::parts_of(k_, depth_) * left_floats(depth_);
    auto const enough = lies() ? std::max(few, strip_columns()) : strip_columns();
    if (n_ <= threads_ * enough || floats > kept_floats) return nullptr;
    auto* const packed = room<1>(floats);
    over_shares([&](int i) {
      auto const rows = Range{0, m_}.share(i, threads_, detail::sum_rows);
      Range{0, k_}.each(depth_, [&](Range const& steps) {
        detail::pack_left(x_.from(rows.first, steps.first), rows.count(), steps.count(),
                          packed + left_at(rows, steps));
      });
    });
    return packed;
  }

  /// What so many steps of the left operand take, packed; and where a panel is in all of them.
  std::int64_t left_floats(std::int64_t steps) const {
    return detail::parts_of(m_, detail::sum_rows) * detail::left_panel_floats(steps);
  }
  std::int64_t left_at(Range const& rows, Range const& steps) const {
    return steps.first / depth_ * left_floats(depth_) +
           rows.first / detail::sum_rows * detail::left_panel_floats(steps.count());
  }

  /// Each thread its rows, and the right operand packed for all of them, part by part.
  void by_rows() const {
    auto const lines = (n_ + detail::sum_columns - 1) / detail::sum_columns * detail::sum_columns;
    auto const blocks = std::max<std::int64_t>(1, shared_floats / (lines * depth_));
    auto* const packed = room<1>(std::min(blocks * depth_, k_) * lines);
    Range{0, k_}.each(blocks * depth_, [&](Range const& part) {
      auto const at = [&](Range const& steps, std::int64_t column) {
        return packed + (steps.first - part.first) * lines + column * steps.count();
      };
      over_shares([&](int i) {
        auto const columns = Range{0, n_}.share(i, threads_, detail::sum_columns);
        part.each(depth_, [&](Range const& steps) {
          detail::pack_right(y_.from(columns.first, steps.first), columns.count(), steps.count(),
                             at(steps, columns.first));
        });
      });
      over_shares([&](int i) {
        auto const rows = Range{0, m_}.share(i, threads_, 2);
        strips({0, n_}, [&](Range const& strip) {
          part.each(depth_, [&](Range const& steps) {
            multiply(rows, strip, steps, at(steps, strip.first), nullptr, {});
          });
        });
      });
    });
  }

  std::int64_t strip_columns() const {
    return std::max<std::int64_t>(1, strip_floats / depth_ / detail::sum_columns) *
           detail::sum_columns;
  }

  void strips(Range const& columns, auto const& work) const {
    auto const strip = detail::even_length(columns.count(), strip_columns());
    columns.each(detail::parts_of(strip, detail::sum_columns) * detail::sum_columns, work);
  }

  /// Some rows, packed before if `kept` is not null, times a strip of columns, which is packed.
  void multiply(Range const& rows, Range const& columns, Range const& steps, float const* right,
                float const* kept, detail::Ahead next) const {
    if (kept == nullptr && lies()) return multiply_lying(rows, columns, steps, right, next);
    auto const panels = x_.k_stride == 1 ? 1 : panels_at_a_time;
    auto const block_rows = panels * detail::sum_rows;
    rows.each(block_rows, [&](Range const& block) {
      auto const* left = kept + (kept == nullptr ? 0 : left_at(block, steps));
      detail::Ahead soon;
      if (kept == nullptr) {
        auto* const own = room<2>(panels * detail::left_panel_floats(depth_));
        detail::pack_left(x_.from(block.first, steps.first), block.count(), steps.count(), own);
        left = own;
        soon = block.last < rows.last ? ahead(x_, block.next(rows), steps)
                                      : ahead(x_, rows.first_of(block_rows), {steps.last, k_});
      }
      block.each(detail::sum_rows, [&](Range const& some) {
        multiply_panel(kernel_of(some), {left, detail::left_step}, some, columns, steps, right,
                       soon, next);
        left += detail::left_panel_floats(steps.count());
      });
    });
  }

  /// Rows as they lie.
  void multiply_lying(Range const& rows, Range const& columns, Range const& steps,
                      float const* right, detail::Ahead next) const {
    rows.each(detail::sum_rows, [&](Range const& some) {
      auto const from = x_.from(some.first, steps.first);
      auto soon = ahead(x_, some.next(rows), steps);
      if (some.count() == detail::sum_rows) {
        multiply_panel(detail::row_kernel, {from.at, from.line_stride}, some, columns, steps, right,
                       soon, next);
      } else {
        auto* const own = room<2>(detail::left_panel_floats(depth_));
        detail::pack_left(from, some.count(), steps.count(), own);
        multiply_panel(kernel_of(some), {own, detail::left_step}, some, columns, steps, right, soon,
                       next);
      }
    });
  }

  static detail::TileKernel kernel_of(Range const& rows) {
    return detail::tile_kernels[static_cast<std::size_t>(rows.count() - 1)];
  }

  /// `soon` and then `later` are asked for meanwhile.
  void multiply_panel(detail::TileKernel kernel, detail::LeftSteps const& left, Range const& rows,
                      Range const& columns, Range const& steps, float const* right,
                      detail::Ahead& soon, detail::Ahead& later) const {
    bool const adds = z_.accumulate || steps.first > 0;
    auto* const at = z_.at + rows.first * z_.stride + columns.first;
    detail::SumTarget to{at, z_.stride, 0, z_.alpha, adds, &soon};
    columns.each(detail::sum_columns, [&](Range const& some) {
      to.columns = some.count();
      if (soon.done()) to.ahead = &later;
      kernel(steps.count(), left, right, to);
      to.at += detail::sum_columns;
      right += detail::sum_columns * steps.count();
    });
  }

  void clear() const {
    if (z_.accumulate) return;
    for (std::int64_t i = 0; i < m_; ++i) std::fill_n(z_.at + i * z_.stride, n_, 0.f);
  }

  std::int64_t m_, n_, k_;
  FloatOperand x_, y_;
  FloatResult z_;
  int threads_;
  std::int64_t depth_;
};
#endif

}  // namespace nxd
