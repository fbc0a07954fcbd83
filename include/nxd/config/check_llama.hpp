// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <nxd/config/llama_stages.hpp>

namespace nxd {

/// The rules that a job of so many ranks breaks, a sentence each; none: it can be started. Every rule is
/// judged by the function that the run itself asks.
inline std::vector<std::string> broken_rules(TrainingConfig const& config, std::int64_t vocabulary,
                                             std::int64_t ranks) {
  std::vector<std::string> broken;
  auto const holds = [&](auto const& rule) {
    try {
      rule();
      return true;
    } catch (Error const& e) {
      broken.emplace_back(e.what());
      return false;
    }
  };
  LlamaConfig model;
  if (!holds([&] { model = llama_config(config, vocabulary); })) return broken;
  bool const even = holds([&] { (void)data_parallel_size(config, ranks); });
  if (even) holds([&] { (void)make_plan(model, llama_layout(config, ranks)); });
  std::int64_t m = 0;
  if (even && holds([&] { m = microbatches(config, ranks); }))
    holds([&] { (void)pipeline_plan(config, m); });
  holds([&] { (void)stage_spans(config, model); });
  return broken;
}

}  // namespace nxd
