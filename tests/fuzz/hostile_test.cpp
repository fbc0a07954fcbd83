// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>

#include <doctest/doctest.h>

#include <nxd/checkpoint/entry.hpp>
#include <nxd/checkpoint/huggingface.hpp>
#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/s3/xml.hpp>
#include <nxd/checkpoint/save.hpp>
#include <nxd/checkpoint/state.hpp>
#include <nxd/config/llama_state.hpp>
#include <nxd/config/load.hpp>
#include <nxd/core/file_text.hpp>
#include <nxd/data/dataset.hpp>
#include <nxd/models/llama_tensors.hpp>
#include <nxd/plan/machine_text.hpp>
#include <nxd/train/metrics.hpp>
#include <nxd/train/trace_text.hpp>

#include "../allocations.hpp"
#include "../checkpoint/parts.hpp"

namespace {

namespace fs = std::filesystem;

/// Text that someone has made to do harm, and who reads it.
struct Hostile {
  std::string what;
  std::function<void()> read;
};

/// Of this process's time, so that busy neighbours do not count; more where nothing is optimised,
/// or every access to memory is looked at.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
constexpr double most_seconds = 1;
#else
constexpr double most_seconds = 5;
#endif

/// It is refused within a second and 64 MiB, in one sentence that names the file.
void expect_refused(Hostile const& hostile) {
  CAPTURE(hostile.what);
  auto const begin = std::clock();
  auto const before = allocations::bytes.load();
  allocations::most_bytes = before;
  std::string said;
  try {
    hostile.read();
  } catch (nxd::Error const& refusal) {
    said = refusal.what();
  }
  auto const spent = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  CAPTURE(said);
  CHECK((said.find("the-file") != said.npos || said.starts_with("command line:")));
  CHECK(said.size() < 5000);
  CHECK(std::ranges::none_of(said, [](char c) { return c >= 0 && c < 0x20; }));
  CHECK(spent < most_seconds);
  CHECK(allocations::most_bytes - before < 64 << 20);
}

std::string times(std::size_t n, std::string const& part) {
  std::string all;
  all.reserve(n * part.size());
  for (std::size_t i = 0; i < n; ++i) all += part;
  return all;
}

std::string length_of(std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

constexpr std::size_t million = 1'000'000;

/// A state of a user's own.
struct OwnState {
  std::int32_t steps = 0;
  std::map<std::string, std::vector<OwnState>> inner;
  std::vector<double> rates;
  bool pair[2] = {};

  template <class Archive> void serialize(Archive& a, unsigned) {
    a& nxd::nvp("steps", steps) & nxd::nvp("inner", inner) & nxd::nvp("rates", rates) &
        nxd::nvp("pair", pair);
  }
};

// ---- files of tensors ------------------------------------------------------------------------

std::string one_tensor(std::string const& name, std::string const& shape) {
  return "{\"" + name + "\":{\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":[0,4]}}";
}

std::vector<std::pair<std::string, std::string>> tensor_files() {
  std::vector<std::pair<std::string, std::string>> all;
  auto const add = [&](std::string what, std::string json, std::size_t data = 4) {
    all.emplace_back(std::move(what), length_of(json.size()) + json + std::string(data, 'x'));
  };
  for (auto const length :
       {std::uint64_t{1} << 31, std::uint64_t{1} << 32, std::uint64_t{INT64_MAX},
        std::uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7})
    all.emplace_back("a header of " + std::to_string(length), length_of(length) + "{}");
  for (auto const* n : {"2147483648", "4294967296", "9223372036854775807", "9223372036854775808",
                        "18446744073709551615", "18446744073709551616", "1e18", "-1", "1.5", "null",
                        "\"4611686018427387904\"", "true", "[]", "{}"}) {
    auto const number = std::string(n);
    add("an extent of " + number, one_tensor("w", "[" + number + "]"));
    add("four extents of " + number, one_tensor("w", "[" + times(3, number + ",") + number + "]"));
    add("an end at " + number,
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0," + number + "]}}");
    add("a beginning at " + number,
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" + number + ",4]}}");
  }
  add("a million levels of lists", one_tensor("w", times(million, "[")));
  add("a million levels of objects", times(million, "{\"a\":"));
  add("a shape of a million ones", one_tensor("w", "[" + times(million / 4, "1,") + "1]"));
  add("a name of a million letters", one_tensor(std::string(million, 'w'), "[2]"));
  add("a name of other lines", one_tensor("w\\n\\r\\u001b[2J", "[2]"));
  add("a name with a NUL", one_tensor("w\\u0000", "[1]"));
  add("half a pair of UTF-16", one_tensor("\\ud800", "[1]"));
  add("a zip behind it", one_tensor("w", "[1]"), 30);
  all.emplace_back("a zip", "PK\3\4" + std::string(1000, 'x') + "PK\5\6");
  all.emplace_back("a pickle", "\x80\x02}q\x01." + std::string(100, 'x'));
  all.emplace_back("GGUF", "GGUF\3" + std::string(100, '\0'));
  return all;
}

