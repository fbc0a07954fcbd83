// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <nxd/core/file_text.hpp>
#include <nxd/data/dataset.hpp>
#include <nxd/data/sampler.hpp>
#include <nxd/data/text.hpp>
#include <nxd/models/llama_json.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/train/config.hpp>
#include <nxd/train/config_rules.hpp>
#include <nxd/train/config_text.hpp>
#include <nxd/train/step.hpp>

namespace nxd {

namespace detail {

/// A multiple of `unit`, not below n; the largest number if that is beyond it.
constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(n, unit - 1, &sum)) return INT64_MAX;
  return sum / unit * unit;
}

}  // namespace detail

/// The `config.json` that a path names: the file, or the one in a folder.
inline std::string config_json_at(std::string const& path) {
  return std::filesystem::is_directory(path) ? path + "/config.json" : path;
}

/// The model that a configuration describes: its `model_config` if it has one, and on top of it the
/// fields that are set. `vocabulary` is the tokenizer's.
/// @throws ConfigError, CorruptInput, IoError naming what is wrong
inline LlamaConfig llama_config(TrainingConfig const& config, std::int64_t vocabulary) {
  auto const& m = config.model;
  LlamaConfig c;
  c.vocab_size = vocabulary;
  bool head_dim_set = false;
  if (m.model_config) {
    auto const& source = *m.model_config;
    auto const path = config_json_at(source.path);
    c = source.inline_json.empty() ? parse_llama_config(read_file_text(path, 1 << 20), path)
                                   : parse_llama_config(source.inline_json, "model.model_config");
    head_dim_set = true;
  } else {
    c.num_key_value_heads = 0;
  }
  auto const set = [](auto& field, auto const& value) {
    if (value) field = *value;
    return value.has_value();
  };
  set(c.num_hidden_layers, m.num_layers);
  bool const wider = set(c.hidden_size, m.hidden_size);
  bool const more_heads = set(c.num_attention_heads, m.num_attention_heads);
  set(c.intermediate_size, m.ffn_hidden_size);
  if (!set(c.num_key_value_heads, m.num_kv_heads) && c.num_key_value_heads == 0)
    c.num_key_value_heads = c.num_attention_heads;
  if (!set(c.head_dim, m.kv_channels) && (wider || more_heads || !head_dim_set) &&
      c.num_attention_heads > 0)
    c.head_dim = c.hidden_size / c.num_attention_heads;
  set(c.max_position_embeddings, m.max_position_embeddings);
  set(c.vocab_size, m.vocab_size);
  c.vocab_size = detail::round_up(c.vocab_size, m.make_vocab_size_divisible_by);
  set(c.rope_theta, m.rope_theta);
  set(c.rms_norm_eps, m.layernorm_epsilon);
  set(c.initializer_range, m.init_method_std);
  set(c.tie_word_embeddings, m.share_embeddings_and_output_weights);
  check(c);
  if (c.vocab_size < vocabulary)
    throw ConfigError("model.vocab_size is " + std::to_string(c.vocab_size) +
                      ", but the tokenizer has " + std::to_string(vocabulary) +
                      " tokens; set it to that, or more");
  return c;
}

/// How a configuration lays its model out on a job of `ranks`. @throws ConfigError if it cannot be
inline LlamaLayout llama_layout(TrainingConfig const& config, std::int64_t ranks) {
  auto const& d = config.distributed_strategy;
  return {.data_parallel = data_parallel_size(config, ranks),
          .tensor_parallel = d.tensor_model_parallel_size,
          .micro_batch = config.data.micro_batch_size,
          .seq_length = sequence_length(config),
          .kv_copies = d.kv_replicator};
}

/// The part of the samples that `data.splits_string`, "train,validation,test", holds out for
/// validation.
/// @throws ConfigError if it is not three numbers
inline double validation_share(TrainingConfig const& config) {
  double parts[3] = {};
  char end = 0;
  auto const& text = config.data.splits_string;
  auto const read =
      std::sscanf(text.c_str(), "%lf,%lf,%lf%c", &parts[0], &parts[1], &parts[2], &end);
  auto const sum = parts[0] + parts[1] + parts[2];
  if (read != 3 || !(parts[0] > 0) || !(parts[1] >= 0) || !(parts[2] >= 0))
    throw ConfigError("data.splits_string is \"" + text +
                      "\"; write three parts, such as \"980,20,0\"");
  return parts[1] / sum;
}

/// The files that `open_data` reads.
inline std::vector<std::string> data_files(TrainingConfig const& config) {
  std::vector<std::string> files;
  auto const add = [&](std::string const& path) {
    for (auto& file : find_files(path)) files.push_back(std::move(file));
  };
  if (config.data.train_dir) add(*config.data.train_dir);
  if (config.data.val_dir) add(*config.data.val_dir);
  if (!config.data.train_dir)
    for (auto const& [share, prefix] : config.data.data_prefix)
      for (auto const* ending : {".idx", ".bin"}) files.push_back(prefix + ending);
  return files;
}

/// The samples that a configuration names, split into those trained on and those held out.
/// @throws IoError, CorruptInput, ConfigError naming file or key
inline Split open_data(TrainingConfig const& config, std::int64_t vocabulary) {
  auto const& d = config.data;
  auto const length = sequence_length(config);
  auto const open = [&](std::string const& folder) {
    if (folder.empty() && d.data_prefix.size() > 1)
      throw ConfigError("data.data_prefix names " + std::to_string(d.data_prefix.size()) +
                        " data sets, but this program does not blend; name one");
    if (folder.empty()) return TokenStream(IndexedDataset(d.data_prefix.at(0).prefix));
    return TokenStream(read_text(ByteTokenizer{}, folder, d.max_bytes.value_or(0)));
  };
  PackedDataset const all(open(d.train_dir.value_or("")), length);
  auto split = [&] {
    if (d.val_dir) return Split{all, PackedDataset(open(*d.val_dir), length)};
    return nxd::split(all, validation_share(config));
  }();
  if (split.train.size() < d.global_batch_size)
    throw ConfigError(
        "the data has " + std::to_string(split.train.size()) + " samples of " +
        std::to_string(length) + " tokens to train on, fewer than data.global_batch_size, " +
        std::to_string(d.global_batch_size) + "; give it more text or shorter samples");
  check_vocabulary(split.train.sample(0), vocabulary);
  return split;
}

}  // namespace nxd
