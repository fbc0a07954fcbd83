// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/checkpoint/huggingface.hpp>
#include <nxd/checkpoint/save.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/data/sampler.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/models/llama_json.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/tensor/reference.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/pieces.hpp>
#include <nxd/train/step.hpp>

#include "oracle.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// A case of cases.json: what is trained, and how.
struct Case {
  Json config;  ///< members of config.json in place of the model's
  std::string labels;
  double label_smoothing, z_loss, rate;
  AdamW update;
  Clip clip;
};

Json const& cases() {
  static auto const all = parse_json(read_file(source("cases.json")), "cases.json");
  return all;
}

std::vector<std::string> names_of_cases() {
  std::vector<std::string> names;
  for (auto const& [name, members] : std::get<Json::Object>(cases().value))
    if (name != "all") names.push_back(name);
  return names;
}

Case read_case(std::string const& name) {
  auto const& all = std::get<Json::Object>(cases().value);
  auto const json = test::merged(all.at("all"), all.at(name));
  JsonView const view(json, name);
  auto const beta = [&](std::size_t i) {
    return JsonView(view["betas"].array()[i], name).number();
  };
  return {std::get<Json::Object>(json.value).at("config"),
          view["labels"].string(),
          view["label_smoothing"].number(),
          view["z_loss"].number(),
          view["lr"].number(),
          {beta(0), beta(1), view["eps"].number(), view["weight_decay"].number()},
          {view["clip_norm"].string() == "inf" ? Clip::Norm::infinity : Clip::Norm::l2,
           view["clip"].number()}};
}

/// A model that is trained as the case wants it.
template <class Model> struct WithLossOf {
  Model const& model;
  Case const& how;

  using Tokens = typename Model::Tokens;
  static constexpr auto ignore_index = Model::ignore_index;

  auto loss(auto const& ids, auto const& labels, auto const& weights) const {
    if (how.label_smoothing == 0 && how.z_loss == 0) return model.loss(ids, labels, weights);
    return contract<Shape<>>(cross_entropy<Vocab>(model.logits(ids), labels, ignore_index,
                                                  how.label_smoothing, how.z_loss),
                             weights);
  }
  void visit(auto const& f) const { model.visit(f); }
};

/// One run: the case, the model's folder, and the tokens of its steps.
struct Training {
  Case how;
  LlamaConfig config;
  std::string folder;
  Arrays tokens;

  std::int64_t steps() const { return tokens.at("ids").shape[0]; }
  std::int64_t batch() const { return tokens.at("ids").shape[1]; }
  std::int64_t seq() const { return tokens.at("ids").shape[2]; }
};

/// The microbatches of a step on one of the data-parallel ranks: two, whatever their number.
std::vector<Microbatch> microbatches(Training const& job, std::int64_t step, Line data) {
  BatchSizes const sizes{job.batch(), job.batch() / 2 / data.count, data.count};
  std::vector<Microbatch> all(static_cast<std::size_t>(sizes.accumulate()));
  auto const append = [&](std::vector<std::int32_t>& to, std::string const& name,
                          std::int64_t row) {
    auto const* const from = job.tokens.at(name).elements.data() + row * job.seq();
    for (std::int64_t t = 0; t < job.seq(); ++t) to.push_back(static_cast<std::int32_t>(from[t]));
  };
  for (std::int64_t m = 0; m < sizes.accumulate(); ++m)
    for (std::int64_t b = 0; b < sizes.micro; ++b) {
      auto const row = sizes.place(step, m, data.place, b);
      append(all[static_cast<std::size_t>(m)].ids, "ids", row);
      append(all[static_cast<std::size_t>(m)].labels, job.how.labels, row);
    }
  return all;
}

/// This rank's part of the gradients that the optimizer has reduced.
template <class Model, class Strategy, class World>
std::vector<Piece> gradient_pieces(Model const& model,
                                   Optimizer<Strategy, World> const& optimizer) {
  std::vector<Piece> pieces;
  std::size_t i = 0;
  model.visit([&]<class X, class W, class M>(ParameterInfo const& info, Var<X, W> const& v, M m) {
    auto const& state = optimizer.state(i++);
    if (optimizer.template holders<X>().place != 0) return;
    auto const& world = v.world();
    auto const held = chunk_portions(portions<X>(info, world.plan, world.rank(), m), state.chunk);
    detail::add_pieces(pieces, held, "", "model", World::backend::data(state.gradient));
  });
  return pieces;
}

