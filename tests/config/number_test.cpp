// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <variant>

#include <doctest/doctest.h>

#include <nxd/config/number.hpp>

using nxd::NotANumber;
using nxd::parse_number;

TEST_CASE("Whole numbers may have a sign and single underscores") {
  CHECK(std::get<std::int64_t>(parse_number("0")) == 0);
  CHECK(std::get<std::int64_t>(parse_number("1_000")) == 1000);
  CHECK(std::get<std::int64_t>(parse_number("-17")) == -17);
  CHECK(std::get<std::int64_t>(parse_number("+3")) == 3);
  CHECK(std::get<std::int64_t>(parse_number("9223372036854775807")) == INT64_MAX);
}

TEST_CASE("A point or an exponent makes a number with a fraction") {
  CHECK(std::get<double>(parse_number("1e-5")) == 1e-5);
  CHECK(std::get<double>(parse_number("3E4")) == 3e4);
  CHECK(std::get<double>(parse_number("2.")) == 2.0);
  CHECK(std::get<double>(parse_number(".5")) == 0.5);
  CHECK(std::get<double>(parse_number("-1_0.2_5e+1")) == -102.5);
}

TEST_CASE("What is not in the grammar is not a number") {
  for (auto const text : {"", "-", ".", "e5", "1e", "1e+", "1_", "_1", "1__0", "0x10", "1.2.3",
                          "inf", ".inf", "nan", "1 ", "1e5f", "--1", "1._5"})
    CHECK_MESSAGE(std::holds_alternative<NotANumber>(parse_number(text)), text);
}

TEST_CASE("Octal and overflow are refused with a reason") {
  for (auto const text : {"010", "-01", "9223372036854775808", "1e400", "1e-400"}) {
    auto const number = parse_number(text);
    REQUIRE_MESSAGE(std::holds_alternative<NotANumber>(number), text);
    CHECK_FALSE(std::get<NotANumber>(number).reason.empty());
  }
}
