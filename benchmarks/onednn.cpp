// SPDX-License-Identifier: Apache-2.0
//
// How fast are products of bf16 by our tiles beside oneDNN's, at the shapes of a training step?
// y[T, N] = x[T, K] w[N, K]^T and dx = dy w are stored as bf16, dw = dy^T x as fp32. Two questions:
// `lying`, both operands as they lie in memory (oneDNN: plain, or a reorder of the right one and a
// product, whichever is faster), and `packed`, the weight packed before (oneDNN: reordered to its
// own format); dw has no weight, and is the same in both. With --fp32: products of floats by
// AVX-512, first beside oneDNN's, then beside OpenBLAS's; and how fast a loop of nothing but FMA
// is.
//
//   onednn [--json] [--fp32] [--only WORD]     threads: OMP_NUM_THREADS
//
// All take turns. One thread is timed by its processor time: what others take of the core does not
// count. A ratio is theirs over ours: the median of the turns', and that of the fastest tenths.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>
#include <time.h>

#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/scratch.hpp>
#include <nxd/tensor/kernels/simd_bf16_product.hpp>
#include <nxd/tensor/kernels/simd_product.hpp>

#include "measure.hpp"

using namespace nxd;

namespace {

/// A linear layer of T tokens, K features in and N out.
struct Layer {
  char const* name;
  std::int64_t tokens, in, out;
};

constexpr Layer layers[] = {{"15m qkv", 2048, 288, 864},      {"15m out", 2048, 288, 288},
                            {"15m gate+up", 2048, 288, 1536}, {"15m down", 2048, 768, 288},
                            {"15m head", 1024, 288, 32000},   {"125m qkv", 1024, 768, 1280},
                            {"125m out", 1024, 768, 768},     {"125m gate+up", 1024, 768, 4096},
                            {"125m down", 1024, 2048, 768},   {"125m head", 512, 768, 32000}};

enum class Pass { forward, inputs, weights };
constexpr char const* names[] = {"y", "dx", "dw"};

/// z[m, n] = sum over k: how one pass of a layer multiplies, and where its operands lie.
struct Shape {
  std::int64_t m, n, k;
  bool x_turned, y_turned;  ///< k runs along columns of memory

  Shape(Layer const& l, Pass pass)
      : m(pass == Pass::weights ? l.out : l.tokens),
        n(pass == Pass::forward ? l.out : l.in),
        k(pass == Pass::forward  ? l.in
          : pass == Pass::inputs ? l.out
                                 : l.tokens),
        x_turned(pass == Pass::weights),
        y_turned(pass != Pass::forward) {}

