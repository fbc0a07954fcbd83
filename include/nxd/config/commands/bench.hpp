// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include <nxd/config/commands/task.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/plan/calibrate_products.hpp>
#include <nxd/plan/product_table_text.hpp>
#include <nxd/tensor/kernels/simd_product.hpp>
#include <nxd/train/progress.hpp>

namespace nxd {

namespace detail {

/// Measures who makes which products fastest here, prints it, and writes the table.
inline void calibrate_products_to(std::string const& file) {
  std::cout << "GFLOP/s of OpenBLAS and of the library's products by AVX-512, on "
            << counted(thread_count(), "thread", "threads") << "\n";
  auto const table =
      calibrate_products<SimdProduct>([](ProductClass const& c, ProductRates const& rates) {
        std::cout << formatted("%7.1f", rates[0]) << formatted("%7.1f", rates[1]) << "  "
                  << name_of(c) << "\n";
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
      app.add_subcommand("bench", "Measures which products of floats are whose on this machine");
  bench
      ->add_option("--calibrate", *file,
                   "Measure the makers of products, and write their table to this file")
      ->type_name("FILE")
      ->required();
  on_command(*bench, task, By::first_rank, [file] { detail::calibrate_products_to(*file); });
}

}  // namespace nxd
