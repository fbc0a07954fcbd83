// SPDX-License-Identifier: Apache-2.0

#include "instances.hpp"

namespace nxd {

template std::optional<std::string> run_llama<Xt>(Mpi, TrainingConfig const&, LlamaConfig const&,
                                                  Split const&, std::ostream&,
                                                  std::optional<TraceRequest> const&);
template RankPlan plan_rank_of<Xt>(TrainingConfig const&, LlamaConfig const&, std::int64_t,
                                   std::int64_t, Machine const&);

}  // namespace nxd
