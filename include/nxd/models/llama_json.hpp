// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nxd/checkpoint/json.hpp>
#include <nxd/models/llama_config.hpp>

namespace nxd {

namespace detail {

/// Reads members that are there and not null into fields.
struct MemberReader {
  JsonView json;

  bool has(char const* key) const { return json.has(key) && !json[key].is_null(); }
  void operator()(char const* key, std::int64_t& field) const {
    if (has(key)) field = json[key].count();
  }
  void operator()(char const* key, double& field) const {
    if (has(key)) field = json[key].number();
  }
  void operator()(char const* key, bool& field) const {
    if (has(key)) field = json[key].boolean();
  }
  /// @throws ConfigError if the member is there and is another text
  void expect(char const* key, char const* wanted) const {
    if (has(key) && json[key].string() != wanted)
      throw ConfigError(json.where() + ": " + key + " is \"" + json[key].string() +
                        "\", but a Llama here has \"" + wanted + "\"");
  }
};

inline RopeScaling read_scaling(JsonView const& json) {
  return {json["factor"].number(), json["low_freq_factor"].number(),
          json["high_freq_factor"].number(), json["original_max_position_embeddings"].number()};
}

}  // namespace detail

/// Reads Hugging Face's `config.json` of a Llama. Members that it lacks have Hugging Face's
/// defaults; those that say nothing about the model are passed over. `name` stands for the file in
/// sentences.
/// @throws CorruptInput if it is not JSON; ConfigError if it describes what is not a Llama here
inline LlamaConfig parse_llama_config(std::string const& text, std::string const& name) {
  auto const json = parse_json(text, name, {.bytes = std::size_t{1} << 20});
  detail::MemberReader const read{JsonView(json, name)};
  read.expect("model_type", "llama");
  read.expect("hidden_act", "silu");
  for (auto const* key : {"attention_bias", "mlp_bias"}) {
    bool biased = false;
    read(key, biased);
    if (biased) throw ConfigError(name + ": " + key + " is true, but a Llama here has no biases");
  }
  LlamaConfig c;
  read("vocab_size", c.vocab_size);
  read("hidden_size", c.hidden_size);
  read("intermediate_size", c.intermediate_size);
  read("num_hidden_layers", c.num_hidden_layers);
  read("num_attention_heads", c.num_attention_heads);
  c.num_key_value_heads = c.num_attention_heads;
  read("num_key_value_heads", c.num_key_value_heads);
  c.head_dim = c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0;
  read("head_dim", c.head_dim);
  read("max_position_embeddings", c.max_position_embeddings);
  read("rms_norm_eps", c.rms_norm_eps);
  read("rope_theta", c.rope_theta);
  read("initializer_range", c.initializer_range);
  read("tie_word_embeddings", c.tie_word_embeddings);
  if (read.has("rope_scaling")) {
    auto const scaling = read.json["rope_scaling"];
    auto const kind = scaling[scaling.has("rope_type") ? "rope_type" : "type"].string();
    if (kind == "llama3")
      c.rope_scaling = detail::read_scaling(scaling);
    else if (kind != "default")
      throw ConfigError(name + ": rope_scaling is \"" + kind +
                        "\", but only \"llama3\" is known here");
  }
  return c;
}

/// Writes the `config.json` that `parse_llama_config`, and Hugging Face, reads.
inline std::string to_json(LlamaConfig const& c, std::string const& dtype = "float32") {
  Json::Object json{{"architectures", Json::Array{"LlamaForCausalLM"}},
                    {"model_type", "llama"},
                    {"hidden_act", "silu"},
                    {"attention_bias", false},
                    {"mlp_bias", false},
                    {"vocab_size", c.vocab_size},
                    {"hidden_size", c.hidden_size},
                    {"intermediate_size", c.intermediate_size},
                    {"num_hidden_layers", c.num_hidden_layers},
                    {"num_attention_heads", c.num_attention_heads},
                    {"num_key_value_heads", c.num_key_value_heads},
                    {"head_dim", c.head_dim},
                    {"max_position_embeddings", c.max_position_embeddings},
                    {"rms_norm_eps", c.rms_norm_eps},
                    {"rope_theta", c.rope_theta},
                    {"initializer_range", c.initializer_range},
                    {"tie_word_embeddings", c.tie_word_embeddings},
                    {"torch_dtype", dtype}};
  if (c.rope_scaling) {
    auto const& s = *c.rope_scaling;
    json["rope_scaling"] =
        Json::Object{{"rope_type", "llama3"},
                     {"factor", s.factor},
                     {"low_freq_factor", s.low_freq_factor},
                     {"high_freq_factor", s.high_freq_factor},
                     {"original_max_position_embeddings", s.original_max_position_embeddings}};
  }
  return to_text(Json(std::move(json))) + "\n";
}

}  // namespace nxd
