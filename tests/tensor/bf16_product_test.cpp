// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/scratch.hpp>
#include <nxd/tensor/kernels/simd_bf16_product.hpp>

using namespace nxd;

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// A matrix of bf16, its operand's lines rows or columns; it begins at an odd place of memory, and
/// there is room between its rows.
struct Operand {
  bool turned;
  std::int64_t stride;
  std::vector<bf16> numbers;

  Operand(std::int64_t lines, std::int64_t k, bool lie_turned, std::int64_t gap,
          std::uint64_t which)
      : turned(lie_turned),
        stride((turned ? lines : k) + gap),
        numbers(at((turned ? k : lines) * stride + 1)) {
    Stream const stream(which, "numbers");
    constexpr std::size_t period = 4093;
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = i < period ? to_bf16(static_cast<float>(stream.normal(i))) : numbers[i - period];
  }
  std::size_t place(std::int64_t line, std::int64_t l) const {
    return at(1 + (turned ? l * stride + line : line * stride + l));
  }
  double operator()(std::int64_t line, std::int64_t l) const {
    return static_cast<double>(to_float(numbers[place(line, l)]));
  }
  Bf16Operand operator()() const {
    return turned ? by_columns(numbers.data() + 1, stride) : by_rows(numbers.data() + 1, stride);
  }
};

struct Size {
  std::int64_t m, n, k;
};

struct Case {
  Size size;
  Operand x, y;
  std::int64_t z_stride;

  Case(Size s, int lie, std::int64_t gap = 0)
      : size(s),
        x(s.m, s.k, lie % 2 == 1, gap, 1),
        y(s.n, s.k, lie / 2 % 2 == 1, 2 * gap, 2),
        z_stride(s.n + 3 * gap) {}

  template <class T> std::vector<T> result(T value) const {
    return std::vector<T>(at(size.m * z_stride + 1), value);
  }

  template <class S> void multiply(S const& store) const {
    Bf16Product::multiply(size.m, size.n, size.k, x(), y(), store);
  }

  /// The sums of products and of their sizes.
  struct Sum {
    double sum = 0, size = 0;
  };
  Sum sum(std::int64_t i, std::int64_t j) const {
    Sum all;
    for (std::int64_t l = 0; l < size.k; ++l) {
      auto const product = x(i, l) * y(j, l);
      all.sum += product, all.size += std::abs(product);
    }
    return all;
  }

  /// The largest error of z = alpha x y + addend, in units of what rounding allows: of 2^-24 of all
  /// that is summed each time that something is added, and of half a unit of bf16 at the end. What
  /// lies between the rows is to be untouched.
  template <class T>
  double error(std::vector<T> const& z, std::vector<T> const& before, double alpha = 1,
               double addend_times = 0) const {
    double worst = 0;
    for (std::int64_t i = 0; i < size.m; ++i)
      for (std::int64_t j = 0; j < z_stride; ++j) {
        auto const place = at(1 + i * z_stride + j);
        auto const is = number(z[place]), was = number(before[place]);
        if (j >= size.n) {
          if (!(is == was)) return std::numeric_limits<double>::infinity();
          continue;
        }
        auto const s = sum(i, j);
        auto const wanted = alpha * s.sum + addend_times * was;
        auto allowed = static_cast<double>(size.k + 4) * 0x1p-24 *
                       (std::abs(alpha) * s.size + std::abs(addend_times * was));
        if (std::is_same_v<T, bf16>) allowed += 0x1.02p-8 * std::abs(wanted);
        worst = std::max(worst, std::abs(is - wanted) / std::max(allowed, 1e-35));
      }
    return worst;
  }

  static double number(float x) { return static_cast<double>(x); }
  static double number(bf16 x) { return static_cast<double>(to_float(x)); }
};

