// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include <nxd/checkpoint/state.hpp>
#include <nxd/config/llama_state.hpp>
#include <nxd/models/llama_tensors.hpp>
#include <nxd/plan/machine_text.hpp>
#include <nxd/train/metrics.hpp>
#include <nxd/train/trace_text.hpp>

#include "target.hpp"

namespace {

/// Its members have no names.
struct Point {
  std::int64_t x = 0;
  float y = 0;

  template <class Archive> void serialize(Archive& a, unsigned) { a& x& y; }
};

/// A state of a user's own, of all that a state can hold.
struct OwnState {
  bool yes = true;
  std::uint64_t u = 1;
  std::int8_t i = -1;
  float f = 0.5F;
  double d = 0.1;
  std::optional<std::string> text;
  std::map<std::string, std::vector<OwnState>> inner;
  std::map<std::int64_t, std::pair<bool, double>> entries{{1, {true, 2.0}}};
  std::set<std::int32_t> seen{1, 2};
  float two[2] = {1, 2};
  std::vector<Point> points{{1, -1}};
  nxd::Json any{"text"};

  template <class Archive> void serialize(Archive& a, unsigned) {
    using nxd::nvp;
    a& nvp("yes", yes) & nvp("u", u) & nvp("i", i) & nvp("f", f) & nvp("d", d) & nvp("text", text) &
        nvp("inner", inner) & nvp("entries", entries) & nvp("seen", seen) & nvp("two", two) &
        nvp("points", points) & nvp("any", any);
  }
};

void read_own(std::string const& text) {
  auto const written = nxd::state_text(nxd::parse_state<OwnState>(text, fuzz::file));
  auto const again = nxd::parse_state<OwnState>(written, fuzz::file);
  fuzz::require(nxd::state_text(again) == written, "a state comes back as it was written");
}

/// A state, and that state with a lie of each kind.
std::vector<std::string> own_texts() {
  OwnState state;
  state.u = ~0ULL;
  state.d = std::numeric_limits<double>::infinity();
  state.text = "x";
  auto const small = nxd::state_text(state);
  state.inner["x"].resize(2);
  std::vector<std::string> all{"u" + nxd::state_text(state), "u[]", "u{\"yes\":1}"};
  struct Lie {
    std::string from, to;
  };
  for (auto const& [from, to] :
       std::vector<Lie>{{"\"inf\"", "\"-inf\""},
                        {"\"inf\"", "\"nan\""},
                        {"\"inf\"", "3"},
                        {"\"inf\"", "\"inf \""},
                        {"\"f\":0.5", "\"f\":1e39"},
                        {"\"i\":-1", "\"i\":-129"},
                        {"\"18446744073709551615\"", "\"3\""},
                        {"\"text\":\"x\"", "\"text\":null"},
                        {"\"text\":\"x\"", "\"text\":1"},
                        {"[1,[true,2.0]]", "[1,[true,2.0]],[1,[true,2.0]]"},
                        {"\"seen\":[1,2]", "\"seen\":[1,1]"},
                        {"\"two\":[1.0,2.0]", "\"two\":[1.0]"},
                        {"[1,-1.0]", "[1]"},
                        {"[1,-1.0]", "[1,-1.0,0]"},
                        {"\"yes\":true", "\"yes\":true,\"no\":1"},
                        {"\"yes\":true", "\"yes\":true,\"yes\":true"},
                        {"\"yes\":true", "\"yes\":null"}}) {
    auto lie = small;
    lie.replace(lie.find(from), from.size(), to);
    all.push_back("u" + lie);
  }
  return all;
}

/// The tensors of a model that passes its check can be counted.
void use(nxd::LlamaConfig const& config) {
  auto const again = nxd::parse_llama_config(nxd::to_json(config), fuzz::file);
  fuzz::require(again == config, "a model comes back as it was written");
  try {
    check(config);
  } catch (nxd::ConfigError const&) {
    return;
  }
  if (config.num_hidden_layers < 50)
    fuzz::require(nxd::llama_tensors(config).size() > 9, "a model has tensors");
}

void read_lines(std::string_view text) {
  for (std::size_t end = 0; end != text.npos && !text.empty();) {
    end = text.find('\n');
    if (auto const step = nxd::parse_metrics(text.substr(0, end))) {
      auto const line = nxd::to_json(*step);
      auto const again = nxd::parse_metrics(line);
      fuzz::require(again && nxd::to_json(*again) == line, "a step comes back as it was written");
    }
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
}

void read_any(std::string_view text) {
  auto const json = nxd::parse_json(text, fuzz::file);
  auto const written = nxd::to_text(json);
  fuzz::require(nxd::to_text(nxd::parse_json(written, fuzz::file)) == written,
                "a value comes back as it was written");
  nxd::JsonView const view(json, fuzz::file);
  if (view.has("c")) (void)view["c"].counts();
}

}  // namespace

/// First byte: what the text is.
void fuzz::read(std::string_view input) {
  auto const kind = take_byte(input);
  std::string const text(input);
  if (kind == 'c') use(nxd::parse_llama_config(text, file));
  if (kind == 's') use(nxd::parse_llama_state(text, file).model);
  if (kind == 'm') {
    auto const written = nxd::to_text(nxd::parse_machine(text, file));
    require(nxd::to_text(nxd::parse_machine(written, file)) == written, "a machine comes back");
  }
  if (kind == 't') {
    auto const trace = nxd::parse_trace(text, file);
    (void)nxd::trace_text(std::span(&trace, 1), trace.facts);
  }
  if (kind == 'l') read_lines(text);
  if (kind == 'j') read_any(text);
  if (kind == 'u') read_own(text);
}

std::vector<std::string> fuzz::seeds() {
  nxd::LlamaConfig scaled;
  scaled.rope_scaling = nxd::RopeScaling{};
  nxd::Machine const machine;
  nxd::RankTrace const trace{
      1, "rank 1", {{"step", "one", 0, 3e-6, 0}, {"exchange", "x", 1e-6, 2e-6, 8}}};
  nxd::StepMetrics step{3, 2.5, 0.5, 1e-3, 4096, 1e5, 12.5, 1000, 2000, 2.25};
  auto lines = nxd::to_json(step) + "\n";
  step.loss = std::numeric_limits<double>::quiet_NaN();
  lines += nxd::to_json(step);
  std::vector<std::string> all{
      "c" + nxd::to_json(nxd::LlamaConfig{}),
      "c" + nxd::to_json(scaled),
      "c{\"rope_scaling\":{\"type\":\"yarn\"}}",
      "c{\"mlp_bias\":true}",
      "c{\"model_type\":\"gpt\"}",
      "s" + nxd::to_text(nxd::LlamaState{}),
      "m" + nxd::to_text(machine),
      "t" + nxd::trace_text(std::span(&trace, 1), {{"ranks", "2"}}),
      "l" + lines,
      "j{\"c\":[\"9223372036854775808\"]}",
      "j{\"c\":[3,9007199254740993]}",
      "j{\"c\":[18446744073709551615]}",
      "j{\"a\":1,\"a\":2}",
      "j" + std::string(65, '['),
      "j{\"c\":[1,\"9007199254740993\"],\"a\":[null,true,false,-1,0.5,1e300],\"b\":{\"\\u00e9\\n\":\"\"}}",
      "j{\"" + std::string(39, 'k') + "\\u00e9\":{\"a\":1,\"a\":2}}"};
  for (auto& text : own_texts()) all.push_back(std::move(text));
  return all;
}

std::vector<std::string> fuzz::words() {
  return {"\"hidden_size\":",
          "\"num_hidden_layers\":",
          "\"rope_scaling\":",
          "\"rope_type\":",
          "\"llama3\"",
          "\"head_dim\":",
          "\"model\":",
          "\"steps\":",
          "\"traceEvents\":",
          "\"otherData\":",
          "\"args\":",
          "\"bytes\":",
          "\"ph\":\"X\"",
          "\"ts\":",
          "\"dur\":",
          "\"peak_bytes\":",
          "\"val_loss\":",
          "\"non_finite\":true",
          "1e308",
          "-1e308",
          "4294967296",
          "9223372036854775807",
          "18446744073709551615",
          "null",
          "\\ud800",
          "\\u0000"};
}
