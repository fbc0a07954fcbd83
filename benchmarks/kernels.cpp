// SPDX-License-Identifier: Apache-2.0
//
// How far is each kernel of a training step from its floor? The floor of one that moves memory is a
// loop over the streams that it must read and write, with nothing to compute; the floor of one that
// multiplies is sgemm on the same products, whole. Both are timed in turn, in one run.
//
//   kernels [--json] [--only WORD]     threads: OMP_NUM_THREADS

#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <cblas.h>

#include <nxd/autodiff/linear_cross_entropy.hpp>
#include <nxd/nn/dims.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "measure.hpp"

using namespace nxd;

namespace {

using K = SimdKernels;
using Numbers = std::vector<float>;

Numbers numbers(std::int64_t count) {
  Numbers v(static_cast<std::size_t>(count));
  std::ranges::generate(v, [i = std::int64_t{0}]() mutable { return Uniform<float>{3}(i++); });
  return v;
}

/// Reads some streams of n floats and writes others, which may be the same.
template <std::size_t R, std::size_t W>
void stream(std::int64_t n, std::array<float const*, R> const& from,
            std::array<float*, W> const& to) {
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < n; ++i) {
    float sum = 0;
    for (std::size_t r = 0; r < R; ++r) sum += from[r][i];
    for (std::size_t w = 0; w < W; ++w) to[w][i] = sum;
  }
}

struct Row {
  char const* kernel;
  char const* floor;
  std::function<bench::Pair(int turns)> measure;
};

/// Ours against a loop over streams.
template <std::size_t R, std::size_t W>
bench::Pair against_streams(int turns, std::int64_t n, auto const& ours,
                            std::array<float const*, R> const& from,
                            std::array<float*, W> const& to) {
  return bench::compare(
      ours, [&] { stream(n, from, to); }, turns);
}

bench::Pair adamw(int turns) {
  constexpr std::int64_t n = std::int64_t{1} << 24;
  auto g = numbers(n), w = numbers(n), m = numbers(n), v = Numbers(n, 0.5f);
  AdamWStep const step{1e-3, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1};
  return against_streams<4, 3>(
      turns, n, [&] { K::adamw(step, n, g.data(), w.data(), m.data(), v.data()); },
      {g.data(), w.data(), m.data(), v.data()}, {w.data(), m.data(), v.data()});
}

constexpr std::int64_t rows = 2048, columns = 768;

bench::Pair rms_norm(int turns) {
  auto x = numbers(rows * columns), w = numbers(columns), y = x, inverse = numbers(rows);
  return against_streams<1, 1>(
      turns, rows * columns,
      [&] { K::rms_norm(rows, columns, 1e-5, x.data(), w.data(), y.data(), inverse.data()); },
      {x.data()}, {y.data()});
}

bench::Pair rms_norm_pull(int turns) {
  auto x = numbers(rows * columns), w = numbers(columns), dy = x, dx = x, dw = w;
  Numbers inverse(rows, 1.f);
  return against_streams<2, 1>(turns, rows * columns,
                               [&] {
                                 K::rms_norm_pull(rows, columns, x.data(), w.data(), inverse.data(),
                                                  dy.data(), dx.data(), dw.data());
                               },
                               {x.data(), dy.data()}, {dx.data()});
}

bench::Pair swiglu(int turns) {
  constexpr auto n = rows * columns;
  auto x = numbers(2 * n), y = numbers(n);
  return against_streams<2, 1>(turns, n, [&] { K::swiglu(rows, columns, x.data(), y.data()); },
                               {x.data(), x.data() + n}, {y.data()});
}

bench::Pair swiglu_pull(int turns) {
  constexpr auto n = rows * columns;
  auto x = numbers(2 * n), dy = numbers(n), dx = x;
  return against_streams<3, 2>(
      turns, n, [&] { K::swiglu_pull(rows, columns, x.data(), dy.data(), dx.data()); },
      {x.data(), x.data() + n, dy.data()}, {dx.data(), dx.data() + n});
}

