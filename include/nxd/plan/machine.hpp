// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nxd/comm/recorder.hpp>
#include <nxd/tensor/kernels/prices.hpp>

namespace nxd {

/// What a link takes for what a rank sends over it (Hockney's alpha and beta).
struct LinkPrice {
  double message = 2e-6;  ///< seconds each
  double byte = 3e-10;    ///< seconds each
  bool operator==(LinkPrice const&) const = default;

  double of(double messages, double bytes) const { return messages * message + bytes * byte; }
};

/// Prices of every exchange, in the order of `Exchange`.
using LinkPrices = std::array<LinkPrice, names_of(Exchange{}).size()>;

/// What a plan takes the machine for: constants that `calibrate` measures, or that a file gives.
struct Machine {
  std::string source = "built-in constants";  ///< where they are from, in words
  std::int64_t cores = 0;                     ///< of a node; 0: enough
  std::int64_t threads = 1;                   ///< of each rank
  std::int64_t ranks_per_node = 0;            ///< 0: all ranks are on one
  double peak_flops = 1.2e11;                 ///< of a rank: the best rate of matrix products
  KernelPrices kernels{};
  LinkPrices within{};   ///< a node
  LinkPrices between{};  ///< nodes

  /// Seconds of an exchange. Ranks of one node are neighbours.
  double of(Call const& call) const {
    auto const span = call.line.stride * (call.line.count - 1);
    bool const near = ranks_per_node == 0 || (call.line.first / ranks_per_node ==
                                              (call.line.first + span) / ranks_per_node);
    auto const& price = (near ? within : between)[static_cast<std::size_t>(call.exchange)];
    return price.of(static_cast<double>(call.messages), static_cast<double>(call.bytes));
  }

  bool operator==(Machine const&) const = default;
};

}  // namespace nxd
