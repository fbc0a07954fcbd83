// SPDX-License-Identifier: Apache-2.0
//
// Does training in bf16 learn what training in fp32 does? A Llama of 15 M parameters reads the
// bytes of a folder's files, a step after another, in four ways: in fp32; in bf16 with masters; in
// bf16 alone, weights and moments rounded by chance; the same rounded to nearest.
//
//   losses [FOLDER] [STEPS] [PEAK_RATE]        /usr/include, 300, 2e-4; threads: OMP_NUM_THREADS
//
// The rate rises for a tenth of the steps and falls as a cosine to a tenth of its peak. Prints mean
// losses of every tenth of the steps, and of each way the largest difference of these from fp32's.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include <nxd/models/llama.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/step.hpp>

#include "llamas.hpp"

using namespace nxd;

namespace {

constexpr std::int64_t batch = 4, length = 256, parts = 10;

/// The files of a folder, one after another in the order of their names, 8 MB of them at most.
std::string read_files(std::filesystem::path const& folder) {
  std::vector<std::filesystem::path> files;
  for (auto const& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::ranges::sort(files);
  std::string all;
  for (auto const& file : files) {
    std::ifstream in(file, std::ios::binary);
    all.append(std::istreambuf_iterator<char>(in), {});
    if (all.size() > 8'000'000) break;
  }
  return all;
}

/// Pieces of the text that begin anywhere, the same for every way.
Microbatch batch_of(std::string const& text, std::int64_t step) {
  Microbatch made;
  Stream const stream(1, "batches");
  for (std::int64_t row = 0; row < batch; ++row) {
    auto const number = static_cast<std::uint64_t>(step * batch + row);
    auto const first = static_cast<std::size_t>(stream.uniform(number) *
                                                static_cast<double>(text.size() - length - 1));
    for (std::size_t i = 0; i < length; ++i) {
      made.ids.push_back(static_cast<unsigned char>(text[first + i]));
      made.labels.push_back(static_cast<unsigned char>(text[first + i + 1]));
    }
  }
  return made;
}

double rate_of(std::int64_t step, std::int64_t steps, double peak) {
  auto const warm = std::max<std::int64_t>(1, steps / 10);
  if (step < warm) return peak * static_cast<double>(step + 1) / static_cast<double>(warm);
  auto const done = static_cast<double>(step - warm) / static_cast<double>(steps - warm);
  return peak * (0.55 + 0.45 * std::cos(std::numbers::pi * done));
}

/// Mean losses of the tenths of a run.
template <class Backend>
std::vector<double> train(std::string const& text, std::int64_t steps, double peak,
                          WeightPrecision precision = {}) {
  auto const config = bench::llama_15m();
  LlamaLayout const layout{.micro_batch = batch, .seq_length = length, .kv_copies = 1};
  World<LlamaPlan, Backend, Single> world(make_plan(config, layout), {});
  Llama<Duplicated, decltype(world)> const model(world, config);
  initialize(model, 1);
  Optimizer<Zero1<AdamW>, decltype(world)> optimizer(world, model, AdamW{0.9, 0.95, 1e-8, 0.1},
                                                     {Clip::Norm::l2, 1.0}, precision);
  std::vector<double> losses(parts);
  for (std::int64_t step = 0; step < steps; ++step) {
    std::vector<Microbatch> const batches{batch_of(text, step)};
    auto const report = train_step(world, model, optimizer, std::span<Microbatch const>(batches),
                                   rate_of(step, steps, peak));
    losses[static_cast<std::size_t>(step * parts / steps)] +=
        report.loss * static_cast<double>(parts) / static_cast<double>(steps);
  }
  return losses;
}

void print(char const* name, std::vector<double> const& losses, std::vector<double> const& floats) {
  std::printf("%-26s", name);
  double furthest = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    std::printf(" %6.3f", losses[i]);
    furthest = std::max(furthest, std::abs(losses[i] / floats[i] - 1));
  }
  std::printf("   %5.2f %%\n", 100 * furthest);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  auto const text = read_files(argc > 1 ? argv[1] : "/usr/include");
  auto const steps = std::int64_t{argc > 2 ? std::atoi(argv[2]) : 300};
  auto const peak = argc > 3 ? std::atof(argv[3]) : 2e-4;
  if (steps < parts || std::ssize(text) < 2 * length) {
    std::fprintf(stderr, "losses: needs %d steps and %d bytes at least\n", static_cast<int>(parts),
                 static_cast<int>(2 * length));
    return 2;
  }
  auto const floats = train<Xt>(text, steps, peak);
  print("fp32", floats, floats);
  print("bf16, masters", train<XtBf16>(text, steps, peak), floats);
  print("bf16, rounded by chance",
        train<XtBf16>(text, steps, peak,
                      {.master = false, .rounding = Rounding::stochastic, .seed = 1}),
        floats);
  print("bf16, rounded to nearest", train<XtBf16>(text, steps, peak, {.master = false}), floats);
}