bench::Pair rotate(int turns) {
  Rotary const s{4, 512, 12, 64};
  auto const n = s.batch * s.positions * s.heads * s.head_dim;
  auto x = numbers(n), y = x, c = numbers(512 * 32), d = c;
  return against_streams<1, 1>(turns, n,
                               [&] { K::rotate(s, x.data(), c.data(), d.data(), y.data(), 1); },
                               {x.data()}, {y.data()});
}

bench::Pair residual(int turns) {
  auto x = numbers(rows * columns), y = x, z = x;
  return against_streams<2, 1>(turns, rows * columns,
                               [&] { K::add(rows * columns, x.data(), y.data(), z.data()); },
                               {x.data(), y.data()}, {z.data()});
}

bench::Pair norm_of_gradients(int turns) {
  constexpr std::int64_t n = std::int64_t{1} << 24;
  auto x = numbers(n);
  double volatile sink = 0;
  auto const floor = [&] {
    auto const* const from = x.data();
    float sum = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : sum)
    for (std::int64_t i = 0; i < n; ++i) sum += from[i];
    sink = static_cast<double>(sum);
  };
  return bench::compare([&] { sink = K::sum_of_squares(n, x.data()); }, floor, turns);
}

/// Statistics and slopes of logits: they are read twice and written once.
bench::Pair loss(int turns) {
  CrossEntropy const s{512, 32000, 32000, 0, -100};
  auto const n = s.rows * s.columns;
  auto x = numbers(n), d = x;
  Numbers stats(static_cast<std::size_t>(4 * s.rows)), sums(static_cast<std::size_t>(s.rows), 11.f);
  std::vector<std::int32_t> const labels(static_cast<std::size_t>(s.rows), 7);
  auto const ours = [&] {
    K::cross_entropy_stats(s, x.data(), labels.data(), stats.data());
    K::cross_entropy_pull(s, x.data(), labels.data(), sums.data(), sums.data(), {0, 0, s.columns},
                          d.data());
  };
  auto const floor = [&] {
    stream<1, 1>(n, {x.data()}, {d.data()});
    stream<1, 1>(n, {x.data()}, {d.data()});
  };
  return bench::compare(ours, floor, turns);
}

void sgemm(CBLAS_TRANSPOSE tx, CBLAS_TRANSPOSE ty, std::int64_t m, std::int64_t n, std::int64_t k,
           float const* x, float const* y, float* z) {
  auto const i = [](std::int64_t v) { return static_cast<int>(v); };
  cblas_sgemm(CblasRowMajor, tx, ty, i(m), i(n), i(k), 1, x, i(tx == CblasTrans ? m : k), y,
              i(ty == CblasTrans ? k : n), 0, z, i(n));
}

constexpr auto no = CblasNoTrans, yes = CblasTrans;

/// The floor of one head: its seven products, of which the mask leaves half.
bench::Pair attention(int turns, std::int64_t kv_heads) {
  Attention const s{.batch = 1,
                    .queries = 2048,
                    .keys = 2048,
                    .heads = 4,
                    .kv_heads = kv_heads,
                    .group = 4 / kv_heads,
                    .first_head = 0,
                    .head_dim = 64,
                    .scale = 0.125,
                    .causal = true};
  auto const length = s.queries, wide = length * s.heads * s.head_dim,
             narrow = length * kv_heads * s.head_dim;
  auto q = numbers(wide), k = numbers(narrow), v = k, out = q, sums = numbers(s.heads * length);
  auto dout = q, dq = q, dk = k, dv = v, scores = numbers(length * length);
  auto const ours = [&] {
    K::attention(s, q.data(), k.data(), v.data(), out.data(), sums.data());
    K::attention_pull(s, q.data(), k.data(), v.data(), out.data(), sums.data(), dout.data(),
                      dq.data(), dk.data(), dv.data());
  };
  auto const floor = [&] {
    for (std::int64_t h = 0; h < s.heads / 2; ++h) {
      for (int i = 0; i < 3; ++i)
        sgemm(no, yes, length, length, s.head_dim, q.data(), k.data(), scores.data());
      for (int i = 0; i < 2; ++i)
        sgemm(no, no, length, s.head_dim, length, scores.data(), v.data(), out.data());
      for (int i = 0; i < 2; ++i)
        sgemm(yes, no, length, s.head_dim, length, scores.data(), q.data(), dv.data());
    }
  };
  return bench::compare(ours, floor, turns);
}