/// Calls `test(by_tiles)` with products by each of their makers that this processor can be.
void by_each_maker(auto const& test) {
  auto const kept = product_table();
  for (auto const whom : {"AMX", "AVX-512", "OpenBLAS"}) {
    INFO("by " << std::string(whom));
    bool const by_vectors = std::string_view(whom) == "AVX-512";
    amx_wanted() = std::string_view(whom) == "AMX";
    for (std::size_t i = 0; i < ProductTable::size; ++i)
      product_table()[i] = by_vectors ? ProductMaker::avx512 : ProductMaker::openblas;
    auto const m = by_rows(nullptr, 64);
    bool const by_tiles = Bf16Product::is_by_tiles(64, 64, 64, m, m);
    if (amx_wanted() && !has_amx())
      MESSAGE("skipped: this machine has no AMX with bf16");
    else if (by_vectors && !by_tiles)
      MESSAGE("skipped: this machine has no AVX-512 with bf16");
    else
      test(by_tiles);
  }
  amx_wanted() = true;
  product_table() = kept;
}

template <class T> void check_all_forms(Size size, std::int64_t gap) {
  for (int lie = 0; lie < 4; ++lie) {
    Case const c(size, lie, gap);
    INFO("m " << size.m << ", n " << size.n << ", k " << size.k << ", lie " << lie);
    auto const before = c.result(T{});
    auto z = before;
    c.multiply(StoreProduct{z.data() + 1, c.z_stride, -0.5f});
    REQUIRE(c.error(z, before, -0.5) <= 1);
  }
}

void check_sizes() {
  std::vector<std::int64_t> const extents{1, 15, 16, 17, 31, 33, 64};
  for (auto const m : extents)
    for (auto const n : extents)
      for (auto const k : {1, 2, 15, 31, 32, 33, 65})
        (m + n + k) % 2 == 0 ? check_all_forms<bf16>({m, n, k}, (m + k) % 3)
                             : check_all_forms<float>({m, n, k}, (m + k) % 3);
  for (auto const& size : {Size{100, 3, 257}, Size{63, 65, 1100}, Size{1, 1, 5000},
                           Size{65, 1500, 40}, Size{700, 40, 33}, Size{40, 70, 2500}}) {
    check_all_forms<bf16>(size, 5);
    check_all_forms<float>(size, 0);
  }
}

/// The results of one product, its operands however they lie, packed before or not, and with any
/// number of threads.
std::vector<std::vector<float>> all_results(Size const& size) {
  auto const [m, n, k] = size;
  auto const threads = omp_get_max_threads();
  std::vector<std::vector<float>> results;
  Case const plain(size, 0);
  for (int lie = 0; lie < 4; ++lie) {
    Case c(size, lie);
    for (std::int64_t l = 0; l < k; ++l) {
      for (std::int64_t i = 0; i < m; ++i)
        c.x.numbers[c.x.place(i, l)] = plain.x.numbers[plain.x.place(i, l)];
      for (std::int64_t j = 0; j < n; ++j)
        c.y.numbers[c.y.place(j, l)] = plain.y.numbers[plain.y.place(j, l)];
    }
    PackedOperand left(OperandSide::left), right(OperandSide::right);
    left.pack(m, k, c.x());
    right.pack(n, k, c.y());
    for (int const count : {1, 2, 3}) {
      omp_set_num_threads(count);
      for (int packed = 0; packed < 4; ++packed) {
        std::vector<float> z(at(m * n), std::numeric_limits<float>::quiet_NaN());
        Bf16Product::multiply(m, n, k, packed % 2 == 1 ? Bf16Source(left) : c.x(),
                              packed >= 2 ? Bf16Source(right) : c.y(), StoreProduct{z.data(), n});
        results.push_back(std::move(z));
      }
    }
  }
  omp_set_num_threads(threads);
  return results;
}

}  // namespace

TEST_CASE("products of bf16 are as near as rounding allows, however their operands lie") {
  by_each_maker([](bool) { check_sizes(); });
}

