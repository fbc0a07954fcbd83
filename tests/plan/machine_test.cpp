// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/plan/machine_text.hpp>
#include <nxd/plan/product_table_text.hpp>

using namespace nxd;

namespace {

/// No two numbers alike.
Machine odd_machine() {
  Machine m;
  m.source = "measured on a \"small\" machine";
  m.cores = 6, m.threads = 3, m.ranks_per_node = 8;
  m.peak_flops = 1.25e11;
  double next = 1e-10;
  auto const fresh = [&] { return next *= 1.1; };
  m.kernels.call = fresh();
  for (auto& price : m.kernels.element) price = fresh();
  for (auto& price : m.kernels.product) price = fresh();
  for (auto& price : m.kernels.attention) price = fresh();
  for (auto& price : m.kernels.attention_pull) price = fresh();
  for (auto* links : {&m.within, &m.between})
    for (auto& price : *links) price.message = fresh(), price.byte = fresh();
  return m;
}

Json::Object& root(Json& json) { return std::get<Json::Object>(json.value); }
Json::Array& list(Json& json) { return std::get<Json::Array>(json.value); }

/// What is said of a machine's text that has been changed.
template <class Change> std::string refusal(Change change) {
  auto json = parse_json(to_text(odd_machine()), "m.json");
  change(root(json));
  try {
    (void)parse_machine(to_text(json), "m.json");
  } catch (CorruptInput const& e) {
    return e.what();
  }
  return "taken";
}

std::string refusal_of_text(std::string const& text) {
  try {
    (void)parse_machine(text, "m.json");
  } catch (CorruptInput const& e) {
    return e.what();
  }
  return "taken";
}

Call call(Line line, std::int64_t messages, std::int64_t bytes) {
  return {Exchange::all_gather, line, messages, bytes};
}

}  // namespace

TEST_CASE("A machine reads back as it was written") {
  auto const m = odd_machine();
  CHECK(parse_machine(to_text(m), "m.json") == m);
  CHECK(parse_machine(to_text(Machine{}), "m.json") == Machine{});
  CHECK(to_text(parse_machine(to_text(m), "m.json")) == to_text(m));
}

TEST_CASE("Every number of a machine is written") {
  auto const text = to_text(odd_machine());
  auto json = parse_json(text, "m.json");
  for (auto const& entry : root(json)) {
    auto const& key = entry.first;
    CAPTURE(key);
    CHECK(refusal([&](Json::Object& all) { all.erase(key); }) == "m.json: has no '" + key + "'");
  }
  CHECK(root(json).size() == 12);
  for (auto const name : names_of(Kernel{})) {
    std::string const key(name);
    CHECK(refusal([&](Json::Object& all) { root(all["kernel_element"]).erase(key); }) ==
          "m.json: kernel_element: has no '" + key + "'");
  }
  for (std::string const links :
       {"within_a_node_message_and_byte", "between_nodes_message_and_byte"})
    for (auto const name : names_of(Exchange{})) {
      std::string const key(name);
      CHECK(refusal([&](Json::Object& all) { root(all[links]).erase(key); }) ==
            "m.json: " + links + ": has no '" + key + "'");
    }
}

TEST_CASE("A list of another length is refused") {
  for (std::string const key :
       {"product_mnk_mk_nk_mn", "attention_score_and_dim", "attention_pull_score_and_dim"}) {
    auto const wanted = key.starts_with("product") ? "4" : "2";
    CAPTURE(key);
    auto const sentence = "m.json: " + key + ": is not a list of " + wanted + " numbers";
    CHECK(refusal([&](Json::Object& all) { list(all[key]).pop_back(); }) == sentence);
    CHECK(refusal([&](Json::Object& all) { list(all[key]).emplace_back(1.0); }) == sentence);
  }
  CHECK(refusal([](Json::Object& all) {
          list(root(all["between_nodes_message_and_byte"])["send"]).pop_back();
        }) == "m.json: between_nodes_message_and_byte: send: is not a list of 2 numbers");
}

TEST_CASE("Time is not negative") {
  CHECK(refusal([](Json::Object& all) { all["kernel_call"] = -1e-6; }) ==
        "m.json: kernel_call: is not a number that is not negative");
  CHECK(refusal([](Json::Object& all) { root(all["kernel_element"])["adamw"] = -1.0; }) ==
        "m.json: kernel_element: adamw: is not a number that is not negative");
  CHECK(refusal([](Json::Object& all) {
          list(all["product_mnk_mk_nk_mn"])[3] = std::int64_t{-1};
        }) == "m.json: product_mnk_mk_nk_mn: is not a number that is not negative");
  CHECK(refusal([](Json::Object& all) {
          list(root(all["within_a_node_message_and_byte"])["receive"])[1] = -1.0;
        }) ==
        "m.json: within_a_node_message_and_byte: receive: is not a number that is not negative");
  CHECK(refusal([](Json::Object& all) { all["ranks_per_node"] = std::int64_t{-8}; }) ==
        "m.json: ranks_per_node: is not an integer that is not negative");
  CHECK(refusal([](Json::Object& all) { all["kernel_call"] = std::int64_t{0}; }) == "taken");
}

TEST_CASE("Ranks compute at some rate") {
  for (double const rate : {0., -1e9})
    CHECK(refusal([&](Json::Object& all) { all["peak_flops_of_a_rank"] = rate; }) ==
          "m.json: peak_flops_of_a_rank: is not a number above 0");
}

