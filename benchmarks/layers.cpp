// SPDX-License-Identifier: Apache-2.0
//
// What does a pair of typed parallel layers cost over the calls that it is made of? Times the
// forward and backward pass of Linear<Hidden, Ffn, ColumnParallel<TP>>, Linear<Ffn, Hidden,
// RowParallel<TP>> against cblas_sgemm and MPI_Allreduce on the same shapes, in turn, in one run.
//
//   mpirun -np N layers [--json]        threads: OMP_NUM_THREADS

#include <cstdio>
#include <cstring>
#include <string>

#include <cblas.h>

#include <nxd/comm/guard.hpp>
#include <nxd/nn/linear.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "measure.hpp"

using namespace nxd;

namespace {

struct Job : Plan<Let<TP>, Let<Seq>, Let<Hidden>, Let<Ffn>> {
  using Plan::Plan;
};

struct Sizes {
  std::int64_t tokens, hidden, ffn;
};

using X = Tensor<float, Shape<Seq, Hidden>, Layout<Invariant<TP>>>;

/// The pair as a user writes it.
struct Typed {
  using Here = World<Job, Xt, Mpi>;
  Here world;
  BoundLinear<Hidden, Ffn, ColumnParallel<TP>, Here> up;
  BoundLinear<Ffn, Hidden, RowParallel<TP>, Here> down;
  Var<X, Here> x;
  Local<X, Xt> dz;

  Typed(Mpi comm, Sizes const& s)
      : world(Job{{"tp", comm.size()}, {"seq", s.tokens}, {"hidden", s.hidden}, {"ffn", s.ffn}},
              comm),
        up(bind<Linear<Hidden, Ffn, ColumnParallel<TP>>>(world)),
        down(bind<Linear<Ffn, Hidden, RowParallel<TP>>>(world)),
        x(world.random<X>()),
        dz(world.make<X>(Uniform<float>{9})) {
    fill(up.weight, 1);
    fill(down.weight, 2);
  }

  template <class W> void fill(Var<W, Here> const& weight, std::uint64_t stream) {
    std::generate_n(data(weight.value()), W::local_size(world.plan),
                    [i = std::int64_t{0}, u = Uniform<float>{stream}]() mutable { return u(i++); });
  }

  void step() {
    x.clear_grad();
    up.weight.clear_grad();
    down.weight.clear_grad();
    world.backward(down(up(x)), dz);
  }
};

/// The pair as its calls.
struct Raw {
  int tokens, hidden, ffn;
  std::vector<float> x, up, down, y, z, dz, dy, dx, dup, ddown;

  Raw(Sizes const& s, std::int64_t ranks)
      : tokens(static_cast<int>(s.tokens)),
        hidden(static_cast<int>(s.hidden)),
        ffn(static_cast<int>(s.ffn / ranks)) {
    auto const make = [](auto& v, int rows, int columns) {
      v.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns));
      std::ranges::generate(v, [i = std::int64_t{0}]() mutable { return Uniform<float>{3}(i++); });
    };
    make(x, tokens, hidden), make(z, tokens, hidden), make(dz, tokens, hidden);
    make(dx, tokens, hidden), make(y, tokens, ffn), make(dy, tokens, ffn);
    make(up, ffn, hidden), make(dup, ffn, hidden), make(down, hidden, ffn),
        make(ddown, hidden, ffn);
  }

  static void multiply(CBLAS_TRANSPOSE tx, CBLAS_TRANSPOSE ty, int m, int n, int k, float const* a,
                       float const* b, float* c) {
    cblas_sgemm(CblasRowMajor, tx, ty, m, n, k, 1, a, tx == CblasTrans ? m : k, b,
                ty == CblasTrans ? k : n, 0, c, n);
  }
  static void sum(std::vector<float>& v) {
    MPI_Allreduce(MPI_IN_PLACE, v.data(), static_cast<int>(v.size()), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
  }

  void step(bool alone) {
    constexpr auto N = CblasNoTrans, T = CblasTrans;
    multiply(N, T, tokens, ffn, hidden, x.data(), up.data(), y.data());
    multiply(N, T, tokens, hidden, ffn, y.data(), down.data(), z.data());
    if (!alone) sum(z);
    multiply(N, N, tokens, ffn, hidden, dz.data(), down.data(), dy.data());
    multiply(T, N, hidden, ffn, tokens, dz.data(), y.data(), ddown.data());
    multiply(N, N, tokens, hidden, ffn, dy.data(), up.data(), dx.data());
    multiply(T, N, ffn, hidden, tokens, dy.data(), x.data(), dup.data());
    if (!alone) sum(dx);
  }
};

/// Seconds on the slowest rank.
double slowest(std::function<void()> const& work) {
  MPI_Barrier(MPI_COMM_WORLD);
  double elapsed = bench::seconds(work);
  MPI_Allreduce(MPI_IN_PLACE, &elapsed, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return elapsed;
}

}  // namespace

int main(int argc, char** argv) {
  bool const json = argc > 1 && std::strcmp(argv[1], "--json") == 0;
  return guard_main(argc, argv, [&](Mpi comm) {
    std::string rows;
    for (auto const& s : {Sizes{2048, 288, 768}, Sizes{1024, 768, 2048}, Sizes{512, 2048, 5632}}) {
      Typed typed(comm, s);
      Raw raw(s, comm.size());
      auto const t =
          bench::compare([&] { typed.step(); }, [&] { raw.step(comm.size() == 1); }, 21, slowest);
      char row[256];
      std::snprintf(
          row, sizeof row,
          json ? "%s{\"tokens\": %lld, \"hidden\": %lld, \"ffn\": %lld, \"typed_ms\": %.3f, "
                 "\"raw_ms\": %.3f, \"ratio\": %.4f}"
               : "%s%6lld %6lld %6lld %10.2f %10.2f %8.3f",
          json && !rows.empty() ? ", " : "", static_cast<long long>(s.tokens),
          static_cast<long long>(s.hidden), static_cast<long long>(s.ffn), t.ours * 1e3,
          t.theirs * 1e3, t.ratio);
      rows += row;
      if (json) continue;
      std::snprintf(row, sizeof row, "  (%.3f to %.3f)\n", t.lowest, t.highest);
      rows += row;
    }
    if (comm.rank() != 0) return 0;
    auto const ranks = static_cast<int>(comm.size());
    if (json)
      std::printf("{\"benchmark\": \"layers\", \"ranks\": %d, \"rows\": [%s]}\n", ranks,
                  rows.c_str());
    else
      std::printf("%d ranks\n%6s %6s %6s %10s %10s %8s\n%s", ranks, "tokens", "hidden", "ffn",
                  "typed ms", "raw ms", "ratio", rows.c_str());
    return 0;
  });
}