/// Trains on the ranks of a communicator, TP of them in a row; each adds its part of what llama.py
/// writes.
template <class Region, class Strategy, class Backend, class C>
void train(C comm, std::int64_t tp, Training const& job, Arrays& arrays, std::mutex& mutex) {
  auto const dp = comm.size() / tp;
  World<LlamaPlan, Backend, C> world(
      make_plan(job.config, {dp, tp, job.batch() / 2 / dp, job.seq(), 0}), comm);
  Llama<Region, decltype(world)> const llama(world, job.config);
  PosixStorage folder(job.folder);
  load_huggingface(world.comm, folder, model_pieces(llama, Holding::all));
  WithLossOf<Llama<Region, decltype(world)>> const model{llama, job.how};
  Optimizer<Strategy, decltype(world)> optimizer(world, model, job.how.update, job.how.clip);

  Array losses{{job.steps()}, {}}, norms = losses;
  auto const add = [&](std::string const& prefix, std::vector<Piece> const& pieces) {
    std::scoped_lock const lock(mutex);
    for (auto const& piece : pieces) add_piece(arrays, prefix, piece);
  };
  for (std::int64_t step = 0; step < job.steps(); ++step) {
    auto const batches = microbatches(job, step, line<DP>(world.plan, world.rank()));
    losses.elements.push_back(
        accumulate_gradients(world, model, std::span<Microbatch const>(batches)));
    norms.elements.push_back(optimizer.reduce(model));
    if (step == 0) add("grad.", gradient_pieces(model, optimizer));
    optimizer.step(model, job.how.rate);
  }
  add("trained.", model_pieces(llama, Holding::owned));
  std::scoped_lock const lock(mutex);
  arrays["losses"] = losses;
  arrays["norms"] = norms;
}

/// The whole model on one rank, in the backend's type.
template <class Backend> Arrays on_one_rank(Training const& job) {
  Arrays arrays;
  std::mutex mutex;
  train<Duplicated, Replicated<AdamW>, Backend>(Single{}, 1, job, arrays, mutex);
  return arrays;
}

/// Two tensor-parallel times two data-parallel ranks, sequence parallel, state split.
Arrays on_four_ranks(Training const& job) {
  Arrays arrays;
  std::mutex mutex;
  Threads::run(4, [&](Threads::Rank rank) {
    train<SequenceParallel<Seq>, Zero1<AdamW>, Xt>(rank, 2, job, arrays, mutex);
  });
  return arrays;
}

void check_same(Arrays const& ours, Arrays const& expected, double bound) {
  CHECK(ours.size() == expected.size());
  for (auto const& tensor : expected) {
    CAPTURE(tensor.first);
    REQUIRE(ours.contains(tensor.first));
    CHECK(relative_distance(ours.at(tensor.first), tensor.second) < bound);
  }
}

/// The bound in float, and in double: nothing is left there but rounding.
constexpr double as_float = 1e-5, as_double = 1e-12;

void check_layouts(Training const& job, Arrays const& expected) {
  if (job.how.clip.max < 1e30)  // a case that clips does so at every step
    CHECK(*std::ranges::min_element(expected.at("norms").elements) > job.how.clip.max);
  check_same(on_one_rank<Xt>(job), expected, as_float);
  check_same(on_four_ranks(job), expected, as_float);
}

// ---- a model and tokens for PyTorch to run with, made here ----

constexpr auto larger_config = R"({
  "vocab_size": 131, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
  "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5,
  "rope_theta": 10000, "max_position_embeddings": 32, "initializer_range": 0.08})";

LlamaConfig config_of(std::string const& text, Case const& how) {
  return parse_llama_config(to_text(test::merged(parse_json(text, "config"), how.config)),
                            "config");
}