TEST_CASE("files of tensors that do harm are refused, fast and small") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder.path);
  auto const path = folder / "the-file.safetensors";
  auto const read = [&] {
    auto file = storage.open("the-file.safetensors");
    nxd::read_safetensors_header(file, storage.where("the-file.safetensors"));
  };
  for (auto const& [what, bytes] : tensor_files()) {
    parts::write_file(path, bytes);
    expect_refused({what, read});
  }
  for (auto const size : {std::int64_t{1} << 31, std::int64_t{1} << 40}) {
    parts::write_file(path, length_of(99) + "{}");
    fs::resize_file(path, static_cast<std::uintmax_t>(size));
    expect_refused({"a hole of " + std::to_string(size), read});
  }
  fs::remove(path);
  expect_refused({"a pipe", [&] {
                    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
                    read();
                  }});
  for (auto const* to : {"/dev/zero", "/dev/random", "/proc/self/mem", "/etc/passwd", "."}) {
    fs::remove(path);
    fs::create_symlink(to, path);
    expect_refused({std::string("a link to ") + to, read});
  }
}

TEST_CASE("folders of tensors that do harm are refused, fast and small") {
  parts::Folder folder;
  auto const root = fs::path(folder / "the-file");
  fs::create_directory(root);
  parts::write_file(folder / "secret", one_tensor("w", "[1]"));
  auto const open = [&] {
    nxd::PosixStorage storage(root);
    nxd::HuggingFaceFolder<nxd::PosixStorage> const opened(storage);
  };
  for (auto const* shard :
       {"../secret", "/etc/passwd", "a/../../secret", "..", ".", ".hidden", "a\\u0000b", "a\\\\b",
        "//x", "absent.safetensors", "zero", "pipe", "folder", "https://x/y", "CON:", "a b", ""}) {
    parts::write_file(root / nxd::safetensors_index_name,
                      "{\"weight_map\":{\"w\":\"" + std::string(shard) + "\"}}");
    std::error_code ignored;
    fs::create_symlink("/dev/zero", root / "zero", ignored);
    fs::create_directory(root / "folder", ignored);
    ::mkfifo((root / "pipe").c_str(), 0600);
    expect_refused({"a shard named " + std::string(shard), open});
  }
  fs::remove(root / nxd::safetensors_index_name);
  fs::create_symlink("/dev/zero", root / nxd::safetensors_index_name);
  expect_refused({"an index that is /dev/zero", open});
}

// ---- manifests -------------------------------------------------------------------------------

std::string with_crc(std::string const& json) { return json + nxd::detail::crc_line(json); }

/// A manifest whose one tensor has these parts.
std::string with_parts(std::vector<std::int64_t> shape, std::vector<nxd::Box> const& boxes) {
  nxd::Manifest m;
  m.files = {{"state.json", 0, {}}, {"f", 4, {1}}};
  auto& tensor = m.tensors[{"model", "w"}];
  tensor.shape = std::move(shape);
  tensor.dtype = nxd::DType::f32;
  for (auto const& box : boxes) tensor.chunks.push_back({box, "f", 0});
  return nxd::manifest_text(m);
}

TEST_CASE("manifests that do harm are refused, fast and small") {
  auto const refused = [](std::string const& what, std::string const& text) {
    expect_refused({what, [&] { nxd::parse_manifest(text, "the-file"); }});
  };
  refused("a million levels", with_crc(times(million, "[")));
  refused("a million keys at once", with_crc("{" + times(million, "\"a\":1,") + "\"a\":1}"));
  refused("no line", std::string(million, 'x'));
  refused("many lines of CRCs", times(million / 10, "crc32c 00000000\n"));
  std::vector<nxd::Box> beside, again;
  for (std::int64_t i = 0; i < 20'000; ++i) {
    beside.push_back({{i % 150, i / 150}, {150 - i % 150, 1}});
    again.push_back({{0, 0}, {1, std::int64_t{1} << 40}});
  }
  refused("parts on top of each other", with_parts({1, std::int64_t{1} << 40}, again));
  refused("parts beside each other", with_parts({150, 134}, beside));
  std::vector<nxd::Box> crossed;  // rows beside columns: along both dimensions most are abreast
  constexpr std::int64_t n = 10'000;
  for (std::int64_t i = 0; i < n; ++i) {
    crossed.push_back({{i, 0}, {1, n}});
    crossed.push_back({{0, n + i}, {n, 1}});
  }
  refused("parts that are all abreast", with_parts({n, 2 * n}, crossed));
}

