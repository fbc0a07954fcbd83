// SPDX-License-Identifier: Apache-2.0
#pragma once

// What takes a compiler long is in a file of its own for each kind of numbers.

#include <nxd/comm/guard.hpp>
#include <nxd/config/plan_llama.hpp>
#include <nxd/config/train_llama.hpp>

namespace nxd {

extern template std::optional<std::string> run_llama<Xt>(Mpi, TrainingConfig const&,
                                                         LlamaConfig const&, Split const&,
                                                         std::ostream&,
                                                         std::optional<TraceRequest> const&);
extern template RankPlan plan_rank_of<Xt>(TrainingConfig const&, LlamaConfig const&, std::int64_t,
                                          std::int64_t, Machine const&);

extern template std::optional<std::string> run_llama<XtBf16>(Mpi, TrainingConfig const&,
                                                             LlamaConfig const&, Split const&,
                                                             std::ostream&,
                                                             std::optional<TraceRequest> const&);
extern template RankPlan plan_rank_of<XtBf16>(TrainingConfig const&, LlamaConfig const&,
                                              std::int64_t, std::int64_t, Machine const&);

}  // namespace nxd
