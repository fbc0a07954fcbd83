// SPDX-License-Identifier: Apache-2.0
//
// What each schedule of a pipeline needs in memory: planned against measured, rank by rank, over
// the ranks of one process.
//
//   pipeline_memory [--ranks P] [--microbatches M] [--json]

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <nxd/comm/threads.hpp>
#include <nxd/config/plan_llama.hpp>

using namespace nxd;

namespace {

/// A Llama of 14.6 M parameters on P pipeline ranks, M microbatches of one sample.
TrainingConfig make_config(std::int64_t ranks, std::int64_t microbatches, PipelineKind kind) {
  TrainingConfig c;
  c.name = "pipeline_memory";
  c.model.num_layers = 16;
  c.model.hidden_size = 256;
  c.model.ffn_hidden_size = 768;
  c.model.num_attention_heads = 8;
  c.model.num_kv_heads = 8;
  c.model.max_position_embeddings = 256;
  c.data.seq_length = 256;
  c.data.micro_batch_size = 1;
  c.data.global_batch_size = microbatches;
  c.distributed_strategy.pipeline_model_parallel_size = ranks;
  c.distributed_strategy.pipeline_schedule = kind;
  return c;
}

/// The most bytes that each rank has in use in a step.
std::vector<std::int64_t> measure(TrainingConfig const& config, LlamaConfig const& model) {
  auto const ranks = config.distributed_strategy.pipeline_model_parallel_size;
  std::vector<std::int64_t> peaks(static_cast<std::size_t>(ranks));
  Threads::run(ranks, [&](Threads::Rank rank) {
    World<LlamaPlan, Xt, Recorder<Threads::Rank>> world(
        make_plan(model, llama_layout(config, ranks)), Recorder(rank));
    auto const llama = make_llama<Duplicated>(world, config, model);
    initialize(llama, 1);
    auto optimizer = make_optimizer(world, config, llama);
    auto const tokens =
        static_cast<std::size_t>(config.data.micro_batch_size * sequence_length(config));
    std::vector<Microbatch> const batches(
        static_cast<std::size_t>(config.data.global_batch_size),
        {std::vector<std::int32_t>(tokens, 7), std::vector<std::int32_t>(tokens, 8)});
    auto const step = [&] { train_step(world, llama, optimizer, std::span(batches), 1e-3); };
    step();
    peaks[static_cast<std::size_t>(rank.rank())] = cost_of(world, step).peak.total();
  });
  return peaks;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t ranks = 4, microbatches = 16;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0)
      json = true;
    else if (i + 1 < argc && std::strcmp(argv[i], "--ranks") == 0)
      ranks = std::stoll(argv[++i]);
    else if (i + 1 < argc && std::strcmp(argv[i], "--microbatches") == 0)
      microbatches = std::stoll(argv[++i]);
    else
      return std::fprintf(stderr, "pipeline_memory [--ranks P] [--microbatches M] [--json]\n"), 64;
  }
  bool exact = true;
  if (!json) std::printf("schedule      rank  planned MiB  measured MiB  difference, bytes\n");
  for (auto const kind : {PipelineKind::gpipe, PipelineKind::one_f_one_b, PipelineKind::interleaved,
                          PipelineKind::zb_h1, PipelineKind::zb_v}) {
    auto const config = make_config(ranks, microbatches, kind);
    auto const model = llama_config(config, ByteTokenizer::vocabulary());
    auto const measured = measure(config, model);
    auto const name = names_of(kind)[static_cast<std::size_t>(kind)];
    std::int64_t planned_most = 0, measured_most = 0;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      auto const planned = plan_rank(config, model, ranks, rank, Machine{}).cost.peak.total();
      auto const found = measured[static_cast<std::size_t>(rank)];
      exact = exact && planned == found;
      planned_most = std::max(planned_most, planned),
      measured_most = std::max(measured_most, found);
      std::printf(
          json
              ? "{\"schedule\": \"%s\", \"rank\": %ld, \"planned_bytes\": %.0f, \"measured_bytes\": %.0f}\n"
              : "%-12s  %4ld  %11.2f  %12.2f",
          std::string(name).c_str(), static_cast<long>(rank),
          static_cast<double>(planned) / (json ? 1 : 1 << 20),
          static_cast<double>(found) / (json ? 1 : 1 << 20));
      if (!json) std::printf("  %17ld\n", static_cast<long>(planned - found));
    }
    if (!json)
      std::printf("%-12s  most  %11.2f  %12.2f\n", std::string(name).c_str(),
                  static_cast<double>(planned_most) / (1 << 20),
                  static_cast<double>(measured_most) / (1 << 20));
  }
  return exact ? 0 : 1;
}
