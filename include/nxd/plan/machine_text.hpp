// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nxd/checkpoint/json.hpp>
#include <nxd/plan/machine.hpp>

namespace nxd {

namespace detail {

template <std::size_t N> Json numbers(std::array<double, N> const& values) {
  return Json::Array(values.begin(), values.end());
}

/// @throws CorruptInput unless it is a number that is not negative
inline double price_of(JsonView const& json) {
  auto const price = json.number();
  if (!(price >= 0)) json.refuse("a number that is not negative");
  return price;
}

/// @throws CorruptInput unless there are as many numbers, none of them negative
template <std::size_t N> void read_numbers(JsonView const& json, std::array<double, N>& to) {
  auto const& all = json.array();
  if (all.size() != N) json.refuse("a list of " + std::to_string(N) + " numbers");
  for (std::size_t i = 0; i < N; ++i) to[i] = price_of(JsonView(all[i], json.where()));
}

inline Json to_json(LinkPrices const& prices) {
  Json::Object links;
  for (std::size_t i = 0; i < prices.size(); ++i)
    links[std::string(names_of(Exchange{})[i])] =
        numbers(std::array{prices[i].message, prices[i].byte});
  return links;
}

inline void read_links(JsonView const& json, LinkPrices& to) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    std::array<double, 2> price{};
    read_numbers(json[std::string(names_of(Exchange{})[i])], price);
    to[i] = {price[0], price[1]};
  }
}

}  // namespace detail

/// A machine as JSON, all times in seconds. Whoever knows better changes a number in it.
inline std::string to_text(Machine const& m) {
  Json::Object elements;
  for (std::size_t i = 0; i < kernel_count; ++i)
    elements[std::string(names_of(Kernel{})[i])] = m.kernels.element[i];
  return to_text(Json(Json::Object{
             {"source", m.source},
             {"cores_per_node", m.cores},
             {"threads_per_rank", m.threads},
             {"ranks_per_node", m.ranks_per_node},
             {"peak_flops_of_a_rank", m.peak_flops},
             {"kernel_call", m.kernels.call},
             {"kernel_element", elements},
             {"product_mnk_mk_nk_mn", detail::numbers(m.kernels.product)},
             {"attention_score_and_dim", detail::numbers(m.kernels.attention)},
             {"attention_pull_score_and_dim", detail::numbers(m.kernels.attention_pull)},
             {"within_a_node_message_and_byte", detail::to_json(m.within)},
             {"between_nodes_message_and_byte", detail::to_json(m.between)},
         })) +
         "\n";
}

/// Reads what `to_text` has written; `file` stands for it in sentences. @throws CorruptInput
inline Machine parse_machine(std::string const& text, std::string const& file) {
  auto const root = parse_json(text, file, {.bytes = std::size_t{1} << 20});
  JsonView const json(root, file);
  Machine m;
  m.source = json["source"].string();
  m.cores = json["cores_per_node"].count();
  m.threads = std::max<std::int64_t>(1, json["threads_per_rank"].count());
  m.ranks_per_node = json["ranks_per_node"].count();
  m.peak_flops = json["peak_flops_of_a_rank"].number();
  m.kernels.call = detail::price_of(json["kernel_call"]);
  if (!(m.peak_flops > 0)) json["peak_flops_of_a_rank"].refuse("a number above 0");
  auto const elements = json["kernel_element"];
  for (std::size_t i = 0; i < kernel_count; ++i)
    m.kernels.element[i] = detail::price_of(elements[std::string(names_of(Kernel{})[i])]);
  detail::read_numbers(json["product_mnk_mk_nk_mn"], m.kernels.product);
  detail::read_numbers(json["attention_score_and_dim"], m.kernels.attention);
  detail::read_numbers(json["attention_pull_score_and_dim"], m.kernels.attention_pull);
  detail::read_links(json["within_a_node_message_and_byte"], m.within);
  detail::read_links(json["between_nodes_message_and_byte"], m.between);
  return m;
}

}  // namespace nxd
