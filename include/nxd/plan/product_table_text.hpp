// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <nxd/checkpoint/json.hpp>
#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/product_table.hpp>

namespace nxd {

/// What of this processor decides who makes products fast, by its feature bits.
inline std::vector<std::string> processor_features() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) found.emplace_back("avx2");
  if (__builtin_cpu_supports("fma")) found.emplace_back("fma");
  if (__builtin_cpu_supports("avx512f")) found.emplace_back("avx512f");
  if (__builtin_cpu_supports("avx512bw")) found.emplace_back("avx512bw");
  if (__builtin_cpu_supports("avx512bf16")) found.emplace_back("avx512bf16");
#endif
  return found;
}

namespace detail {

inline constexpr std::int64_t product_table_version = 3;

inline std::string joined(std::vector<std::string> const& words) {
  std::string all;
  for (auto const& word : words) all += (all.empty() ? "" : " ") + word;
  return all;
}

/// "nt, m below 64, n from 512, k below 512", and ", bf16" if it is not of floats
inline std::string name_of(ProductClass const& c) {
  auto const spelled = [](auto e) {
    return std::string(names_of(decltype(e){})[static_cast<std::size_t>(e)]);
  };
  return spelled(c.form) + ", m " + spelled(c.m) + ", n " + spelled(c.n) + ", k " + spelled(c.k) +
         (c.type == ProductType::fp32 ? "" : ", " + spelled(c.type));
}

inline ProductMaker maker_of(JsonView const& json) {
  auto const names = names_of(ProductMaker{});
  auto const found = std::ranges::find(names, json.string());
  if (found == names.end()) json.refuse("openblas, avx512 or onednn");
  return static_cast<ProductMaker>(found - names.begin());
}

}  // namespace detail

/// A table as JSON, and the processor that it is for.
inline std::string to_text(ProductTable const& table) {
  Json::Object makers;
  for (std::size_t i = 0; i < ProductTable::size; ++i)
    makers[detail::name_of(ProductTable::at(i))] =
        std::string(names_of(ProductMaker{})[static_cast<std::size_t>(table[i])]);
  return to_text(Json(Json::Object{{"version", detail::product_table_version},
                                   {"processor", detail::joined(processor_features())},
                                   {"makers", makers}})) +
         "\n";
}

/// Reads what `to_text` has written; `file` stands for it in sentences. @throws CorruptInput if it
/// is no such table, ConfigError if it is for another processor, or for a program that is built
/// with oneDNN where this one is not
inline ProductTable parse_product_table(std::string const& text, std::string const& file) {
  auto const root = parse_json(text, file, {.bytes = std::size_t{1} << 20});
  JsonView const json(root, file);
  if (json["version"].count() != detail::product_table_version)
    json["version"].refuse(std::to_string(detail::product_table_version));
  if (auto const& theirs = json["processor"].string(), ours = detail::joined(processor_features());
      theirs != ours)
    throw ConfigError(file + ": was measured on a processor with " + theirs + ", this one has " +
                      ours + "; measure here: nxd bench --calibrate FILE");
  auto const makers = json["makers"];
  ProductTable table;
  for (std::size_t i = 0; i < ProductTable::size; ++i)
    table[i] = detail::maker_of(makers[detail::name_of(ProductTable::at(i))]);
  if (json.object().size() != 3 || makers.object().size() != ProductTable::size)
    json.refuse("a table of products: it has keys that no table has");
  if (!OneDnnProduct::is_built_in && makes_some(table, ProductMaker::onednn))
    throw ConfigError(file +
                      ": has products made by onednn, which this program is built without; build "
                      "it with -D NXD_WITH_ONEDNN=ON, or measure: nxd bench --calibrate FILE");
  return table;
}

/// A number for the table that products go by.
inline std::uint64_t fingerprint(ProductTable const& table) {
  std::string makers;
  for (std::size_t i = 0; i < ProductTable::size; ++i)
    makers += static_cast<char>('0' + static_cast<int>(table[i]));
  return hash(makers);
}

/// Has products go by the table in the file that NXD_GEMM_TABLE names, if it names one.
/// @throws IoError if it cannot be read, CorruptInput and ConfigError as `parse_product_table`
inline void use_product_table_of_environment() {
  auto const* const file = std::getenv("NXD_GEMM_TABLE");
  if (file == nullptr || *file == 0) return;
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf()))
    throw IoError(std::string("NXD_GEMM_TABLE: ") + file + " cannot be read");
  product_table() = parse_product_table(text.str(), std::string("NXD_GEMM_TABLE: ") + file);
}

}  // namespace nxd
