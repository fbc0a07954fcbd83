// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

#include <nxd/checkpoint/agree.hpp>
#include <nxd/comm/recorder.hpp>
#include <nxd/config/llama_setup.hpp>
#include <nxd/config/start_agreement.hpp>
#include <nxd/data/tokenizer.hpp>
#include <nxd/plan/product_table_text.hpp>
#include <nxd/train/run_watch.hpp>

namespace nxd {

namespace detail {

/// Makes the folder of a run, without what the end of an earlier one has left there.
inline void make_run_folder(std::string const& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw IoError(folder + ": cannot be made: " + failed.message());
  std::filesystem::remove(folder + "/exit.json", failed);
  remove_status(folder);
}

/// Ranks that follow each other and have the same work: those of a pipeline stage.
inline std::int64_t ranks_of_stage(TrainingConfig const& config, std::int64_t ranks) {
  return std::max<std::int64_t>(1,
                                ranks / config.distributed_strategy.pipeline_model_parallel_size);
}

}  // namespace detail

/// What a run of `nxd train` has before it has a model: somebody who watches over it, ranks that
/// have agreed to do the same, and data. @throws ConfigError, CorruptInput, IoError, on all ranks
/// alike
template <Communicator C> struct LlamaStart {
  RunWatch<C> watch;
  LlamaConfig model;
  Split data;

  LlamaStart(C comm, TrainingConfig const& config)
      : watch(comm, config, run_folder(config), detail::ranks_of_stage(config, comm.size())),
        model(),
        data(begin(comm, config)) {}

 private:
  Split begin(C& comm, TrainingConfig const& config) {
    this_process().say("the start");
    Recorder told(comm);
    told.tell(&watch.attendance());
    check_alike(told, config);
    together(told, [&] {
      if (comm.rank() == 0) detail::make_run_folder(run_folder(config));
    });
    last_words().folder(run_folder(config));
    std::vector<Split> opened;
    together(told, [&] {
      model = llama_config(config, ByteTokenizer::vocabulary());
      opened.push_back(open_data(config, model.vocab_size));
    });
    check_agreement(told, "table of products (NXD_GEMM_TABLE)", fingerprint(product_table()));
    check_agreement(told, "tokenizer", ByteTokenizer::fingerprint());
    check_agreement(told, "model", hash(to_json(model)), [&] {
      auto const& source = config.model.model_config;
      return source ? std::vector{config_json_at(source->path)} : std::vector<std::string>{};
    });
    auto const& [train, validation] = opened.front();
    check_agreement(told, "data set",
                    hash(std::to_string(validation.fingerprint()), train.fingerprint()),
                    [&] { return data_files(config); });
    return opened.front();
  }
};

}  // namespace nxd
