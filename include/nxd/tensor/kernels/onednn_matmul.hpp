// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <type_traits>

#include <dnnl.h>

#include <nxd/core/error.hpp>
#include <nxd/tensor/kernels/amx.hpp>
#include <nxd/tensor/kernels/scratch.hpp>

namespace nxd::detail {

/// @throws std::bad_alloc, or Error of code 70 with oneDNN's word for what it has not done
inline void expect_dnnl(dnnl_status_t status) {
  if (status == dnnl_out_of_memory) throw std::bad_alloc();
  if (status != dnnl_success)
    throw Error(ExitCode::internal,
                "oneDNN does not take a product (its status is " + std::to_string(status) + ")");
}

struct DestroyDnnl {
  void operator()(dnnl_engine_t x) const { dnnl_engine_destroy(x); }
  void operator()(dnnl_stream_t x) const { dnnl_stream_destroy(x); }
  void operator()(dnnl_memory_t x) const { dnnl_memory_destroy(x); }
  void operator()(dnnl_primitive_attr_t x) const { dnnl_primitive_attr_destroy(x); }
  void operator()(dnnl_post_ops_t x) const { dnnl_post_ops_destroy(x); }
  void operator()(dnnl_primitive_desc_t x) const { dnnl_primitive_desc_destroy(x); }
  void operator()(dnnl_primitive_t x) const { dnnl_primitive_destroy(x); }
};

/// What a function of oneDNN's interface in C has made.
template <class T> using Dnnl = std::unique_ptr<T, DestroyDnnl>;

template <class T, class... As>
Dnnl<T> made_by(dnnl_status_t (*function)(T**, As...), std::type_identity_t<As>... arguments) {
  T* made = nullptr;
  expect_dnnl(function(&made, arguments...));
  return Dnnl<T>(made);
}

/// What oneDNN prepares a product z[m, n] = alpha x[m, k] y[k, n] for, or z += it: besides its
/// sizes and strides the number of threads, for it shares the work out before it runs.
struct MatmulShape {
  dnnl_data_type_t type;  ///< of x and y; z is of floats
  std::int64_t m, n, k;
  std::int64_t x_row, x_column, y_row, y_column, z_row;  ///< strides
  float alpha;
  bool accumulate;
  int threads;

  auto operator<=>(MatmulShape const&) const = default;
};

/// A product of one shape, ready to run.
class Matmul {
 public:
  Matmul(MatmulShape const& s, dnnl_engine_t engine) {
    auto const x = matrix(s.type, s.m, s.k, s.x_row, s.x_column);
    auto const y = matrix(s.type, s.k, s.n, s.y_row, s.y_column);
    auto const z = matrix(dnnl_f32, s.m, s.n, s.z_row, 1);
    dnnl_matmul_desc_t product;
    expect_dnnl(dnnl_matmul_desc_init(&product, &x, &y, nullptr, &z));
    auto const how =
        made_by(dnnl_primitive_desc_create, &product, attributes(s).get(), engine, nullptr);
    primitive_ = made_by(dnnl_primitive_create, how.get());
    auto const& room = *dnnl_primitive_desc_query_md(how.get(), dnnl_query_scratchpad_md, 0);
    room_bytes_ = dnnl_memory_desc_get_size(&room);
    std::array const all{&x, &y, &z, &room};
    for (std::size_t i = 0; i < places; ++i)
      memory_[i] = made_by(dnnl_memory_create, all[i], engine, nullptr);
  }

  /// What it needs beside its operands and its result.
  std::size_t room_bytes() const { return room_bytes_; }

  void run(dnnl_stream_t stream, void const* x, void const* y, void* z, void* room) const {
    constexpr std::array names{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    std::array const at{const_cast<void*>(x), const_cast<void*>(y), z, room};
    std::array<dnnl_exec_arg_t, places> arguments;
    for (std::size_t i = 0; i < places; ++i) {
      expect_dnnl(dnnl_memory_set_data_handle(memory_[i].get(), at[i]));
      arguments[i] = {names[i], memory_[i].get()};
    }
    expect_dnnl(dnnl_primitive_execute(primitive_.get(), stream, places, arguments.data()));
    expect_dnnl(dnnl_stream_wait(stream));
  }

 private:
  static constexpr std::size_t places = 4;

  static dnnl_memory_desc_t matrix(dnnl_data_type_t type, std::int64_t rows, std::int64_t columns,
                                   std::int64_t row, std::int64_t column) {
    std::array const extents{rows, columns}, strides{row, column};
    dnnl_memory_desc_t made;
    expect_dnnl(dnnl_memory_desc_init_by_strides(&made, 2, extents.data(), type, strides.data()));
    return made;
  }

  static Dnnl<dnnl_primitive_attr> attributes(MatmulShape const& s) {
    auto all = made_by(dnnl_primitive_attr_create);
    expect_dnnl(dnnl_primitive_attr_set_scratchpad_mode(all.get(), dnnl_scratchpad_mode_user));
    expect_dnnl(dnnl_primitive_attr_set_output_scales(all.get(), 1, 0, &s.alpha));
    if (s.accumulate) {
      auto const after = made_by(dnnl_post_ops_create);
      expect_dnnl(dnnl_post_ops_append_sum(after.get(), 1));
      expect_dnnl(dnnl_primitive_attr_set_post_ops(all.get(), after.get()));
    }
    return all;
  }

  Dnnl<dnnl_primitive> primitive_;
  std::array<Dnnl<dnnl_memory>, places> memory_;
  std::size_t room_bytes_ = 0;
};

/// The products that a thread has had prepared, and the room that they take turns in. A thread has
/// its own, so that none waits for another.
class Matmuls {
 public:
  static constexpr std::size_t most = 256;  ///< a training step has some dozens

  static Matmuls& of_this_thread() {
    thread_local Matmuls all;
    return all;
  }

  void multiply(MatmulShape const& shape, void const* x, void const* y, void* z) {
    auto found = prepared_.find(shape);
    if (found == prepared_.end()) {
      if (prepared_.size() >= most) prepared_.clear();
      found = prepared_.try_emplace(shape, shape, engine()).first;
    }
    auto const& product = found->second;
    product.run(stream_.get(), x, y, z, room_.at_least(product.room_bytes()));
  }

  std::size_t prepared() const { return prepared_.size(); }

 private:
  /// Where tiles are not wanted at the first product, oneDNN does without them too.
  static dnnl_engine_t engine() {
    static auto const one = [] {
      if (!has_amx()) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16);
      return made_by(dnnl_engine_create, dnnl_cpu, 0);
    }();
    return one.get();
  }

  Dnnl<dnnl_stream> stream_ = made_by(dnnl_stream_create, engine(), dnnl_stream_default_flags);
  std::map<MatmulShape, Matmul> prepared_;
  Scratch room_;
};

}  // namespace nxd::detail
