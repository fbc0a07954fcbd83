// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include <nxd/core/error.hpp>

namespace nxd {

/// Llama 3.1's stretch of rotary positions to longer contexts, as its `config.json` has it.
struct RopeScaling {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double original_max_position_embeddings = 8192;
  bool operator==(RopeScaling const&) const = default;
};

/// What Hugging Face's `config.json` says of a Llama, under its names.
struct LlamaConfig {
  std::int64_t vocab_size = 32000;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 11008;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 32;
  std::int64_t head_dim = 128;
  std::int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  std::optional<RopeScaling> rope_scaling{};
  bool operator==(LlamaConfig const&) const = default;
};

/// The angle by which each pair of a head turns from one position to the next:
/// theta^(-2i / head_dim), and for Llama 3.1 the slow ones slower: wavelengths beyond the original
/// context are divided by `factor`, those between the bounds are blended.
inline std::vector<double> frequencies(LlamaConfig const& config) {
  std::vector<double> all;
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    auto const exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    auto f = std::pow(config.rope_theta, -exponent);
    if (config.rope_scaling) {
      auto const& s = *config.rope_scaling;
      auto const turns = s.original_max_position_embeddings * f / (2 * std::numbers::pi);
      auto const blend = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      if (turns < s.low_freq_factor)
        f /= s.factor;
      else if (turns <= s.high_freq_factor)
        f = (1 - blend) * f / s.factor + blend * f;
    }
    all.push_back(f);
  }
  return all;
}

/// No extent of a model is larger, so that the product of any two has its place in 63 bits.
inline constexpr std::int64_t largest_extent = (std::int64_t{1} << 31) - 1;
inline constexpr std::int64_t most_layers = 10'000;

/// @throws ConfigError if the numbers make no model, naming the one that is wrong.
inline void check(LlamaConfig const& c) {
  auto const positive = [](std::int64_t n, char const* name, std::int64_t most = largest_extent) {
    if (n <= 0)
      throw ConfigError(std::string(name) + " is " + std::to_string(n) + "; it must be positive");
    if (n > most)
      throw ConfigError(std::string(name) + " is " + std::to_string(n) + "; it can be " +
                        std::to_string(most) + " at most");
  };
  positive(c.vocab_size, "vocab_size");
  positive(c.hidden_size, "hidden_size");
  positive(c.intermediate_size, "intermediate_size");
  positive(c.num_hidden_layers, "num_hidden_layers", most_layers);
  positive(c.num_attention_heads, "num_attention_heads");
  positive(c.num_key_value_heads, "num_key_value_heads");
  positive(c.head_dim, "head_dim");
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    throw ConfigError("num_attention_heads is " + std::to_string(c.num_attention_heads) +
                      ", which is not a multiple of num_key_value_heads, " +
                      std::to_string(c.num_key_value_heads));
  if (c.head_dim % 2 != 0)
    throw ConfigError("head_dim is " + std::to_string(c.head_dim) +
                      "; rotary positions need it to be even");
}

}  // namespace nxd
