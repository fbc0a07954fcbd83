// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/config/llama_stages.hpp>
#include <nxd/config/load.hpp>

using namespace nxd;

namespace {

constexpr std::string_view good = R"(name: run
trainer: {max_steps: 30}
distributed_strategy: {pipeline_model_parallel_size: 4}
data: {micro_batch_size: 1, global_batch_size: 8, train_dir: text, seq_length: 64}
model:
  num_layers: 8
  hidden_size: 64
  ffn_hidden_size: 192
  num_attention_heads: 4
  optim: {lr: 1e-3}
)";

/// What a job of four ranks is told that starts with these keys changed.
std::string sentence_of(std::vector<std::string> const& overrides) {
  try {
    auto const config = load_config_text(std::string(good), "run.yaml", overrides).config;
    auto const model = llama_config(config, 257);
    (void)pipeline_plan(config, microbatches(config, 4));
    (void)stage_spans(config, model);
  } catch (ConfigError const& error) {
    CHECK(error.code == ExitCode::config);
    return error.what();
  }
  return "accepted";
}

std::string with_cuts(std::string const& cuts) {
  return sentence_of({"model.pipeline_cuts=[" + cuts + "]"});
}
std::string with_layers(std::string const& layers) {
  return sentence_of({"distributed_strategy.pipeline_layers=" + layers});
}

constexpr auto schedule = "distributed_strategy.pipeline_schedule=";
constexpr auto chunks = "distributed_strategy.virtual_pipeline_model_parallel_size=";

}  // namespace

TEST_CASE("The configuration that the bad ones are made from is good, with every schedule") {
  for (std::string const kind : {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"})
    CHECK(sentence_of({schedule + kind}) == "accepted");
  CHECK(with_cuts("model.layers.0,model.layers.3,model.layers.6") == "accepted");
  for (auto const layers : {"even", "last", "balanced", "'1,3,3,1'"})
    CHECK(with_layers(layers) == "accepted");
}

TEST_CASE("Interleaving is refused where microbatches do not fill the pipeline") {
  CHECK(sentence_of({std::string(schedule) + "interleaved", "data.global_batch_size=3"}) ==
        "data.global_batch_size breaks a rule: an interleaved pipeline must have as many "
        "microbatches as ranks (3 against 4); raise it, or choose another "
        "distributed_strategy.pipeline_schedule");
  CHECK(sentence_of({std::string(schedule) + "1f1b", "data.global_batch_size=3"}) == "accepted");
}

TEST_CASE("A schedule with other chunks than it is for is refused") {
  CHECK(
      sentence_of({std::string(schedule) + "1f1b", std::string(chunks) + "2"}) ==
      "distributed_strategy.virtual_pipeline_model_parallel_size breaks a rule: the schedule must "
      "have the number of chunks on a rank that it is for (2 against 1); leave it out");
  CHECK(
      sentence_of(
          {std::string(schedule) + "zb-v", std::string(chunks) + "3", "model.num_layers=12"}) ==
      "distributed_strategy.virtual_pipeline_model_parallel_size breaks a rule: the schedule must "
      "have the number of chunks on a rank that it is for (3 against 2); leave it out");
  CHECK(sentence_of({std::string(chunks) + "0"}) ==
        "command line: distributed_strategy.virtual_pipeline_model_parallel_size is 0, but it "
        "must be at least 1");
}

TEST_CASE("More stages than layers are refused, chunks counted") {
  auto const sentence = [](std::string const& numbers) {
    return "distributed_strategy.pipeline_model_parallel_size breaks a rule: every stage of a "
           "pipeline needs a layer (" +
           numbers + "); lower it, or distributed_strategy.virtual_pipeline_model_parallel_size";
  };
  CHECK(sentence_of({"model.num_layers=3"}) == "run.yaml:3: " + sentence("3 against 4"));
  CHECK(sentence_of({std::string(chunks) + "3"}) == "run.yaml:3: " + sentence("8 against 12"));
  CHECK(sentence_of({std::string(schedule) + "zb-v", "model.num_layers=7"}) ==
        "run.yaml:3: " + sentence("7 against 8"));
}

TEST_CASE("Cuts that are not one layer for each stage but the last are refused") {
  CHECK(with_cuts("model.layers.1,model.layers.3") ==
        "pipeline_cuts: cuts must be one fewer than the stages that they cut (2 against 4)");
  for (std::string const cut : {"lm_head", "model.layers", "model.layers.x", "model.layers.5.mlp",
                                "model.layers.99999999999999999999"})
    CHECK(with_cuts("model.layers.1,model.layers.3," + cut) ==
          "model.pipeline_cuts names \"" + cut +
              "\", but the layers are model.layers.0 and so on; name one of them");
  CHECK(
      with_cuts("model.layers.3,model.layers.1,model.layers.5") ==
      "model.pipeline_cuts names model.layers.1 after model.layers.3; name layers in their order");
  for (std::string const cut : {"model.layers.7", "model.layers.9"})
    CHECK(with_cuts("model.layers.1,model.layers.3," + cut) ==
          "model.pipeline_cuts names " + cut +
              ", which leaves no layer for the last stage; name a layer before model.layers.7");
  CHECK(sentence_of({"distributed_strategy.pipeline_layers=last",
                     "model.pipeline_cuts=[model.layers.1]"}) ==
        "command line: model.pipeline_cuts and distributed_strategy.pipeline_layers both say "
        "where stages end; leave one out");
}

TEST_CASE("Layer counts that are no counts, or leave a layer or a stage out, are refused") {
  CHECK(with_layers("evenly") ==
        "distributed_strategy.pipeline_layers is \"evenly\"; write even, last, balanced, or "
        "counts as 5,6,5");
  CHECK(with_layers("'2,2,4'") ==
        "distributed_strategy.pipeline_layers has 3 counts, but there are 4 stages");
  CHECK(with_layers("'2,2,2,3'") ==
        "pipeline stages: every layer must be in one stage of the pipeline (9 against 8)");
  CHECK(with_layers("'2,2,0,4'") ==
        "pipeline stages: every stage of a pipeline needs a layer (0 against 1)");
}