TEST_CASE("What is no machine is refused") {
  CHECK(refusal_of_text("") == "m.json: its JSON has a mistake at byte 1");
  CHECK(refusal_of_text("name: run") != "taken");
  CHECK(refusal_of_text("[]") == "m.json: is not an object");
  CHECK(refusal_of_text("{}").starts_with("m.json: has no "));
  auto const text = to_text(odd_machine());
  CHECK(refusal_of_text(text.substr(0, text.size() / 2))
            .starts_with("m.json: its JSON has a mistake at byte "));
  CHECK(refusal([](Json::Object& all) { all["kernel_call"] = "fast"; }) ==
        "m.json: kernel_call: is not a number");
  CHECK(refusal([](Json::Object& all) { all["source"] = std::int64_t{1}; }) ==
        "m.json: source: is not a text");
  CHECK(refusal([](Json::Object& all) { all["kernel_element"] = Json::Array{}; }) ==
        "m.json: kernel_element: is not an object");
}

TEST_CASE("An exchange takes the time of its messages and of its bytes") {
  Machine m;
  m.within[static_cast<std::size_t>(Exchange::all_gather)] = {2, .5};
  CHECK(m.of(call({0, 1, 4, 0}, 3, 100)) == 3 * 2 + 100 * .5);
  CHECK(m.of(call({0, 1, 4, 0}, 0, 0)) == 0);
  CHECK(m.of({Exchange::send, {0, 1, 2, 0}, 3, 100}) ==
        m.within[static_cast<std::size_t>(Exchange::send)].of(3, 100));
}

TEST_CASE("Ranks of one node are near, the others between nodes") {
  Machine m;
  for (auto& price : m.within) price = {1, 0};
  for (auto& price : m.between) price = {100, 0};
  auto const seconds = [&](std::int64_t first, std::int64_t stride, std::int64_t count) {
    return m.of(call({first, stride, count, 0}, 1, 0));
  };
  CHECK(seconds(0, 64, 64) == 1);  // not said: all are on one
  m.ranks_per_node = 8;
  CHECK(seconds(0, 1, 8) == 1);
  CHECK(seconds(8, 1, 8) == 1);
  CHECK(seconds(8, 4, 2) == 1);
  CHECK(seconds(15, 1, 1) == 1);
  CHECK(seconds(0, 1, 9) == 100);
  CHECK(seconds(7, 1, 2) == 100);
  CHECK(seconds(4, 4, 2) == 100);
  CHECK(seconds(0, 8, 2) == 100);
  m.ranks_per_node = 1;
  CHECK(seconds(3, 1, 2) == 100);
}

TEST_CASE("A table of products comes back from its text, and is read strictly") {
  ProductTable table;
  for (std::size_t i = 0; i < ProductTable::size; ++i)
    table[i] = i % 3 == 0 && ProductTable::at(i).type == ProductType::fp32 ? ProductMaker::avx512
                                                                           : ProductMaker::openblas;
  auto const text = to_text(table);
  CHECK(parse_product_table(text, "t.json") == table);
  CHECK(fingerprint(table) != fingerprint(ProductTable{}));
  for (std::size_t i = 0; i < ProductTable::size; ++i)
    CHECK(table.of(ProductTable::at(i)) == table[i]);

  auto const refused = [&](auto const& change) -> std::string {
    auto json = parse_json(text, "t.json");
    change(root(json));
    try {
      (void)parse_product_table(to_text(json), "t.json");
    } catch (Error const& e) {
      return e.what();
    }
    return "taken";
  };
  auto const makers = [](Json::Object& all) -> Json::Object& {
    return std::get<Json::Object>(all["makers"].value);
  };
  auto const any = names_of(ProductForm{})[0];
  CHECK(refused([](auto& all) { all["version"] = std::int64_t{1}; }) ==
        "t.json: version: is not 3");
  CHECK(refused([](auto& all) { all.erase("processor"); }) == "t.json: has no 'processor'");
  CHECK(refused([](auto& all) {
          all["processor"] = std::string("abacus");
        }).starts_with("t.json: was measured on a processor with abacus, this one has"));
  CHECK(refused([&](auto& all) {
          makers(all).begin()->second = std::string("me");
        }).ends_with("is not openblas, avx512 or onednn"));
  CHECK(refused([&](auto& all) {
          makers(all).erase(makers(all).begin());
        }).find("has no '" + std::string(any)) != std::string::npos);
  auto const maker = [&](ProductType type, char const* name) {
    return refused([&](auto& all) {
      for (auto& [c, m] : makers(all))
        if (c.ends_with(", bf16") == (type == ProductType::bf16)) m.value = std::string(name);
    });
  };
  CHECK(maker(ProductType::bf16, "avx512") == "taken");
  CHECK(maker(ProductType::bf16, "openblas") == "taken");
  for (auto const type : {ProductType::fp32, ProductType::bf16}) {
    auto const said = maker(type, "onednn");
    CHECK((said == "taken") == OneDnnProduct::is_built_in);
    CHECK((said == "taken" || said.find("build it with -D NXD_WITH_ONEDNN=ON") != said.npos));
  }
  CHECK(refused([&](auto& all) {
          makers(all)["zz"] = std::string("avx512");
        }).ends_with("it has keys that no table has"));
}
