// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace nxd {

// What kernels are told: sizes and strides, in elements. They know no layouts.

/// One loop of a product: how often, and how far each operand goes from one time to the next.
struct Loop {
  std::int64_t extent;
  std::int64_t x, y, z;
};

/// z[b, m, n] = sum over k of x[b, m, k] y[b, n, k]: a matrix product inside loops. A loop that
/// does not move z sums too.
struct Product {
  Loop rows;     ///< m: moves x and z
  Loop columns;  ///< n: moves y and z
  Loop summed;   ///< k: moves x and y
  std::array<Loop, 6> batch;
  int batches;  ///< the loops of `batch` that there are, the outermost first
};

/// x[batch, positions, heads, head_dim], turned by angles[positions, head_dim / 2].
struct Rotary {
  std::int64_t batch, positions, heads, head_dim;
};

/// q, out[batch, queries, heads, head_dim]; k, v[batch, keys, kv_heads, head_dim]. Query head h
/// looks at key head (first_head + h) / group; if causal, query i at keys up to i + keys - queries.
struct Attention {
  std::int64_t batch, queries, keys, heads, kv_heads, group, first_head, head_dim;
  double scale;
  bool causal;
};

/// logits[rows, columns], of which the first `valid` columns are the classes from `first` on.
struct CrossEntropy {
  std::int64_t rows, columns, valid, first, ignore_index;
};

/// What a loss is made of besides the label's logit.
struct CrossEntropyOptions {
  double label_smoothing = 0, z_loss = 0;
  std::int64_t vocabulary = 0;  ///< classes in all
};

/// `count` ids, looked up in rows [first, first + rows) of a table of `columns`.
struct Rows {
  std::int64_t count, first, rows, columns;
};

/// Elements of an array that are neighbours in a tensor too: from `offset` on they are its numbers
/// `first`, `first` + 1, ...
struct Run {
  std::uint64_t tensor;  ///< the hash of its name
  std::int64_t offset, first, count;
};

/// One step of AdamW. A correction is 1 - beta^t.
struct AdamWStep {
  double rate, beta1, beta2, epsilon, weight_decay, correction1, correction2, gradient_scale;
};

/// One step of gradient descent with momentum.
struct SgdStep {
  double rate, momentum, dampening;
  bool nesterov;
  double weight_decay;
  bool first;  ///< the momentum starts as the gradient
  double gradient_scale;
};

}  // namespace nxd
