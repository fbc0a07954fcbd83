// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nxd/tensor/kernels/avx512_product.hpp>

namespace nxd {

/// Who makes a product of floats.
enum class ProductMaker : std::uint8_t {
  openblas,
  avx512,  ///< `Avx512Product`
};
/// Spellings.
constexpr auto names_of(ProductMaker) {
  return std::to_array<std::string_view>({"openblas", "avx512"});
}

/// How the operands of z[m, n] = sum over k of x[m, k] y[n, k] lie in memory, as BLAS spells it:
/// x by its rows (n) or columns (t), then y by its columns (n) or rows (t).
enum class ProductForm : std::uint8_t { nn, nt, tn, tt };
/// Spellings.
constexpr auto names_of(ProductForm) {
  return std::to_array<std::string_view>({"nn", "nt", "tn", "tt"});
}

/// Classes of lengths: below 64, below 512, and beyond.
enum class ProductLength : std::uint8_t { low, middle, high };
/// Spellings.
constexpr auto names_of(ProductLength) {
  return std::to_array<std::string_view>({"below 64", "below 512", "from 512"});
}
constexpr ProductLength product_length(std::int64_t length) {
  return length < 64    ? ProductLength::low
         : length < 512 ? ProductLength::middle
                        : ProductLength::high;
}

/// What a product is like, as far as the choice of its maker goes.
struct ProductClass {
  ProductForm form;
  ProductLength m, n, k;
};

/// For each class of products, who makes them.
class ProductTable {
 public:
  static constexpr std::size_t forms = 4, lengths = 3, size = forms * lengths * lengths * lengths;

  /// What was found on processors with AVX-512: few rows or columns are OpenBLAS's, and so are
  /// small products whose operands it need not turn.
  constexpr ProductTable() {
    for (std::size_t i = 0; i < size; ++i) {
      auto const c = at(i);
      bool const thin = c.m == ProductLength::low || c.n == ProductLength::low;
      bool const small = c.form != ProductForm::nt && c.k == ProductLength::low &&
                         c.m == ProductLength::middle && c.n == ProductLength::middle;
      makers_[i] = thin || small ? ProductMaker::openblas : ProductMaker::avx512;
    }
  }

  /// The i-th class.
  static constexpr ProductClass at(std::size_t i) {
    auto const length = [&](std::size_t by) {
      return static_cast<ProductLength>(i / by % lengths);
    };
    return {static_cast<ProductForm>(i / (lengths * lengths * lengths)), length(lengths * lengths),
            length(lengths), length(1)};
  }
  constexpr ProductMaker& operator[](std::size_t i) { return makers_[i]; }
  constexpr ProductMaker operator[](std::size_t i) const { return makers_[i]; }

  constexpr ProductMaker of(ProductClass const& c) const {
    auto const number = [](auto e) { return static_cast<std::size_t>(e); };
    return makers_[((number(c.form) * lengths + number(c.m)) * lengths + number(c.n)) * lengths +
                   number(c.k)];
  }
  bool operator==(ProductTable const&) const = default;

 private:
  std::array<ProductMaker, size> makers_{};
};

/// The process's table, to be set before training starts.
inline ProductTable& product_table() {
  static ProductTable table;
  return table;
}

/// Who makes such a product here: what a processor cannot is OpenBLAS's.
inline ProductMaker product_maker(ProductClass const& c) {
  return has_avx512() ? product_table().of(c) : ProductMaker::openblas;
}

}  // namespace nxd
