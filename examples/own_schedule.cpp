// SPDX-License-Identifier: Apache-2.0
//
// A schedule of one's own: a struct that writes down what every rank does, in order. The compiler
// runs it on paper, and refuses one that would hang; what is left is what it costs.

#include <cstdio>

#include <nxd/pipeline/grid.hpp>
#include <nxd/pipeline/pipelined.hpp>

using namespace nxd;

namespace {

/// 1F1B with twice the warm-up: while a message travels, there is another microbatch to work on. It
/// keeps the activations of nearly twice as many.
struct EagerOneFOneB {
  static constexpr std::string_view name = "eager 1f1b";

  static constexpr Schedule make(int ranks, int microbatches, int chunks) {
    Schedule s{microbatches, chunks};
    for (int r = 0; r < ranks; ++r) s.actions.push_back(rank(2 * (ranks - 1 - r), microbatches));
    return s;
  }

 private:
  static constexpr std::vector<Action> rank(int ahead, int microbatches) {
    std::vector<Action> actions;
    for (int f = 0, b = 0; b < microbatches; ++b) {
      for (; f < microbatches && f <= b + ahead; ++f) actions.push_back({Pass::forward, f, 0});
      actions.push_back({Pass::backward, b, 0});
    }
    return actions;
  }
};

static_assert(proved<EagerOneFOneB, 4, 8>);

/// The grid of a pipeline of four ranks and eight microbatches, if a message takes half as long as
/// a forward pass.
template <class P> void print() {
  auto const schedule = P::train(4, 8, 1);
  auto const proof = verify(schedule, Channel::posted, {.hop = 0.5});
  std::printf("%s\n%s\n", P::kind::name.data(), grid_text(schedule, proof).c_str());
}

}  // namespace

int main() {
  print<Pipeline<OneFOneB>>();
  print<Pipeline<EagerOneFOneB>>();
}
