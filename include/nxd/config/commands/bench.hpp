// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <string>

#include <nxd/config/commands/task.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/plan/calibrate_products.hpp>
#include <nxd/plan/product_table_text.hpp>
#include <nxd/tensor/kernels/simd_bf16_product.hpp>
#include <nxd/tensor/kernels/simd_product.hpp>
#include <nxd/train/progress.hpp>

namespace nxd {

namespace detail {

/// Measures who makes which products fastest here, prints it, and writes the table.
inline void calibrate_products_to(std::string const& file) {
  auto const makers = names_of(ProductMaker{});
  auto const shown = makers.size() - (OneDnnProduct::is_built_in ? 0 : 1);
  std::cout << "GFLOP/s on " << counted(thread_count(), "thread", "threads") << "\n";
  for (std::size_t i = 0; i < shown; ++i) std::cout << std::setw(9) << makers[i];
  std::cout << "\n";
  auto const table = calibrate_products<SimdProduct, Bf16Product>(
      [&](ProductClass const& c, ProductRates const& rates) {
        for (std::size_t i = 0; i < shown; ++i)
          std::cout << (rates[i] > 0 ? formatted("%9.1f", rates[i]) : "        -");
        std::cout << "  " << name_of(c) << "\n";
      });
  std::ofstream out(file);
  if (!(out << to_text(table)).flush()) throw IoError(file + ": cannot be written");
  std::cout << "written to " << file << "; NXD_GEMM_TABLE=" << file
            << " has products go by it, on all ranks alike\n";
}

}  // namespace detail

/// `nxd bench --calibrate FILE`
inline void add_bench_command(CLI::App& app, Task& task) {
  auto const file = std::make_shared<std::string>();
  auto* const bench =
      app.add_subcommand("bench", "Measures whose products are fastest on this machine");
  bench
      ->add_option("--calibrate", *file,
                   "Measure the makers of products, and write their table to this file")
      ->type_name("FILE")
      ->required();
  on_command(*bench, task, By::first_rank, [file] { detail::calibrate_products_to(*file); });
}

}  // namespace nxd