// ---- indices of tokens -----------------------------------------------------------------------

TEST_CASE("indices of tokens that do harm are refused, fast and small") {
  parts::Folder folder;
  auto const prefix = folder / "the-file";
  auto const read = [&] { nxd::TokenStream(nxd::IndexedDataset(prefix)).size(); };
  nxd::IndexedDatasetWriter writer(prefix);
  writer.add(std::vector<std::int32_t>{1, 2, 3});
  writer.finish();
  auto const right = parts::read_file(prefix + ".idx");
  for (auto const at : {9, 18, 26, 38, 46, 54})
    for (auto const number :
         {std::uint64_t{1} << 31, std::uint64_t{1} << 32, std::uint64_t{INT64_MAX},
          std::uint64_t{1} << 63, UINT64_MAX, UINT64_MAX / 12 + 1}) {
      auto bytes = right;
      bytes.replace(static_cast<std::size_t>(at), 8, length_of(number));
      parts::write_file(prefix + ".idx", bytes);
      expect_refused({std::to_string(number) + " at " + std::to_string(at), read});
    }
  for (std::string const end : {".idx", ".bin"}) {
    parts::write_file(prefix + ".idx", right);
    fs::remove(prefix + end);
    expect_refused({"a pipe as " + end, [&] {
                      REQUIRE(::mkfifo((prefix + end).c_str(), 0600) == 0);
                      read();
                    }});
    for (auto const* to : {"/dev/zero", "/dev/tty", ".", "/proc/self/maps", "/nowhere"}) {
      fs::remove(prefix + end);
      fs::create_symlink(to, prefix + end);
      expect_refused({to + (" as " + end), read});
    }
    fs::remove(prefix + end);
    parts::write_file(prefix + end, "");
    expect_refused({"nothing as " + end, read});
  }
}

// ---- configurations --------------------------------------------------------------------------

