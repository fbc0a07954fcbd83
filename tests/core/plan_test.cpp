// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/core/plan.hpp>

using namespace nxd;

namespace {

struct Width : Dim<"width"> {};
struct Depth : Dim<"depth"> {};
struct Words : Dim<"words", Fit::padded> {};
struct Copies : Count<"copies"> {};

struct Static : Plan<Let<TP, 8>, Let<Width, 4096>, Let<Copies, 2>> {};
struct Mixed : Plan<Let<PP>, Let<Width, 64>, Let<TP>, Let<Depth>, Let<Copies>> {
  using Plan::Plan;
};

// What a plan binds.
static_assert(Static::is_static && !Mixed::is_static);
static_assert(std::same_as<Static::mesh, Mesh<TP>>);
static_assert(std::same_as<Mixed::mesh, Mesh<PP, TP>>);
static_assert(Static::static_extent<TP> == 8 && Static::static_extent<Once> == 1);
static_assert(Mixed::static_extent<Width> == 64 && Mixed::static_extent<TP> == dynamic);
static_assert(Mixed::binds<Depth> && Mixed::binds<Once> && !Mixed::binds<Words>);
static_assert(extent<Width>(Static{}) == 4096 && extent<Once>(Static{}) == 1);
static_assert(std::default_initializable<Static>);
static_assert(!std::default_initializable<Mixed>);

// A plan from a configuration is one of the compiler's, if the configuration is.
constexpr Mixed mixed{{"tp", 4}, {"pp", 2}, {"depth", 3}, {"copies", 1}};
static_assert(extent<TP>(mixed) == 4 && extent<PP>(mixed) == 2 && extent<Width>(mixed) == 64);

// Roles and names.
static_assert(MeshAxis<TP> && !MeshAxis<Width> && !MeshAxis<Copies>);
static_assert(TensorDim<Width> && !TensorDim<TP> && PlanCount<Copies> && PlanCount<Once>);
static_assert(TP::name == "tp" && Words::fit == Fit::padded && Width::fit == Fit::exact);
static_assert(is_data_axis<DP> && is_data_axis<CP> && !is_data_axis<TP> && !is_data_axis<PP>);
static_assert(PP::order < DP::order && DP::order < CP::order && CP::order < EP::order &&
              EP::order < TP::order);

// Rules on numbers.
static_assert(check_split(12, 4) && check_split(dynamic, 5) && check_split(12, dynamic));
static_assert(check_split(12, 5) ==
              Verdict{Rule::sharded_dim_must_split_evenly_over_its_axis, 12, 5});
static_assert(check_copies(8, 2) && check_copies(8, 8) && check_copies(dynamic, 3));
static_assert(check_copies(8, 3) == Verdict{Rule::copies_of_a_shard_must_divide_its_axis, 8, 3});
static_assert(!check_copies(8, 0));
static_assert(splits_evenly<Width, TP, 12, 4> && !splits_evenly<Width, TP, 12, 5>);
static_assert(splits_evenly<Words, TP, 12, 5>, "a padded dimension splits over any axis");

// Every rule has a sentence of its own.
constexpr bool rules_have_texts() {
  for (int a = 0; a <= static_cast<int>(Rule::gate_and_up_must_be_two); ++a) {
    if (text(static_cast<Rule>(a)).empty()) return false;
    for (int b = 0; b < a; ++b)
      if (text(static_cast<Rule>(a)) == text(static_cast<Rule>(b))) return false;
  }
  return true;
}
static_assert(rules_have_texts());
static_assert(accepted<Rule::none_broken, 0, 0> && !accepted<Rule::head_dim_must_be_even, 3, 2>);
static_assert(matches<Expected<TP>, Got<TP>> && !matches<Expected<TP>, Got<DP>>);

using Config = std::initializer_list<std::pair<std::string_view, std::int64_t>>;

Verdict verdict_on(Config config) try {
  [[maybe_unused]] Mixed const plan(config);
  return {};
} catch (PlanError const& e) {
  CHECK(e.code == ExitCode::config);
  return e.verdict;
}

}  // namespace

TEST_CASE("a plan takes from a configuration what types leave open") {
  CHECK(verdict_on({{"tp", 4}, {"pp", 2}, {"depth", 3}, {"copies", 1}}));
  CHECK(verdict_on({{"tp", 4}, {"pp", 2}, {"depth", 3}, {"copies", 1}, {"width", 64}}));
  CHECK(verdict_on({{"tp", 4}, {"pp", 2}, {"depth", 3}, {"copies", 1}, {"unknown", 9}}));
}

TEST_CASE("a plan that misses a value, or contradicts a type, is refused") {
  CHECK(verdict_on({{"pp", 2}, {"depth", 3}, {"copies", 1}}).broken ==
        Rule::every_dynamic_extent_needs_a_value);
  CHECK(verdict_on({{"tp", 4}, {"pp", 2}, {"depth", 3}, {"copies", 1}, {"width", 65}}) ==
        Verdict{Rule::configured_extent_must_match_its_type, 64, 65});
}

TEST_CASE("an error names what it is about, the rule, and the numbers") {
  try {
    require("heads", check_split(6, 4));
    FAIL("nothing was thrown");
  } catch (ConfigError const& e) {
    CHECK(e.what() ==
          std::string("heads: a sharded dimension must split evenly over its axis (6 against 4)"));
  }
  CHECK_NOTHROW(require("heads", check_split(8, 4)));
}

TEST_CASE("a plan made of a list of pairs is the plan made of literals") {
  std::array<std::pair<std::string_view, std::int64_t>, 4> const pairs{
      {{"copies", 1}, {"depth", 3}, {"pp", 2}, {"tp", 4}}};
  Mixed const plan{std::span<std::pair<std::string_view, std::int64_t> const>(pairs)};
  CHECK(extent<TP>(plan) == extent<TP>(mixed));
  CHECK(extent<Depth>(plan) == 3);
  CHECK(extent<Copies>(plan) == 1);
}