/// Writes a new model, of four ranks, as a Hugging Face folder.
void write_folder(Folder const& folder, std::string const& name, LlamaConfig const& config) {
  auto const checkpoint = folder / (name + "-checkpoint");
  Threads::run(4, [&](Threads::Rank rank) {
    World<LlamaPlan, Xt, Threads::Rank> world(make_plan(config, {2, 2, 1, 16, 0}), rank);
    Llama<SequenceParallel<Seq>, decltype(world)> const model(world, config);
    initialize(model, 5);
    SaveRequest request;
    request.step = 1;
    request.pieces = model_pieces(model, Holding::owned);
    request.state = "{}";
    PosixStorage storage(checkpoint);
    save(rank, storage, request);
  });
  PosixStorage from(checkpoint), to(folder.path);
  ExportOptions options;
  options.other_files["config.json"] = to_json(config);
  export_huggingface(from, entries(from).at(0), to, name, options);
}

Arrays random_tokens(std::int64_t vocab) {
  Arrays arrays;
  Stream const stream(3, "tokens");
  Array array{{10, 4, 16}, {}};
  for (std::int64_t i = 0; i < 10 * 4 * 16; ++i)
    array.elements.push_back(
        std::floor(static_cast<double>(vocab) * stream.uniform(static_cast<std::uint64_t>(i))));
  arrays["ids"] = array;
  std::rotate(array.elements.begin(), array.elements.begin() + 1, array.elements.end());
  arrays["labels"] = array;
  for (std::size_t i = 0; i < array.elements.size(); ++i)
    if (i % 7 == 2 || i % 64 < 12) array.elements[i] = -100;
  arrays["labels_some_ignored"] = array;
  return arrays;
}

}  // namespace

TEST_CASE("losses, gradients, norms and ten steps are those that PyTorch gave") {
  for (auto const& name : names_of_cases()) {
    CAPTURE(name);
    auto const how = read_case(name);
    Training const job{how, config_of(read_file(source("golden/config.json")), how),
                       source("golden"), read_arrays(source("golden/tokens.safetensors"))};
    auto const expected = read_arrays(source("golden/" + name + ".safetensors"));
    check_same(on_one_rank<Reference<double>>(job), expected, as_double);
    check_layouts(job, expected);
  }
}

TEST_CASE("they are those that PyTorch gives for a model and tokens made here") {
  auto const python = python_with("torch, numpy");
  if (python.empty()) {
    MESSAGE("SKIPPED: no Python here imports torch (on Debian: apt install python3-torch)");
    return;
  }
  Folder const folder;
  for (auto const& name : names_of_cases()) {
    CAPTURE(name);
    auto const how = read_case(name);
    Training const job{how, config_of(larger_config, how), folder / name, random_tokens(131)};
    write_folder(folder, name, job.config);
    auto const tokens = folder / (name + ".tokens"), result = folder / (name + ".result");
    write_integers(tokens, job.tokens);
    auto const pytorch = [&](std::string const& dtype) {
      run_python(python, "llama.py",
                 {"--dtype", dtype, source("cases.json"), name, job.folder, tokens, result});
      return read_arrays(result);
    };
    auto const expected = pytorch("float64");
    check_same(on_one_rank<Reference<double>>(job), expected, as_double);
    check_layouts(job, expected);
    if (name == "untied" || name == "all_at_once") check_layouts(job, pytorch("float32"));
  }
}

TEST_CASE("a digest tells how far tensors are apart") {
  Array a{{1000}, {}}, digest{{17}, {}};
  for (int i = 0; i < 1000; ++i) a.elements.push_back(std::sin(i));
  auto const numbers = digest_of(a.elements);
  digest.elements.assign(numbers.begin(), numbers.end());
  CHECK(relative_distance(a, digest) < 1e-14);
  for (double const by : {1e-8, 1e-4, 1e-1}) {
    auto moved = a;
    for (int i = 0; i < 1000; ++i)
      moved.elements[static_cast<std::size_t>(i)] += by * std::cos(7 * i);
    auto const apart = relative_distance(moved, a);
    CHECK(relative_distance(moved, digest) > apart / 2);
    CHECK(relative_distance(moved, digest) < apart * 2);
  }
}
