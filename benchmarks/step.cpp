// SPDX-License-Identifier: Apache-2.0
//
// How long is a training step of a Llama, and how far is it from the matrix products that it is
// made of?
//
//   step [15m|125m|gpt2] [STEPS] [--json] [--products] [--bf16x3|--bf16] [--accumulate N]
//   mpirun -np N step ...                                data parallel: N times the batch
//
// The floor is the step's FLOPs at the rate of one large product, measured in the same run between
// steps; with --products also its products one by one, of the lengths that they have. Threads:
// OMP_NUM_THREADS. --bf16x3 makes products of floats split in two, on AMX; --bf16 trains in bf16,
// with masters. gpt2 has the products of GPT-2 124M on 4 samples of 64 tokens: a gated unit of 2048
// for a plain one of 3072, embedding and head one table. --accumulate: N such microbatches a step.

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/comm/guard.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/step.hpp>

#include "llamas.hpp"
#include "measure.hpp"

using namespace nxd;
using nxd::bench::median, nxd::bench::seconds;

namespace {

/// GFLOP/s of a product of three square matrices.
template <class Backend> double gemm_rate() {
  using E = typename Backend::element;
  constexpr std::int64_t n = 1536;
  std::vector<E> const x(n * n, narrow<E>(0.5)), y(n * n, narrow<E>(0.25));
  std::vector<E> z(n * n);
  Product const p{{n, n, 0, n}, {n, 0, n, 1}, {n, 1, 1, 0}, {}, 0};
  auto const run = [&] { Backend::kernels::multiply(p, x.data(), y.data(), z.data(), false); };
  run();
  return 2e-9 * n * n * n / std::min(seconds(run), seconds(run));
}

/// Seconds that the products of a step's layers take, each by itself: y, dx and dw.
template <class Backend> double product_seconds(LlamaConfig const& c, std::int64_t tokens) {
  using E = typename Backend::element;
  auto const heads = c.num_attention_heads + 2 * c.num_key_value_heads;
  auto const chunk = TokensAtATime{}.of(tokens, c.hidden_size,
                                        c.vocab_size * static_cast<std::int64_t>(sizeof(E)));
  struct Layer {
    detail::HeadProducts sizes;
    std::int64_t count;
  };
  auto const layers = c.num_hidden_layers;
  Layer const all[] = {{{tokens, heads * c.head_dim, c.hidden_size}, layers},
                       {{tokens, c.hidden_size, c.num_attention_heads * c.head_dim}, layers},
                       {{tokens, 2 * c.intermediate_size, c.hidden_size}, layers},
                       {{tokens, c.hidden_size, c.intermediate_size}, layers},
                       {{chunk, c.vocab_size, c.hidden_size}, tokens / chunk}};
  double sum = 0;
  for (auto const& [sizes, count] : all) {
    auto const numbers = [](std::int64_t n) {
      return std::vector<E>(static_cast<std::size_t>(n), narrow<E>(.5));
    };
    auto x = numbers(sizes.tokens * sizes.features), y = numbers(sizes.tokens * sizes.classes);
    auto const w = numbers(sizes.classes * sizes.features);
    std::vector<accumulator_t<E>> dw(w.size());
    using K = typename Backend::kernels;
    auto const run = [&, &sizes = sizes] {
      K::multiply(sizes.logits(), x.data(), w.data(), y.data(), false);
      K::multiply(sizes.inputs(), y.data(), w.data(), x.data(), false);
      K::multiply(sizes.weights(), y.data(), x.data(), dw.data(), false);
    };
    run();
    sum += static_cast<double>(count) * seconds(run);
  }
  return sum;
}

struct Job {
  LlamaConfig config;
  LlamaLayout layout;
};

Job job_of(std::string_view size) {
  Job job{bench::llama_15m(), {.micro_batch = 8, .seq_length = 256, .kv_copies = 1}};
  if (size == "15m") return job;
  auto& config = job.config;
  config.hidden_size = 768;
  config.intermediate_size = 2048;
  config.num_hidden_layers = config.num_attention_heads = 12;
  config.num_key_value_heads = 4;
  config.head_dim = 64;
  job.layout.micro_batch = 2;
  job.layout.seq_length = 512;
  if (size == "125m") return job;
  config.vocab_size = 50257;
  config.num_key_value_heads = 12;
  config.tie_word_embeddings = true;
  job.layout.micro_batch = 4;
  job.layout.seq_length = 64;
  return job;
}

struct Options {
  std::string size;
  int steps;
  bool json, products;
  std::size_t microbatches;
};

template <class Backend> void measure(Mpi comm, Options const& options) {
  auto const& [size, steps, json, with_products, microbatches] = options;
  auto [config, layout] = job_of(size);
  layout.data_parallel = comm.size();
  World<LlamaPlan, Backend, Mpi> world(make_plan(config, layout), comm);
  Llama<Duplicated, decltype(world)> const model(world, config);
  initialize(model, 1);
  Optimizer<Zero1<AdamW>, decltype(world)> optimizer(world, model, {});
  auto const one = layout.micro_batch * layout.seq_length;
  auto const tokens = one * static_cast<std::int64_t>(microbatches) * comm.size();
  std::vector<Microbatch> const batches(microbatches, bench::random_batch(one, config.vocab_size));
  auto const step = [&] {
    train_step(world, model, optimizer, std::span<Microbatch const>(batches), 3e-4);
  };
  step();
  step();
  auto const requests = this_arena().requests();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto const peak = static_cast<double>(usage.ru_maxrss) / 1024;
  world.ledger = {};
  std::vector<double> times, rates, alone;
  for (int i = 0; i < steps; ++i) {
    times.push_back(seconds(step));
    rates.push_back(gemm_rate<Backend>());
    if (with_products)
      alone.push_back(static_cast<double>(microbatches) * product_seconds<Backend>(config, one));
  }
  auto const flops = static_cast<double>(world.ledger.flops) / steps;
  auto const ms = median(times) * 1e3, floor = flops / (median(rates) * 1e9) * 1e3;
  auto const asked = this_arena().requests() - requests;
  if (comm.rank() != 0) return;
  auto const part = with_products ? median(alone) * 1e3 : 0;
  if (json) {
    std::printf(
        "{\"benchmark\": \"step\", \"size\": \"%s\", \"ms\": %.2f, \"tokens_per_s\": %.1f, "
        "\"gflop\": %.2f, "
        "\"floor_ms\": %.2f, \"of_floor\": %.4f, \"peak_mb\": %.1f",
        size.c_str(), ms, static_cast<double>(tokens) / ms * 1e3, flops * 1e-9, floor, floor / ms,
        peak);
    if (with_products)
      std::printf(", \"products_ms\": %.2f, \"of_products\": %.4f", part, part / ms);
    std::printf("}\n");
    return;
  }
  std::printf(
      "%s: %.1f ms a step, %.0f tokens/s, %.1f GFLOP at %.1f GFLOP/s\n"
      "as one large product: %.1f ms at %.1f GFLOP/s, %.2f of the step\n",
      size.c_str(), ms, static_cast<double>(tokens) / ms * 1e3, flops * 1e-9, flops * 1e-6 / ms,
      floor, median(rates), floor / ms);
  if (with_products)
    std::printf("its products alone: %.1f ms, %.2f of the step\n", part, part / ms);
  std::printf(
      "memory: peak %.0f MB, of which live in the arena %.0f MB; requests to the system in these "
      "steps: %zu\n",
      peak, static_cast<double>(this_arena().meter().peak().total()) / (1 << 20), asked);
}

}  // namespace

int main(int argc, char** argv) {
  std::string const size = argc > 1 ? argv[1] : "15m";
  if (size != "15m" && size != "125m" && size != "gpt2") {
    std::fprintf(stderr, "step: %s is no size; 15m, 125m and gpt2 are\n", size.c_str());
    return 2;
  }
  int const steps = argc > 2 ? std::atoi(argv[2]) : 5;
  auto const given = [&](std::string_view option) {
    return std::ranges::any_of(std::span(argv, argv + argc),
                               [&](std::string_view a) { return a == option; });
  };
  if (given("--bf16x3")) product_mode() = ProductMode::bf16x3;
  auto const* const accumulate =
      std::find_if(argv, argv + argc - 1, [](std::string_view a) { return a == "--accumulate"; });
  auto const microbatches =
      accumulate < argv + argc - 1 ? std::max(1, std::atoi(accumulate[1])) : 1;
  Options const options{size, steps, given("--json"), given("--products"),
                        static_cast<std::size_t>(microbatches)};
  return guard_main(argc, argv, [&](Mpi comm) {
    given("--bf16") ? measure<XtBf16>(comm, options) : measure<Xt>(comm, options);
    return 0;
  });
}