struct Job : Plan<Let<TP>, Let<Batch>, Let<Seq>, Let<Hidden>, Let<Vocab>> {
  using Plan::Plan;
};

/// The head of the 15m model and its loss, against its three products.
bench::Pair head(int turns) {
  constexpr std::int64_t tokens = 2048, features = 288, classes = 32000;
  using W = World<Job, Xt, Single>;
  W world(Job{{"tp", 1}, {"batch", 1}, {"seq", tokens}, {"hidden", features}, {"vocab", classes}},
          {});
  using L = Layout<Invariant<TP>>;
  auto const x = world.random<Tensor<float, Shape<Batch, Seq, Hidden>, L>>();
  auto const w = world.random<Tensor<float, Shape<Vocab, Hidden>, L>>();
  using Labels = Tensor<std::int32_t, Shape<Batch, Seq>, L>;
  auto const labels = world.constant(world.make<Labels>([](auto i) { return i % classes; }));
  using Weights = Tensor<float, Shape<Batch, Seq>, L>;
  auto const weights = world.constant(world.make<Weights>([](auto) { return 1e-3; }));
  auto logits = numbers(tokens * classes), dx = numbers(tokens * features),
       dw = numbers(classes * features);
  auto const ours = [&] {
    x.clear_grad(), w.clear_grad();
    world.backward(linear_cross_entropy<Vocab>(x, w, labels, weights));
  };
  auto const floor = [&] {
    sgemm(no, yes, tokens, classes, features, data(x.value()), data(w.value()), logits.data());
    sgemm(no, no, tokens, features, classes, logits.data(), data(w.value()), dx.data());
    sgemm(yes, no, classes, features, tokens, logits.data(), data(x.value()), dw.data());
  };
  return bench::compare(ours, floor, turns);
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  char const* only = "";
  for (int i = 1; i < argc; ++i) {
    json = json || std::strcmp(argv[i], "--json") == 0;
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
  }
  Row const all[] = {
      {"adamw", "7 streams", adamw},
      {"rms_norm", "2 streams", rms_norm},
      {"rms_norm pull", "3 streams", rms_norm_pull},
      {"swiglu", "3 streams", swiglu},
      {"swiglu pull", "5 streams", swiglu_pull},
      {"rotate", "2 streams", rotate},
      {"residual", "3 streams", residual},
      {"norm of gradients", "1 stream", norm_of_gradients},
      {"loss", "4 streams", loss},
      {"attention", "products", [](int turns) { return attention(turns, 4); }},
      {"attention, grouped", "products", [](int turns) { return attention(turns, 1); }},
      {"head and loss", "products", head},
  };
  std::string separator = "{\"benchmark\": \"kernels\", \"rows\": [";
  if (!json)
    std::printf("%-20s %10s %10s %-10s %s\n", "kernel", "ours, ms", "floor, ms", "of",
                "ours over floor (the middle half)");
  for (auto const& row : all) {
    if (std::strstr(row.kernel, only) == nullptr) continue;
    auto const t = row.measure(std::strcmp(row.floor, "products") == 0 ? 7 : 31);
    std::printf(json ? "%s{\"kernel\": \"%s\", \"ours_ms\": %.3f, \"floor_ms\": %.3f, \"floor\": "
                       "\"%s\", \"ratio\": %.3f, \"low\": %.3f, \"high\": %.3f}"
                     : "%s%-20s %10.3f %10.3f %-10s %.2f (%.2f to %.2f)\n",
                json ? separator.c_str() : "", row.kernel, t.ours * 1e3, t.theirs * 1e3, row.floor,
                t.ratio, t.lowest, t.highest);
    std::fflush(stdout);
    separator = ", ";
  }
  if (json) std::printf("]}\n");
  return 0;
}