TEST_CASE("gradients accumulate in fp32, a residual or a bias is added before the one rounding") {
  by_each_maker([&](bool) {
    Case const c({70, 90, 130}, 3, 1);
    auto const before = [&] {
      auto v = c.result(0.f);
      for (std::size_t i = 0; i < v.size(); ++i)
        v[i] = static_cast<float>(Stream(3, "numbers").normal(i));
      return v;
    }();
    auto z = before;
    c.multiply(accumulate_into(z.data() + 1, c.z_stride, 2));
    CHECK(c.error(z, before, 2, 1) <= 1);

    std::vector<bf16> residual(before.size()), sum(before.size());
    for (std::size_t i = 0; i < before.size(); ++i) residual[i] = sum[i] = to_bf16(before[i]);
    c.multiply(StoreSum<bf16>{sum.data() + 1, c.z_stride, residual.data() + 1, c.z_stride});
    CHECK(c.error(sum, residual, 1, 1) <= 1);

    std::vector<float> biased(before), plain(before);
    c.multiply(StoreSum<float, bf16>{biased.data(), c.z_stride, residual.data(), 0});
    c.multiply(StoreProduct{plain.data(), c.z_stride});
    bool same = true;
    for (std::int64_t i = 0; i < 70; ++i)
      for (std::int64_t j = 0; j < 90; ++j) {
        auto const place = at(i * c.z_stride + j);
        same = same && biased[place] == plain[place] + to_float(residual[at(j)]);
      }
    CHECK(same);
  });
}

TEST_CASE("nothing summed is zero, nothing is added, and no rows are no work") {
  by_each_maker([&](bool) {
    Case const c({40, 50, 0}, 0);
    std::vector<float> z(at(40 * 50), 7.f);
    c.multiply(accumulate_into(z.data(), 50));
    CHECK(std::ranges::all_of(z, [](float v) { return v == 7.f; }));
    c.multiply(StoreProduct{z.data(), 50});
    CHECK(std::ranges::all_of(z, [](float v) { return v == 0.f; }));
    z.assign(z.size(), 7.f);
    Case({0, 50, 60}, 0).multiply(StoreProduct{z.data(), 50});
    Case({50, 0, 60}, 3).multiply(StoreProduct{z.data(), 50});
    CHECK(std::ranges::all_of(z, [](float v) { return v == 7.f; }));
  });
}

TEST_CASE("what is not finite stays so, where it counts and nowhere else") {
  auto const infinity = std::numeric_limits<float>::infinity();
  by_each_maker([&](bool) {
    for (auto const bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()})
      for (int lie = 0; lie < 4; ++lie) {
        Case c({37, 45, 50}, lie);
        c.x.numbers[c.x.place(33, 49)] = to_bf16(bad);
        std::vector<bf16> z(at(37 * 45));
        c.multiply(StoreProduct{z.data(), 45});
        for (std::int64_t i = 0; i < 37; ++i)
          for (std::int64_t j = 0; j < 45; ++j) {
            auto const value = to_float(z[at(i * 45 + j)]);
            if (i != 33)
              REQUIRE(std::isfinite(value));
            else if (std::isnan(bad))
              REQUIRE(std::isnan(value));
            else
              REQUIRE(value == (c.y(j, 49) > 0 ? bad : -bad));
          }
      }
  });
}

TEST_CASE(
    "by tiles bits depend neither on threads, nor on how operands lie, nor on packing before") {
  by_each_maker([](bool by_tiles) {
    if (!by_tiles) return;
    for (auto const& size :
         {Size{133, 300, 129}, Size{70, 600, 1100}, Size{600, 40, 2100}, Size{70, 1100, 2100}}) {
      auto const results = all_results(size);
      CHECK(std::ranges::all_of(results, [&](auto const& z) { return z == results.front(); }));
    }
  });
}

