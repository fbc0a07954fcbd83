// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nxd/autodiff/elementwise.hpp>
#include <nxd/autodiff/linear_cross_entropy.hpp>
#include <nxd/autodiff/recompute.hpp>
#include <nxd/models/llama_config.hpp>
#include <nxd/nn/attention.hpp>
#include <nxd/nn/embedding.hpp>
#include <nxd/nn/feed_forward.hpp>
#include <nxd/nn/norm.hpp>
#include <nxd/nn/parameter.hpp>
#include <nxd/pipeline/partition.hpp>

namespace nxd {

/// One layer: attention and feed-forward, each normalised before and added to the residual stream.
/// A block maps the residual's type to itself, so depth is data.
template <class Region, class World,
          template <class, class> class Attention = GroupedQueryAttention>
struct LlamaBlock {
  using Norm = typename RmsNorm<Hidden, TP, Region>::template bound<World>;
  using Attend = typename Attention<TP, Region>::template bound<World>;
  using Feed = typename GatedFeedForward<TP, Region>::template bound<World>;

  Norm attention_norm;
  Attend attention;
  Norm feed_norm;
  Feed feed;

  constexpr LlamaBlock(World& world, double epsilon)
      : attention_norm(make_norm(world, epsilon)),
        attention(world),
        feed_norm(make_norm(world, epsilon)),
        feed(world) {}

  template <class X>
  constexpr Var<X, World> operator()(Var<X, World> const& x,
                                     Angles<typename World::backend> const& angles,
                                     Recompute recompute) const {
    using E = typename World::element;
    using R = typename World::residual;
    auto const h = x + cast<R>(attention(cast<E>(attention_norm(x)), angles, recompute));
    return h + cast<R>(feed(cast<E>(feed_norm(h))));
  }

  /// A norm whose weight is in the world.
  static constexpr Norm make_norm(World& world, double epsilon) {
    return {world.template parameter<typename Norm::Weight>(), epsilon};
  }
};

/// A Llama of the second or third family: RMSNorm, rotary positions, grouped-query attention,
/// SwiGLU. The batch is split over DP, the blocks over TP, and activations live between them as
/// Region says. Parameters have the names and shapes of Hugging Face's `LlamaForCausalLM`.
/// Attention is `GroupedQueryAttention`, or `FusedGroupedQueryAttention` with one product for all
/// three.
template <class Region, class World,
          template <class, class> class Attention = GroupedQueryAttention>
class Llama {
  using Block = LlamaBlock<Region, World, Attention>;
  using Norm = typename Block::Norm;
  using Embed = typename VocabParallelEmbedding<Vocab, Hidden, TP, Region>::template bound<World>;
  using Head = BoundLinear<Hidden, Vocab, ColumnParallel<TP, Region>, World>;
  using B = typename World::backend;

 public:
  using element = typename World::element;
  /// Token ids and labels: every rank of TP has those of its samples.
  using Tokens = Tensor<std::int32_t, Shape<Batch, Seq>, Layout<Shard<Batch, DP>>>;
  /// What blocks, and stages of a pipeline, pass on.
  using Residual = Tensor<typename World::residual, Shape<Batch, Seq, Hidden>,
                          with_t<Layout<Shard<Batch, DP>>, typename Region::template between<TP>>>;

  Llama(World& world, LlamaConfig const& config, Recompute recompute = Recompute::none)
      : Llama(world, config, {0, config.num_hidden_layers}, recompute) {}

  /// The layers of one stage of a pipeline. `first` is the first stage, if this rank has that too.
  Llama(World& world, LlamaConfig const& config, StageSpan const& span, Recompute recompute,
        Llama const* first = nullptr)
      : config_(config),
        span_(span),
        recompute_(recompute),
        angles_(make_angles<B>(extent<Seq>(world.plan), frequencies(config))) {
    check_tied<typename Embed::Weight, typename Head::Weight>();
    if (span.embeds) embedding_.emplace(Embed{world.template parameter<typename Embed::Weight>()});
    blocks_.reserve(static_cast<std::size_t>(span.layers));
    for (std::int64_t i = 0; i < span.layers; ++i) blocks_.emplace_back(world, config.rms_norm_eps);
    if (!span.heads) return;
    norm_.emplace(Block::make_norm(world, config.rms_norm_eps));
    if (config.tie_word_embeddings && span.ends_together)
      head_.emplace(Head{(first == nullptr ? *this : *first).embedding_->weight});
    else
      head_.emplace(bind<Linear<Hidden, Vocab, ColumnParallel<TP, Region>>>(world));
  }

