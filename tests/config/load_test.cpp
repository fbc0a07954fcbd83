// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/config/load.hpp>

namespace {

constexpr auto text = R"(
name: run
compiler_flags: --model-type transformer
aync_exec_max_inflight_requests: 5
trainer: {max_steps: 1_000, limit_val_batches: 0.5, lnc: 2}
exp_manager:
  name: ${name}
  async_checkpointing: True
  load_xser: False
  save_bf16: True
  checkpoint_callback_params:
    model_parallel_size: ${multiply:${distributed_strategy.tensor_model_parallel_size}, 1}
distributed_strategy: &mesh {tensor_model_parallel_size: 2, sequence_parallel: true}
data:
  micro_batch_size: 2
  global_batch_size: 16
  data_prefix: [0.3, /data/a, 0.7, /data/b]
  seq_length: ${model.encoder_seq_length}
model:
  encoder_seq_length: 128
  max_position_embeddings: ${.encoder_seq_length}
  model_config: {model_type: llama, rms_norm_eps: 1e-5, eos: [2, 3], rope_scaling: null, tie: true}
  num_layers: 4
  activations_checkpoint_granularity: full
  optim:
    name: adamw_fp32OptState
    lr: 3e-4
    betas: [0.9, 0.95]
    sched: {name: LinearAnnealingWithWarmUp, warmup_steps: 10, max_steps: "${trainer.max_steps}"}
)";

}  // namespace

TEST_CASE("A configuration with the original's keys loads into typed fields") {
  auto const [c, ignored, broken] = nxd::load_config_text(text, "run.yaml");
  CHECK(broken.empty());
  CHECK(c.name == "run");
  CHECK(c.exp_manager.name == "run");
  CHECK(c.exp_manager.async_checkpointing);
  CHECK(c.exp_manager.save_xser);
  CHECK_FALSE(c.exp_manager.load_xser);
  CHECK(c.trainer.max_steps == 1000);
  CHECK(c.trainer.limit_val_batches == nxd::BatchLimit{0.5, true});
  CHECK(c.trainer.gradient_clip_val == std::nullopt);
  CHECK(c.exp_manager.checkpoint_callback_params.model_parallel_size == 2);
  CHECK(c.distributed_strategy.sequence_parallel);
  CHECK(c.data.seq_length == 128);
  CHECK(c.data.data_prefix == std::vector<nxd::WeightedPrefix>{{0.3, "/data/a"}, {0.7, "/data/b"}});
  CHECK(c.model.max_position_embeddings == 128);
  CHECK(c.model.activations_checkpoint_granularity == nxd::Granularity::full);
  CHECK(c.model.optim.name == nxd::OptimizerName::adamw_fp32_state);
  CHECK(c.model.optim.lr == 3e-4);
  CHECK(c.model.optim.sched.max_steps == 1000);
  CHECK(c.model.optim.sched.name == nxd::LrShape::linear_annealing_with_warm_up);
  CHECK(nxd::ignored_line(ignored) ==
        "without effect here: compiler_flags, aync_exec_max_inflight_requests, trainer.lnc, "
        "exp_manager.save_bf16");
}

TEST_CASE("Inline fields of a config.json become JSON with their types") {
  auto const c = nxd::load_config_text(text, "run.yaml").config;
  CHECK(
      c.model.model_config->inline_json ==
      R"({"model_type": "llama", "rms_norm_eps": 1e-05, "eos": [2, 3], "rope_scaling": null, "tie": true})");
  auto const named = nxd::load_config_text(
      text, "run.yaml", std::vector<std::string>{"model.model_config=/models/x/config.json"});
  CHECK(named.config.model.model_config->path == "/models/x/config.json");
}

TEST_CASE("Overrides come before interpolation, make sections, and reach into lists") {
  std::vector<std::string> const overrides{"trainer.max_steps=50",
                                           "precision.type=fp32",
                                           "model.optim.betas[1]=0.99",
                                           "name=other",
                                           "exp_manager.resume_from_checkpoint=",
                                           "data.data_prefix=[1.0, '${name}']"};
  auto const c = nxd::load_config_text(text, "run.yaml", overrides).config;
  CHECK(c.model.optim.sched.max_steps == 50);
  CHECK(c.model.optim.betas[1] == 0.99);
  CHECK(c.exp_manager.name == "other");
  CHECK(c.data.data_prefix[0].prefix == "other");
  CHECK_FALSE(c.exp_manager.resume_from_checkpoint);
}

TEST_CASE("The canonical text loads to the same configuration and the same fingerprint") {
  auto const c = nxd::load_config_text(text, "run.yaml").config;
  auto const again = nxd::load_config_text(nxd::to_yaml(c), "dump.yaml").config;
  CHECK(again == c);
  CHECK(nxd::to_yaml(again) == nxd::to_yaml(c));
  CHECK(nxd::fingerprint(again) == nxd::fingerprint(c));
  auto const other =
      nxd::load_config_text(text, "run.yaml", std::vector<std::string>{"seed=3"}).config;
  CHECK(nxd::fingerprint(other) != nxd::fingerprint(c));
}

TEST_CASE("The nearest key is near, and rather in the same section") {
  std::vector<std::string> const known{"seed", "trainer.max_steps", "model.optim.sched.max_steps"};
  CHECK(nxd::nearest_path("trainer.max_setps", known) == "trainer.max_steps");
  CHECK(nxd::nearest_path("model.optim.sched.maxsteps", known) == "model.optim.sched.max_steps");
  CHECK(nxd::nearest_path("trainer.seed", known) == "seed");
  CHECK(nxd::nearest_path("trainer.colour", known).empty());
}

TEST_CASE("The shipped example loads, and everything in it has an effect") {
  auto const path =
      std::filesystem::path(__FILE__).parent_path() / "../../examples/quickstart.yaml";
  auto const [c, ignored, broken] = nxd::load_config_file(path.string());
  CHECK(ignored.empty());
  CHECK(c.model.num_layers == 6);
  CHECK(nxd::data_parallel_size(c, 2) == 1);
  CHECK(nxd::microbatches(c, 2) == 2);
  CHECK(nxd::load_config(path.string(), std::vector<std::string>{"seed=9"}).seed == 9);
}