TEST_CASE("by tiles some rows or columns of a product have the bits of all") {
  by_each_maker([](bool by_tiles) {
    if (!by_tiles) return;
    auto const [m, n, k] = Size{150, 110, 2100};
    Case const c({m, n, k}, 2);
    std::vector<float> all(at(m * n)), pieces(all);
    Bf16Product::multiply(m, n, k, c.x(), c.y(), StoreProduct{all.data(), n});
    for (auto const& [first, last] :
         {std::pair<std::int64_t, std::int64_t>{0, 5}, {5, 48}, {48, m}})
      Bf16Product::multiply(last - first, n, k, c.x().from(first, 0), c.y(),
                            StoreProduct{pieces.data() + first * n, n});
    CHECK(pieces == all);
    for (auto const& [first, last] :
         {std::pair<std::int64_t, std::int64_t>{0, 48}, {48, 55}, {55, n}})
      Bf16Product::multiply(m, last - first, k, c.x(), c.y().from(first, 0),
                            StoreProduct{pieces.data() + first, n});
    CHECK(pieces == all);
  });
}

TEST_CASE("rows that are multiplied where they lie give the same bits as packed ones") {
  // Rows of whole cache lines, the last panel not whole; one and several parts of the sums.
  by_each_maker([](bool by_tiles) {
    if (!by_tiles) return;
    for (auto const& size : {Size{70, 45, 96}, Size{100, 70, 2560}}) {
      Case const c(size, 2);
      auto const [m, n, k] = size;
      detail::Scratch memory;
      auto* const x = reinterpret_cast<bf16*>(memory.at_least(at(m * (k + 32) * 2)));
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t l = 0; l < k; ++l) x[i * (k + 32) + l] = c.x.numbers[c.x.place(i, l)];
      auto packed = c.result(0.f), lying = packed;
      c.multiply(StoreProduct{packed.data() + 1, n});
      Bf16Product::multiply(m, n, k, by_rows(x, k + 32), c.y(), StoreProduct{lying.data() + 1, n});
      CHECK(lying == packed);
      CHECK(c.error(lying, c.result(0.f)) <= 1);
    }
  });
}

TEST_CASE("a packed weight serves both products of a linear layer, and is packed again in place") {
  constexpr std::int64_t rows = 70, columns = 45, tokens = 33;
  PackedWeight weight;
  by_each_maker([&](bool) {
    for (std::uint64_t step = 0; step < 2; ++step) {
      Operand const w(rows, columns, false, 3, 5 + step);
      Operand const x(tokens, columns, false, 0, 7), dy(tokens, rows, false, 0, 8);
      weight.pack(w().at, rows, columns, w.stride);
      std::vector<float> y(at(tokens * rows)), dx(at(tokens * columns)), y2(y), dx2(dx);
      Bf16Product::multiply(tokens, rows, columns, x(), weight.forward,
                            StoreProduct{y.data(), rows});
      Bf16Product::multiply(tokens, columns, rows, dy(), weight.backward,
                            StoreProduct{dx.data(), columns});
      Bf16Product::multiply(tokens, rows, columns, x(), w(), StoreProduct{y2.data(), rows});
      Bf16Product::multiply(tokens, columns, rows, dy(), by_columns(w().at, w.stride),
                            StoreProduct{dx2.data(), columns});
      CHECK(y == y2);
      CHECK(dx == dx2);
      CHECK_THROWS_AS(Bf16Product::multiply(tokens, rows, columns, x(), weight.backward,
                                            StoreProduct{y.data(), rows}),
                      Error);
    }
  });
}

TEST_CASE("a batch is its products, one after another") {
  constexpr std::int64_t count = 5, m = 70, n = 64, k = 90;
  by_each_maker([&](bool) {
    Operand const x(count * m, k, false, 0, 1), y(count * k, n, false, 0, 2);
    std::vector<bf16> one(at(count * m * n)), all(one);
    for (std::int64_t i = 0; i < count; ++i)
      Bf16Product::multiply(m, n, k, by_rows(x().at + i * m * k, k),
                            by_columns(y().at + i * k * n, n),
                            StoreProduct{one.data() + i * m * n, n});
    Bf16Product::multiply_batch({count, m * k, k * n, m * n}, m, n, k, x(), by_columns(y().at, n),
                                StoreProduct{all.data(), n});
    CHECK(one == all);
  });
}
