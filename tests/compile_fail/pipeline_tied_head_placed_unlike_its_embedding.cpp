// The last stage of a model ties its head to the embedding of the first: both are one weight, and
// a rank holds the same part of it in both. The embedding takes rows of it, this head columns.
// expect: tied weights: both stages must hold the same part of the weight
#include <nxd/nn/embedding.hpp>
#include <nxd/nn/linear.hpp>

#include "job.hpp"

using namespace nxd;

using Embed = VocabParallelEmbedding<Vocab, Hidden, TP>::bound<Here>;
#ifdef WRONG
using Head = BoundLinear<Hidden, Vocab, RowParallel<TP>, Here>;
#else
using Head = BoundLinear<Hidden, Vocab, ColumnParallel<TP>, Here>;
#endif

void tie() { check_tied<Embed::Weight, Head::Weight>(); }