  double operations() const { return 2. * static_cast<double>(m * n) * static_cast<double>(k); }
};

/// Memory as a training step has it: on large pages, at the start of a cache line.
template <class T> class Numbers {
 public:
  explicit Numbers(std::int64_t count)
      : at_(reinterpret_cast<T*>(memory_.at_least(static_cast<std::size_t>(count) * sizeof(T)))) {
    for (std::int64_t i = 0; i < count; ++i) {
      auto const x =
          static_cast<float>(splitmix(static_cast<std::uint64_t>(i)) % 2047) / 2048 - .5f;
      detail::write(x, at_ + i);
    }
  }
  T* data() const { return at_; }

 private:
  static std::uint64_t splitmix(std::uint64_t x) {
    x = (x + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 31;
  }
  detail::Scratch memory_;
  T* at_;
};

/// A product of bf16 by oneDNN: the right operand plain, or in the format that it asks for.
class OneDnn {
 public:
  enum class Weights { plain, reordered };

  OneDnn(Shape const& s, dnnl::memory::data_type out, void* x, void* y, void* z, Weights weights) {
    using dnnl::memory;
    using Dims = memory::dims;
    constexpr auto in = memory::data_type::bf16;
    memory::desc const a({s.m, s.k}, in, s.x_turned ? Dims{1, s.m} : Dims{s.k, 1});
    memory::desc const plain({s.k, s.n}, in, s.y_turned ? Dims{s.n, 1} : Dims{1, s.k});
    memory::desc const any({s.k, s.n}, in, memory::format_tag::any);
    memory::desc const c({s.m, s.n}, out, Dims{s.n, 1});
    bool const reordered = weights == Weights::reordered;
    dnnl::matmul::primitive_desc const how(dnnl::matmul::desc(a, reordered ? any : plain, c),
                                           engine());
    product_ = dnnl::matmul(how);
    plain_ = memory(plain, engine(), y);
    used_ = reordered ? memory(how.weights_desc(), engine()) : plain_;
    if (reordered) {
      reorder_ = dnnl::reorder(plain_, used_);
      reorder();
    }
    arguments_ = {{DNNL_ARG_SRC, memory(a, engine(), x)},
                  {DNNL_ARG_WEIGHTS, used_},
                  {DNNL_ARG_DST, memory(c, engine(), z)}};
  }

  void reorder() { reorder_.execute(stream(), plain_, used_), stream().wait(); }
  void multiply() { product_.execute(stream(), arguments_), stream().wait(); }

 private:
  static dnnl::engine& engine() {
    static dnnl::engine one(dnnl::engine::kind::cpu, 0);
    return one;
  }
  static dnnl::stream& stream() {
    static dnnl::stream one(engine());
    return one;
  }
  dnnl::matmul product_;
  dnnl::memory plain_, used_;
  dnnl::reorder reorder_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

double seconds(std::function<void()> const& work) {
  if (omp_get_max_threads() > 1) return bench::seconds(work);
  auto const now = [] {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  auto const start = now();
  work();
  return now() - start;
}

struct Ratio {
  double rate, their_rate;  ///< GFLOP/s
  double median, best;      ///< theirs over ours, in seconds
};

/// Seconds of each turn.
using Times = std::vector<double>;

Ratio ratio(Times const& ours, Times const& theirs, double operations) {
  Times ratios;
  for (std::size_t i = 0; i < ours.size(); ++i) ratios.push_back(theirs[i] / ours[i]);
  auto const fastest = [](Times t) {
    std::ranges::sort(t);
    return t[t.size() / 10];
  };
  return {1e-9 * operations / bench::median(ours), 1e-9 * operations / bench::median(theirs),
          bench::median(ratios), fastest(theirs) / fastest(ours)};
}

std::vector<Times> take_turns(std::vector<std::function<void()>> const& all, double operations) {
  auto const turns = static_cast<int>(std::clamp(3e10 / operations, 9., 41.));
  std::vector<Times> times(all.size());
  for (int turn = -2; turn < turns; ++turn)
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto const s = seconds(all[i]);
      if (turn >= 0) times[i].push_back(s);
    }
  return times;
}

/// The ratios of one pass: lying and packed, or that of fp32.
std::vector<Ratio> of_bf16(Shape const& s, Pass pass) {
  using Type = dnnl::memory::data_type;
  Numbers<bf16> const x(s.m * s.k), y(s.n * s.k);
  Numbers<float> const z(s.m * s.n);
  auto const left = s.x_turned ? by_columns(x.data(), s.m) : by_rows(x.data(), s.k);
  auto const right = s.y_turned ? by_columns(y.data(), s.n) : by_rows(y.data(), s.k);
  bool const is_gradient = pass == Pass::weights;
  auto const ours = [&](Bf16Source const& weight) {
    if (is_gradient)
      Bf16Product::multiply(s.m, s.n, s.k, left, weight, StoreProduct{z.data(), s.n});
    else
      Bf16Product::multiply(s.m, s.n, s.k, left, weight,
                            StoreProduct{reinterpret_cast<bf16*>(z.data()), s.n});
  };
  PackedOperand weight(OperandSide::right);
  weight.pack(s.n, s.k, right);
  auto const theirs = [&](OneDnn::Weights weights) {
    return OneDnn(s, is_gradient ? Type::f32 : Type::bf16, x.data(), y.data(), z.data(), weights);
  };
  auto plain = theirs(OneDnn::Weights::plain), reordered = theirs(OneDnn::Weights::reordered);
  auto const times = take_turns(
      {[&] { ours(right); }, [&] { ours(weight); }, [&] { plain.multiply(); },
       [&] { reordered.multiply(); }, [&] { reordered.reorder(), reordered.multiply(); }},
      s.operations());
  auto const& lying = bench::median(times[2]) < bench::median(times[4]) ? times[2] : times[4];
  auto const first = ratio(times[0], lying, s.operations());
  return {first, is_gradient ? first : ratio(times[1], times[3], s.operations())};
}

std::vector<Ratio> of_fp32(Shape const& s) {
  Numbers<float> const x(s.m * s.k), y(s.n * s.k), z(s.m * s.n);
  auto const by = [&](ProductMaker maker) {
    return [&, maker] {
      SimdProduct::multiply_by(
          maker, s.m, s.n, s.k, {x.data(), s.x_turned ? 1 : s.k, s.x_turned ? s.m : 1},
          {y.data(), s.y_turned ? 1 : s.k, s.y_turned ? s.n : 1}, {z.data(), s.n});
    };
  };
  auto const ours = has_avx512() ? ProductMaker::avx512 : ProductMaker::openblas;
  auto const times =
      take_turns({by(ours), by(ProductMaker::onednn), by(ProductMaker::openblas)}, s.operations());
  return {ratio(times[0], times[1], s.operations()), ratio(times[0], times[2], s.operations())};
}

#if defined(__x86_64__)
/// GFLOP/s of a loop whose sums stay in registers, on all threads.
[[gnu::target("avx512f")]] double fma_rate() {
  constexpr int count = 2'000'000, sums = 24;
  auto const loop = [](float from) __attribute__((target("avx512f"))) {
    auto x = _mm512_set1_ps(from);
    asm volatile("" : "+v"(x));
    __m512 z[sums];
    for (auto& sum : z) sum = _mm512_setzero_ps();
    for (int i = 0; i < count; ++i)
#pragma GCC unroll 24
      for (auto& sum : z) sum = _mm512_fmadd_ps(x, x, sum);
    for (auto& sum : z) x = _mm512_add_ps(x, sum);
    asm volatile("" : : "v"(x));
  };
  auto const all = [&] {
#pragma omp parallel
    loop(.5f);
  };
  all();
  return 32e-9 * sums * count * omp_get_max_threads() /
         std::min(bench::seconds(all), bench::seconds(all));
}
#endif

std::string text(Ratio const& r, char const* what, bool json) {
  char line[256];
  std::snprintf(line, sizeof line,
                json ? ", \"%s\": {\"ours\": %.1f, \"theirs\": %.1f, \"median\": %.3f, "
                       "\"best\": %.3f}"
                     : "   %s %6.0f %6.0f %6.2f %6.2f",
                what, r.rate, r.their_rate, r.median, r.best);
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false, fp32 = false;
  char const* only = "";
  for (int i = 1; i < argc; ++i) {
    json = json || std::strcmp(argv[i], "--json") == 0;
    fp32 = fp32 || std::strcmp(argv[i], "--fp32") == 0;
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
  }
  char const* const questions[] = {fp32 ? "onednn" : "lying", fp32 ? "openblas" : "packed"};
  if (!json)
    std::printf("%s: GFLOP/s of ours and of %s; ratio: median, fastest tenths\n",
                fp32        ? "fp32"
                : has_amx() ? "bf16"
                            : "bf16 without AMX",
                fp32 ? "the other" : "oneDNN");
#if defined(__x86_64__)
  if (!json && fp32 && has_avx512()) std::printf("FMA alone: %.0f GFLOP/s\n", fma_rate());
#endif
  double logs[2][2] = {};
  int rows = 0;
  for (auto const& layer : layers)
    for (auto const pass : {Pass::forward, Pass::inputs, Pass::weights}) {
      if (std::strstr(layer.name, only) == nullptr) continue;
      Shape const shape(layer, pass);
      auto const ratios = fp32 ? of_fp32(shape) : of_bf16(shape, pass);
      auto const* const name = names[static_cast<int>(pass)];
      std::printf(json ? "%s{\"layer\": \"%s\", \"pass\": \"%s\"" : "%s%-13s %-2s",
                  !json      ? ""
                  : rows > 0 ? ", "
                             : "{\"benchmark\": \"onednn\", \"rows\": [",
                  layer.name, name);
      if (json) std::printf(", \"gflop\": %.4f", 1e-9 * shape.operations());
      for (std::size_t i = 0; i < ratios.size(); ++i) {
        std::printf("%s", text(ratios[i], questions[i], json).c_str());
        logs[i][0] += std::log(ratios[i].median), logs[i][1] += std::log(ratios[i].best);
      }
      std::printf(json ? "}" : "\n");
      std::fflush(stdout);
      ++rows;
    }
  if (rows == 0) return 0;
  if (json) std::printf("], \"means\": {");
  for (int i = 0; i < 2; ++i)
    std::printf(
        json ? "%s\"%s\": [%.3f, %.3f]" : "%sgeometric mean, %s: median %.2f, fastest %.2f\n",
        json && i > 0 ? ", " : "", questions[i], std::exp(logs[i][0] / rows),
        std::exp(logs[i][1] / rows));
  if (json) std::printf("}}\n");
  return 0;
}