TEST_CASE("configurations that do harm are refused, fast and small") {
  auto const most = nxd::TreeLimits::file_bytes;
  auto const refused = [](std::string const& what, std::string const& text,
                          std::vector<std::string> const& overrides = {}) {
    expect_refused({what, [&] { nxd::load_config_text(text, "the-file", overrides); }});
  };
  for (std::string const part :
       {"[",     "{",    "{a: ", "- ",       "? ",   ": ",   "&a ", "*a ",
        "!a ",   "!!",   "'",    "\"",       "|",    ">",    "%",   "#",
        "---\n", "- - ", "\n ",  "a: &a\n",  "<<: ", "${",   "\\",  "[]: ",
        "? [",   "\t",   ",",    "@",        "a\n",  "- \n", "\r",  "\xef\xbb\xbf",
        "{,",    "[a, ", "\"\\", "- !!str ", "- &a "})
    refused("a MiB of " + part, times((most - 8) / part.size(), part));
  refused("a list of 300000", "a: [" + times(300'000, "a, ") + "a]\n");
  refused("a list of 190000", "a: [" + times(190'000, "a, ") + "a]\n");
  refused("a list of 190000 in quotes", "a: [" + times(190'000, "\"\",") + "a]\n");
  std::string const long_text(600'000, 'x');
  refused("an alias bomb of text", "a: &a " + long_text + "\nb: [" + times(900, "*a, ") + "*a]\n");
  refused("an alias bomb of names", "a: &a {" + long_text.substr(0, 900) + ": 1}\nb: [" +
                                        times(999, "*a, ") + "*a]\n" + "c: &c " + long_text +
                                        "\nd: [*c]\n");
  refused("an interpolation bomb of text",
          "a: " + long_text + "\nb: [" + times(9000, "\"${a}\", ") + "1]\n");
  refused("an interpolation bomb of lists",
          "a: [" + times(5000, "1, ") + "1]\nb: [" + times(9000, "\"${a}\", ") + "1]\n");
  std::string doubled = "a0: xxxxxxxxxx\n", nested = "a0: [x]\n";
  for (int i = 1; i < 40; ++i) {
    auto const last = "${a" + std::to_string(i - 1) + "}";
    doubled += "a" + std::to_string(i) + ": \"" + last + last + "\"\n";
    nested += "a" + std::to_string(i) + ": [\"" + last + "\", \"" + last + "\"]\n";
  }
  refused("texts that double", doubled);
  refused("lists that double", nested);
  std::string wide, paths;
  for (int i = 0; i < 45'000; ++i) wide += "k" + std::to_string(i) + ": 1\n";
  for (int i = 0; i < 9'000; ++i) paths += "v" + std::to_string(i) + ": ${k44999}\n";
  refused("nine thousand paths to the last of many keys", wide + paths);
  refused(
      "a chain of merges", "a: &a {b: 1}\n" + [] {
        std::string all;
        for (int i = 0; i < 900; ++i)
          all += "m" + std::to_string(i) + ": &m" + std::to_string(i) + " {<<: *" +
                 (i == 0 ? "a" : "m" + std::to_string(i - 1)) + ", k" + std::to_string(i) +
                 ": 1}\n";
        return all;
      }());
  refused("an unknown key of a MiB", std::string(most - 100, 'k') + ": 1\n");
  refused("a path of 100000 parts", "seed: 1\n", {times(100'000, "a.") + "a=1"});
  refused("a value of 1000 levels", "seed: 1\n", {"seed=" + times(1000, "[")});
  refused("escapes of a terminal", "\"\\e[2J\\nname: x\": 1\n");
  refused("multiply of a million", "a: ${multiply:" + times(500'000, "1,") + "x}\n");
}

TEST_CASE("files of JSON that do harm are refused, fast and small") {
  auto const huge = [](std::string const& key, std::string const& value) {
    return "{\"" + key + "\":" + value + "}";
  };
  auto const model = [](std::string const& text) {
    auto const config = nxd::parse_llama_config(text, "the-file");
    try {
      check(config);
    } catch (nxd::ConfigError const& e) {
      throw nxd::ConfigError(std::string("the-file: ") + e.what());
    }
    nxd::llama_tensors(config);
  };
  for (auto const* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "num_key_value_heads", "head_dim"})
    for (auto const* value : {"0", "-1", "2147483648", "4503599627370496", "9223372036854775807",
                              "18446744073709551615", "1e300", "\"9223372036854775807\"", "[]"})
      expect_refused({std::string(key) + " " + value, [&] { model(huge(key, value)); }});
  expect_refused({"a million levels", [&] { model(times(million, "[")); }});
  auto const state = [](std::string const& text) { nxd::parse_llama_state(text, "the-file"); };
  for (std::string const text : {"{}", "{\"model\":1}", "{\"model\":null}", "[]", "", "null"})
    expect_refused({"a state " + text, [&] { state(text); }});
  auto const own = [](std::string const& steps, std::string const& inner, std::string const& rates,
                      std::string const& pair = "[true,true]") {
    auto const text = "{\"inner\":" + inner + ",\"pair\":" + pair + ",\"rates\":" + rates +
                      ",\"steps\":" + steps + "}";
    expect_refused(
        {"own state " + text.substr(0, 60), [&] { nxd::parse_state<OwnState>(text, "the-file"); }});
  };
  for (auto const* steps :
       {"2147483648", "-2147483649", "9223372036854775808", "1e3", "1.5", "null", "\"1\"",
        "\"9007199254740993\"", "[]", "1,\"steps\":1", "1,\"x\":1"})
    own(steps, "{}", "[]");
  for (auto const* rates : {"[null]", "[\"NaN\"]", "[\"\"]", "[[]]", "{}", "[1e999]", "\"nan\""})
    own("1", "{}", rates);
  for (auto const* pair : {"[]", "[true]", "[true,true,true]", "[0,1]", "true"})
    own("1", "{}", "[]", pair);
  own("1", times(million, "{\"a\":[{\"inner\":"), "[]");
  own("1", "{\"\\n\\u001b[2J\":[1]}", "[]");
  own("1", "{\"" + std::string(million, 'k') + "\":[1]}", "[]");
  own("1", "{\"\\u0000\":[]}", "[]");
  own("1", "{}", "[" + times(million / 4, "1,") + "x]");
  own("1", "{}", "[" + std::string(17 * million, ' ') + "]");
  auto const trace = [](std::string const& time, std::string const& length) {
    nxd::parse_trace(
        "{\"otherData\":{},\"traceEvents\":[{\"name\":\"a\",\"cat\":\"step\",\"ph\":"
        "\"X\",\"pid\":0,\"ts\":" +
            time + ",\"dur\":" + length + "}]}",
        "the-file");
  };
  expect_refused({"infinite times", [&] { trace("1e308", "1"); }});
  expect_refused({"times that are none", [&] { trace("-1e308", "1e308"); }});
  expect_refused({"a negative time", [&] { trace("1", "-1"); }});
  expect_refused(
      {"XML of a million levels", [] { nxd::parse_xml(times(million, "<a>"), "the-file"); }});
  expect_refused({"XML of a million comments",
                  [] { nxd::parse_xml(times(million, "<!-- -->"), "the-file"); }});
  expect_refused({"XML of entities", [] {
                    nxd::parse_xml("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "the-file");
                  }});
  parts::Folder folder;
  fs::create_symlink("/dev/zero", folder / "the-file");
  expect_refused({"/dev/zero", [&] { nxd::read_file_text(folder / "the-file", 1 << 20); }});
  expect_refused(
      {"a configuration that is /dev/zero", [&] { nxd::load_config(folder / "the-file"); }});
  for (auto const* count : {"null", "1e300", "-1e300", "9e15"})
    CHECK_FALSE(nxd::parse_metrics(
        "{\"step\":1,\"loss\":1,\"grad_norm\":1,\"lr\":1,\"tokens\":1,\"tokens_per_s\":1,"
        "\"step_ms\":1,\"peak_bytes\":" +
        std::string(count) + "}"));
}

// ---- memory that is short ---------------------------------------------------------------------

std::ptrdiff_t open_files() {
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

/// Runs `work` once for each allocation that it makes, or for each `stride`-th, and lets that one
/// fail: it throws, or gives what it gives otherwise; nothing is lost. `after` looks at what is
/// left.
/// @return how often memory was short
std::int64_t with_each_failure(
    std::function<std::string()> const& work, std::int64_t stride = 1,
    std::function<void()> const& after = [] {}) {
  auto const wanted = work();
  REQUIRE(work() == wanted);  // what is made once is there
  std::int64_t failures = 0, leaks = 0, wrong = 0, beyond = 0;
  auto const files = open_files();
  for (std::int64_t n = 0; beyond == 0; n += stride) {
    auto const before = allocations::live.load();
    allocations::refused = allocations::count + n;
    try {
      auto const given = work();
      beyond = allocations::count <= allocations::refused;
      allocations::refused = -1;
      wrong += given != wanted;
    } catch (std::bad_alloc const&) {
      ++failures;
    } catch (nxd::Error const&) {
      ++failures;
    }
    allocations::refused = -1;
    leaks += allocations::live != before;
    after();
  }
  CHECK(leaks == 0);
  CHECK(open_files() == files);
  CHECK(wrong == 0);
  return failures;
}

std::string read_header(std::string const& file) {
  auto const header = nxd::read_safetensors_header(
      std::ssize(file),
      [&](std::int64_t offset, std::span<std::byte> to) {
        std::memcpy(to.data(), file.data() + offset, to.size());
      },
      "f");
  return std::to_string(header.entries.size());
}

TEST_CASE("a parser for which memory is short throws, and loses nothing") {
  std::vector<nxd::SafetensorsEntry> entries{{"a", nxd::DType::f32, {2, 3}},
                                             {"b", nxd::DType::bf16, {5}}};
  auto const header = nxd::safetensors_header(entries, {{"format", "pt"}}) + std::string(34, 'x');
  auto const index = nxd::safetensors_index_text({{"a", "x"}, {"b", "y"}}, 12);
  auto const state = nxd::to_text(nxd::LlamaState{});
  auto const machine = nxd::to_text(nxd::Machine{});
  nxd::RankTrace const trace{1, "rank 1", {{"step", "one", 0, 3e-6, 0}}};
  auto const traced = nxd::trace_text(std::span(&trace, 1), {{"ranks", "2"}});
  auto const metrics = nxd::to_json(nxd::StepMetrics{});
  std::string const xml = "<a><b>1 &amp; 2</b><c><![CDATA[x]]></c></a>";
  struct Reader {
    char const* what;
    std::function<std::string()> read;
  };
  for (auto const& [what, read] : std::vector<Reader>{
           {"safetensors", [&] { return read_header(header); }},
           {"index", [&] { return nxd::parse_safetensors_index(index, "f").at("b"); }},
           {"state", [&] { return nxd::to_text(nxd::parse_llama_state(state, "f")); }},
           {"machine", [&] { return nxd::to_text(nxd::parse_machine(machine, "f")); }},
           {"trace", [&] { return nxd::parse_trace(traced, "f").name; }},
           {"metrics", [&] { return nxd::to_json(nxd::parse_metrics(metrics).value()); }},
           {"xml", [&] { return nxd::parse_xml(xml, "f")["b"]; }}}) {
    CAPTURE(what);
    CHECK(with_each_failure(read) > 0);
  }
}

TEST_CASE("a manifest is read or not, whichever allocation fails") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 1);
  auto const text = parts::read_file(folder / ("ckpt/" + entry + "/MANIFEST.json"));
  CHECK(with_each_failure([&] { return nxd::manifest_text(nxd::parse_manifest(text, "f")); },
                          std::getenv("NXD_FULL") == nullptr ? 7 : 1) > 50);
}

TEST_CASE("a configuration is read or not, whichever allocation fails") {
  std::string const yaml =
      "name: &n run\ntrainer: {max_steps: 1_000}\nexp_manager: {name: *n}\n"
      "data: {micro_batch_size: 2, global_batch_size: 16, seq_length: 128, train_dir: \"${name}\"}\n"
      "model: {num_layers: 4, optim: {lr: 3e-4, betas: [0.9, 0.95]}}\n";
  std::vector<std::string> const overrides{"seed=3"};
  CHECK(with_each_failure(
            [&] {
              return nxd::load_config_text(yaml, "f", overrides, nxd::Broken::collect).config.name;
            },
            std::getenv("NXD_FULL") == nullptr ? 3 : 1) > 50);
}

/// Where a sync is cheap, if there is such a place.
std::string fast_folder() {
  auto name = std::string(fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path()) +
              "/nxd-memory-XXXXXX";
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  return name;
}

TEST_CASE("a save for which memory is short leaves the checkpoint before it, or itself") {
  auto const folder = fast_folder();
  nxd::Single comm;
  nxd::PosixStorage storage(folder + "/ckpt");
  auto const first = parts::filled(parts::Split::rows, 0, 1, 1);
  auto const second = parts::filled(parts::Split::rows, 0, 1, 2);
  auto const request = parts::request(second, 2);
  auto const anew = [&] {
    fs::remove_all(folder + "/ckpt");
    nxd::save(comm, storage, parts::request(first, 1));
  };
  anew();
  std::int64_t torn = 0, stuck = 0;
  auto const save = [&] {
    nxd::save(comm, storage, request);
    return std::string("saved");
  };
  auto const failures = with_each_failure(save, std::getenv("NXD_FULL") == nullptr ? 11 : 1, [&] {
    auto held = parts::empty(parts::Split::rows, 0, 1);
    auto const loaded = nxd::resume(comm, storage, held.pieces);
    auto const step = loaded ? static_cast<int>(loaded->manifest.step) : 0;
    torn += step == 0 || !loaded->skipped.empty() ||
            !parts::holds(held, parts::Split::rows, 0, 1, step);
    try {  // a draft that stays hinders no later save
      nxd::save(comm, storage, parts::request(second, 3));
    } catch (nxd::Error const&) {
      ++stuck;
    }
    anew();
  });
  CHECK(failures > 20);
  CHECK(torn == 0);
  CHECK(stuck == 0);
  fs::remove_all(folder);
}

TEST_CASE("a load for which memory is short puts nothing aside") {
  auto const folder = fast_folder();
  parts::save_one(folder + "/ckpt", 1, 1);
  nxd::Single comm;
  nxd::PosixStorage storage(folder + "/ckpt");
  std::int64_t lost = 0;
  auto const load = [&] {
    auto held = parts::empty(parts::Split::rows, 0, 1);
    return std::to_string(nxd::resume(comm, storage, held.pieces).value().manifest.step);
  };
  auto const failures = with_each_failure(load, std::getenv("NXD_FULL") == nullptr ? 5 : 1, [&] {
    lost += nxd::entries(storage).size() != 1;
    for (auto const& found : storage.list(""))
      if (found.name.starts_with(".attempt-")) storage.remove(found.name);
  });
  CHECK(failures > 20);
  CHECK(lost == 0);
  fs::remove_all(folder);
}

}  // namespace
