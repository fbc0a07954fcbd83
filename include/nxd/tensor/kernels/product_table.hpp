// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <nxd/tensor/kernels/avx512_product.hpp>
#include <nxd/tensor/kernels/onednn_product.hpp>

namespace nxd {

/// Who makes a product.
enum class ProductMaker : std::uint8_t {
  openblas,  ///< of bf16: of what is widened to floats, block by block
  avx512,    ///< `Avx512Product`; of bf16: `Bf16TileProduct` of `Avx512Blocks`
  onednn,    ///< `OneDnnProduct`
};
/// Spellings.
constexpr auto names_of(ProductMaker) {
  return std::to_array<std::string_view>({"openblas", "avx512", "onednn"});
}

/// Of what operands are. Those of bf16 are for AMX where there is it: see `Bf16Product`.
enum class ProductType : std::uint8_t { fp32, bf16 };
/// Spellings.
constexpr auto names_of(ProductType) { return std::to_array<std::string_view>({"fp32", "bf16"}); }

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
  ProductType type;
  ProductForm form;
  ProductLength m, n, k;
};

/// The class of a product z[m, n] = sum over k of x[m, k] y[n, k] of operands that lie so.
template <class Operand>
constexpr ProductClass product_class(std::int64_t m, std::int64_t n, std::int64_t k,
                                     Operand const& x, Operand const& y) {
  bool const x_rows = x.k_stride == 1, y_rows = y.k_stride == 1;
  return {std::is_same_v<Operand, Bf16Operand> ? ProductType::bf16 : ProductType::fp32,
          x_rows   ? y_rows ? ProductForm::nt : ProductForm::nn
          : y_rows ? ProductForm::tt
                   : ProductForm::tn,
          product_length(m), product_length(n), product_length(k)};
}

/// For each class of products, who makes them.
class ProductTable {
 public:
  static constexpr std::size_t types = 2, forms = 4, lengths = 3,
                               size = types * forms * lengths * lengths * lengths;

  /// What was found on processors with AVX-512. Of floats, few rows or columns are OpenBLAS's, and
  /// so are small products whose operands it need not turn. Of bf16 by vectors, `Avx512Blocks` are
  /// 1.6 to 4 times as fast as OpenBLAS on what is widened, and 0.85 to 1.9 times as fast as oneDNN
  /// 2.6, 1.2 in the geometric mean.
  constexpr ProductTable() {
    for (std::size_t i = 0; i < size; ++i) {
      auto const c = at(i);
      bool const thin = c.m == ProductLength::low || c.n == ProductLength::low;
      bool const small = c.form != ProductForm::nt && c.k == ProductLength::low &&
                         c.m == ProductLength::middle && c.n == ProductLength::middle;
      bool const bf16 = c.type == ProductType::bf16;
      makers_[i] = !bf16 && (thin || small) ? ProductMaker::openblas : ProductMaker::avx512;
    }
  }

  /// The same where vectors of bf16 are slow. With few rows or columns oneDNN 2.6 is 1.0 to 2.9
  /// times as fast as OpenBLAS on what is widened, else 0.7 to 1.0 times.
  static constexpr ProductTable of_slow_bf16() {
    ProductTable table;
    for (std::size_t i = 0; i < size; ++i) {
      auto const c = at(i);
      bool const thin = c.m == ProductLength::low || c.n == ProductLength::low;
      if (c.type == ProductType::bf16)
        table[i] = thin ? ProductMaker::onednn : ProductMaker::openblas;
    }
    return table;
  }

  /// The i-th class.
  static constexpr ProductClass at(std::size_t i) {
    auto const length = [&](std::size_t by) {
      return static_cast<ProductLength>(i / by % lengths);
    };
    constexpr auto of_a_form = lengths * lengths * lengths;
    return {static_cast<ProductType>(i / of_a_form / forms),
            static_cast<ProductForm>(i / of_a_form % forms), length(lengths * lengths),
            length(lengths), length(1)};
  }
  constexpr ProductMaker& operator[](std::size_t i) { return makers_[i]; }
  constexpr ProductMaker operator[](std::size_t i) const { return makers_[i]; }

  constexpr ProductMaker of(ProductClass const& c) const {
    auto const number = [](auto e) { return static_cast<std::size_t>(e); };
    auto const kind = number(c.type) * forms + number(c.form);
    return makers_[((kind * lengths + number(c.m)) * lengths + number(c.n)) * lengths +
                   number(c.k)];
  }
  bool operator==(ProductTable const&) const = default;

 private:
  std::array<ProductMaker, size> makers_{};
};

/// Whether some class is that maker's.
constexpr bool makes_some(ProductTable const& table, ProductMaker maker) {
  for (std::size_t i = 0; i < ProductTable::size; ++i)
    if (table[i] == maker) return true;
  return false;
}

/// The process's table, to be set before training starts.
inline ProductTable& product_table() {
  static auto table = detail::has_slow_bf16() ? ProductTable::of_slow_bf16() : ProductTable();
  return table;
}

/// Whether products of that type can be made so here: by this processor, and by this program.
inline bool can_make(ProductMaker maker, ProductType type) {
  bool const floats = type == ProductType::fp32;
  if (maker == ProductMaker::avx512) return floats ? has_avx512() : has_avx512_bf16();
  if (maker == ProductMaker::onednn)
    return OneDnnProduct::is_built_in && (floats || has_avx512_bf16());
  return true;
}

/// Who makes such a product here: what cannot be made so is OpenBLAS's.
inline ProductMaker product_maker(ProductClass const& c) {
  auto const maker = product_table().of(c);
  return can_make(maker, c.type) ? maker : ProductMaker::openblas;
}

}  // namespace nxd
