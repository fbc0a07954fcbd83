// SPDX-License-Identifier: Apache-2.0
//
// What do matrix products by tiles of bf16 gain over BLAS's sgemm, packing of both operands
// included? Times one product (bf16) and three of split operands (bf16x3) against cblas_sgemm, in
// turn, in one run, at the shapes of a training step: y[T, N] = x[T, K] w[N, K]^T, dx = dy w, dw =
// dy^T x.
//
//   products [--json] [--only WORD]     threads: OMP_NUM_THREADS
//
// OpenBLAS picks its kernels by the processor's model, and those for AVX2 where it does not know
// it; OPENBLAS_CORETYPE=SKYLAKEX has it use AVX-512.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <cblas.h>

#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/amx_product.hpp>

#include "measure.hpp"

using namespace nxd;

namespace {

enum class Pass { forward, inputs, weights };

/// A linear layer of T tokens, K features in and N out.
struct Layer {
  char const* name;
  std::int64_t tokens, in, out;
};

constexpr Layer layers[] = {{"cube 256", 256, 256, 256},      {"cube 512", 512, 512, 512},
                            {"cube 1024", 1024, 1024, 1024},  {"cube 2048", 2048, 2048, 2048},
                            {"wide", 2048, 768, 3072},        {"wider", 512, 2048, 8192},
                            {"15m qkv", 2048, 288, 864},      {"15m out", 2048, 288, 288},
                            {"15m gate+up", 2048, 288, 1536}, {"15m down", 2048, 768, 288},
                            {"15m head", 1024, 288, 32000},   {"125m qkv", 1024, 768, 1280},
                            {"125m out", 1024, 768, 768},     {"125m gate+up", 1024, 768, 4096},
                            {"125m down", 1024, 2048, 768},   {"125m head", 512, 768, 32000}};

std::vector<float> numbers(std::int64_t count, std::uint64_t stream) {
  std::vector<float> v(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(Stream(stream, "numbers").uniform(i % 4096)) - 0.5f;
  return v;
}

/// z[m, n] = sum over k: the product of one pass of a layer.
struct Work {
  std::int64_t m, n, k;
  bool x_turned, y_turned;  ///< k runs along rows of memory
  std::vector<float> x, y, z;

  Work(Layer const& l, Pass pass)
      : m(pass == Pass::weights ? l.out : l.tokens),
        n(pass == Pass::forward ? l.out : l.in),
        k(pass == Pass::forward  ? l.in
          : pass == Pass::inputs ? l.out
                                 : l.tokens),
        x_turned(pass == Pass::weights),
        y_turned(pass != Pass::forward),
        x(numbers(m * k, 1)),
        y(numbers(n * k, 2)),
        z(static_cast<std::size_t>(m * n)) {}

  double operations() const { return 2. * static_cast<double>(m * n) * static_cast<double>(k); }

  void by_blas() {
    cblas_sgemm(CblasRowMajor, x_turned ? CblasTrans : CblasNoTrans,
                y_turned ? CblasNoTrans : CblasTrans, static_cast<int>(m), static_cast<int>(n),
                static_cast<int>(k), 1, x.data(), static_cast<int>(x_turned ? m : k), y.data(),
                static_cast<int>(y_turned ? n : k), 0, z.data(), static_cast<int>(n));
  }
  template <Bf16Terms split> void by_tiles() {
    AmxProduct::multiply<split>(m, n, k, {x.data(), x_turned ? 1 : k, x_turned ? m : 1},
                                {y.data(), y_turned ? 1 : k, y_turned ? n : 1}, z.data(), n, false);
  }
};

struct Row {
  std::string name;
  Pass pass;
  std::int64_t m, n, k;
  double rate;           ///< GFLOP/s of sgemm
  bench::Pair one, two;  ///< sgemm over ours
  double one_rate, two_rate;
};

Row measure(Layer const& layer, Pass pass) {
  Work work(layer, pass);
  auto const operations = work.operations();
  auto const turns = static_cast<int>(std::clamp(1e11 / operations, 7., 61.));
  auto const blas = [&] { work.by_blas(); };
  auto const one = bench::compare(
      blas, [&] { work.by_tiles<Bf16Terms::one>(); }, turns);
  auto const two = bench::compare(
      blas, [&] { work.by_tiles<Bf16Terms::two>(); }, turns);
  auto const rate = [&](double seconds) { return operations / seconds * 1e-9; };
  return {layer.name,     pass, work.m, work.n,           work.k,
          rate(one.ours), one,  two,    rate(one.theirs), rate(two.theirs)};
}

std::string text(Row const& r, bool json) {
  constexpr char const* passes[] = {"y", "dx", "dw"};
  char line[512];
  std::snprintf(
      line, sizeof line,
      json ? "{\"layer\": \"%s\", \"pass\": \"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, "
             "\"sgemm\": %.1f, \"bf16\": %.1f, \"bf16_ratio\": %.3f, \"bf16_low\": %.3f, "
             "\"bf16_high\": %.3f, \"bf16x3\": %.1f, \"bf16x3_ratio\": %.3f, "
             "\"bf16x3_low\": %.3f, \"bf16x3_high\": %.3f}"
           : "%-13s %-2s %6lld %6lld %6lld %7.0f %8.0f %6.2f (%5.2f to %5.2f) %8.0f %6.2f "
             "(%5.2f to %5.2f)\n",
      r.name.c_str(), passes[static_cast<int>(r.pass)], static_cast<long long>(r.m),
      static_cast<long long>(r.n), static_cast<long long>(r.k), r.rate, r.one_rate, r.one.ratio,
      r.one.lowest, r.one.highest, r.two_rate, r.two.ratio, r.two.lowest, r.two.highest);
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  char const* only = "";
  for (int i = 1; i < argc; ++i) {
    json = json || std::strcmp(argv[i], "--json") == 0;
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
  }
  if (!has_amx()) {
    std::fprintf(stderr, "products: this machine has no AMX with bf16: nothing to compare\n");
    return 0;
  }
  if (!json)
    std::printf(
        "GFLOP/s, and times sgemm's (the middle half of the ratios)\n%-13s %-2s %6s %6s %6s "
        "%7s %8s %23s %8s\n",
        "layer", "", "m", "n", "k", "sgemm", "bf16", "", "bf16x3");
  double logs[2] = {0, 0};
  int rows = 0;
  for (auto const& layer : layers)
    for (auto const pass : {Pass::forward, Pass::inputs, Pass::weights}) {
      if (std::strstr(layer.name, only) == nullptr) continue;
      auto const row = measure(layer, pass);
      logs[0] += std::log(row.one.ratio), logs[1] += std::log(row.two.ratio);
      std::printf("%s%s", json ? rows > 0 ? ", " : "{\"benchmark\": \"products\", \"rows\": [" : "",
                  text(row, json).c_str());
      std::fflush(stdout);
      ++rows;
    }
  if (rows > 0)
    std::printf(json ? "], \"bf16_mean\": %.3f, \"bf16x3_mean\": %.3f}\n"
                     : "geometric mean over sgemm: bf16 %.2f, bf16x3 %.2f\n",
                std::exp(logs[0] / rows), std::exp(logs[1] / rows));
  return 0;
}