  LlamaConfig const& config() const { return config_; }
  StageSpan const& span() const { return span_; }

  /// The first stage: x[Batch, Seq, Hidden] of ids[Batch, Seq].
  Var<Residual, World> embed(Var<Tokens, World> const& ids) const { return (*embedding_)(ids); }

  /// Every stage: x through its blocks.
  Var<Residual, World> pass(Var<Residual, World> x) const {
    for (auto const& block : blocks_) {
      auto const run = [&block, this](auto const& in) { return block(in, angles_, recompute_); };
      x = recompute_ == Recompute::full ? recompute(run, x) : run(x);
    }
    return x;
  }

  /// The last stage: logits[Batch, Seq, Vocab], split over TP along the vocabulary.
  auto head(Var<Residual, World> const& x) const { return contract_rounded(top(x), head_->weight); }

  /// The last stage: the loss of each token, loss[Batch, Seq]; 0 where its label is `ignore_index`.
  auto losses_of(Var<Residual, World> const& x, Var<Tokens, World> const& labels) const {
    return cross_entropy<Vocab>(head(x), labels, ignore_index);
  }

  /// The last stage: the sum of these losses, each times its weight[Batch, Seq]. The logits of all
  /// tokens never exist.
  auto loss_of(Var<Residual, World> const& x, Var<Tokens, World> const& labels,
               auto const& weights) const {
    return linear_cross_entropy<Vocab>(top(x), head_->weight, labels, weights, ignore_index);
  }

  /// All stages, one after the other.
  auto logits(Var<Tokens, World> const& ids) const { return head(pass(embed(ids))); }
  auto losses(Var<Tokens, World> const& ids, Var<Tokens, World> const& labels) const {
    return losses_of(pass(embed(ids)), labels);
  }
  auto loss(Var<Tokens, World> const& ids, Var<Tokens, World> const& labels,
            auto const& weights) const {
    return loss_of(pass(embed(ids)), labels, weights);
  }

  /// Calls `f(info, parameter, matrix)` for every parameter, in the order of the model.
  void visit(auto const& f) const {
    auto const dense = Init{Init::Kind::normal, config_.initializer_range};
    auto const ones = Init{Init::Kind::ones};
    using Wide = Shape<Hidden>;
    bool const tied = config_.tie_word_embeddings, apart = tied && !span_.ends_together;
    if (embedding_)
      f(parameter_at("model.", {"embed_tokens.weight"}, dense, true,
                     apart ? Sharing::first : Sharing::none),
        embedding_->weight, Matrix<Shape<Vocab>, Wide>{});
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      auto const& b = blocks_[i];
      auto const at =
          "model.layers." + std::to_string(span_.first + static_cast<std::int64_t>(i)) + ".";
      f(parameter_at(at, {"input_layernorm.weight"}, ones, false), b.attention_norm.weight,
        Matrix<Wide>{});
      b.attention.visit(at + "self_attn.", dense, f);
      f(parameter_at(at, {"post_attention_layernorm.weight"}, ones, false), b.feed_norm.weight,
        Matrix<Wide>{});
      f(parameter_at(at, {"mlp.gate_proj.weight", "mlp.up_proj.weight"}, dense),
        b.feed.gate_up.weight, Matrix<Shape<GateUp, Ffn>, Wide>{});
      f(parameter_at(at, {"mlp.down_proj.weight"}, dense), b.feed.down.weight,
        Matrix<Wide, Shape<Ffn>>{});
    }
    if (norm_)
      f(parameter_at("model.", {"norm.weight"}, ones, false), norm_->weight, Matrix<Wide>{});
    if (head_ && (!tied || apart))
      f(parameter_at("", {tied ? "model.embed_tokens.weight" : "lm_head.weight"}, dense, true,
                     apart ? Sharing::again : Sharing::none),
        head_->weight, Matrix<Shape<Vocab>, Wide>{});
  }

  /// Labels that cost nothing.
  static constexpr std::int64_t ignore_index = -100;

 private:
  /// What the head takes.
  auto top(Var<Residual, World> const& x) const {
    return ColumnParallel<TP, Region>::enter(cast<element>((*norm_)(x)));
  }

  LlamaConfig config_;
  StageSpan span_;
  Recompute recompute_;
  Angles<B> angles_;
  std::optional<Embed> embedding_;
  std::vector<Block> blocks_;
  std::optional<Norm> norm_;
  std::optional<Head> head_;
};

}  // namespace nxd
