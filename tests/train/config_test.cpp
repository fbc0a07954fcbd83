// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include <nxd/train/config_rules.hpp>
#include <nxd/train/config_text.hpp>

namespace {

nxd::TrainingConfig sample() {
  nxd::TrainingConfig c;
  c.name = "run";
  c.trainer.max_steps = 30;
  c.data.micro_batch_size = 2;
  c.data.global_batch_size = 16;
  c.data.train_dir = "text";
  c.model.encoder_seq_length = 64;
  c.model.model_config = {{"config.json", ""}};
  c.distributed_strategy.tensor_model_parallel_size = 2;
  return c;
}

}  // namespace

TEST_CASE("Every key stands in the table once, and has a meaning") {
  std::set<std::string> seen;
  for (auto const& row : nxd::key_table()) {
    CHECK_MESSAGE(seen.insert(row.path).second, row.path);
    CHECK_MESSAGE(!row.meaning.empty(), row.path);
    CHECK_MESSAGE(!row.type.empty(), row.path);
  }
  CHECK(seen.size() > 150);
  CHECK(seen.contains("exp_manager.checkpoint_callback_params.every_n_train_steps"));
  CHECK(seen.contains("aync_exec_max_inflight_requests"));
}

TEST_CASE("The listing of keys names type, default and meaning") {
  auto const help = nxd::help_keys();
  CHECK(help.find("trainer.max_steps: a whole number, at least 1; required\n"
                  "    optimizer steps of the run\n") != help.npos);
  CHECK(help.find("model.optim.betas: a list of two numbers, at least 0 and less than 1; default "
                  "[0.9, 0.999]\n") != help.npos);
  CHECK(help.find("context_parallel_size: only 1\n") != help.npos);
}

TEST_CASE("A sound configuration has no complaints") { CHECK(nxd::complaints(sample()).empty()); }

TEST_CASE("Data-parallel ranks and microbatches follow from the ranks of the job") {
  auto const c = sample();
  CHECK(nxd::data_parallel_size(c, 8) == 4);
  CHECK(nxd::microbatches(c, 8) == 2);
  CHECK(nxd::microbatches(c, 2) == 8);
  CHECK(nxd::sequence_length(c) == 64);
}

TEST_CASE("Ranks and batches that do not come out even are refused with the mend") {
  auto const c = sample();
  CHECK_THROWS_WITH_AS((void)nxd::data_parallel_size(c, 3),
                       "the job breaks a rule: the ranks of the job must fill the mesh (3 against "
                       "2); start a multiple of 2 ranks, as "
                       "distributed_strategy.tensor_model_parallel_size and "
                       "pipeline_model_parallel_size say",
                       nxd::ConfigError);
  CHECK_THROWS_WITH_AS((void)nxd::microbatches(c, 6),
                       "data.global_batch_size breaks a rule: the global batch must be a multiple "
                       "of the micro batches of all ranks (16 against 6); make it a multiple of "
                       "data.micro_batch_size times the 3 data-parallel ranks",
                       nxd::ConfigError);
}

TEST_CASE("The schedule runs over its own steps, or else over the whole run") {
  auto c = sample();
  CHECK(nxd::lr_schedule(c).max_steps == 30);
  c.model.optim.sched.max_steps = 100;
  CHECK(nxd::lr_schedule(c).max_steps == 100);
}

TEST_CASE("A run's folder is exp_dir and name, or what is said explicitly") {
  auto c = sample();
  CHECK(nxd::run_folder(c) == "./nxd_experiments/run");
  c.exp_manager.name = "other";
  CHECK(nxd::run_folder(c) == "./nxd_experiments/other");
  c.exp_manager.explicit_log_dir = "/here";
  CHECK(nxd::run_folder(c) == "/here");
}
