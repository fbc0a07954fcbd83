#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a Llama with PyTorch, for others to compare with.

    llama.py [--dtype float32] [--digest] CASES NAME MODEL TOKENS RESULT

CASES is a JSON file of cases, NAME one of them: what the loss is, the optimizer, the clipping.
MODEL is a Hugging Face folder: config.json and model.safetensors. TOKENS has ids and labels,
[steps, batch, sequence]. RESULT gets, as safetensors: `losses` and `norms` of all steps, `grad.*`
of the first step before clipping, and `trained.*`, the weights after the last; --digest: these as
digests.
"""
import argparse
import json
import math
import os

import numpy as np
import torch

import tensors


def frequencies(config):
    """Angles by which the pairs of a head turn from one position to the next."""
    dim = config["head_dim"]
    freqs = config["rope_theta"] ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    scaling = config.get("rope_scaling")
    if not scaling:
        return freqs
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    stretched = []
    for f in freqs.tolist():
        wavelength = 2 * math.pi / f
        if wavelength < high:
            stretched.append(f)
        elif wavelength > low:
            stretched.append(f / scaling["factor"])
        else:
            smooth = (low / wavelength - 1) * scaling["low_freq_factor"] / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"])
            stretched.append((1 - smooth) * f / scaling["factor"] + smooth * f)
    return torch.tensor(stretched, dtype=torch.float64)


def rms_norm(x, weight, eps):
    return weight * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)


def rotate(x, cos, sin):
    """Turns the pairs (i, i + half) of x[batch, head, position, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attention(x, layer, config, cos, sin):
    batch, length, _ = x.shape
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]

    def project(name, count):
        y = x @ layer(f"self_attn.{name}_proj.weight").T
        return y.view(batch, length, count, config["head_dim"]).transpose(1, 2)

    q = rotate(project("q", heads), cos, sin)
    k = rotate(project("k", kv_heads), cos, sin)
    v = project("v", kv_heads)
    k = k.repeat_interleave(heads // kv_heads, dim=1)
    v = v.repeat_interleave(heads // kv_heads, dim=1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(config["head_dim"])
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ v
    return mixed.transpose(1, 2).reshape(batch, length, -1) @ layer("self_attn.o_proj.weight").T


def feed_forward(x, layer):
    gate = x @ layer("mlp.gate_proj.weight").T
    up = x @ layer("mlp.up_proj.weight").T
    return (torch.nn.functional.silu(gate) * up) @ layer("mlp.down_proj.weight").T


def logits(weights, config, ids):
    eps = config["rms_norm_eps"]
    table = weights["model.embed_tokens.weight"]
    angles = torch.outer(torch.arange(ids.shape[1], dtype=torch.float64), frequencies(config))
    cos, sin = angles.cos().to(table.dtype), angles.sin().to(table.dtype)
    x = table[ids]
    for i in range(config["num_hidden_layers"]):
        def layer(name):
            return weights[f"model.layers.{i}.{name}"]
        h = rms_norm(x, layer("input_layernorm.weight"), eps)
        x = x + attention(h, layer, config, cos, sin)
        h = rms_norm(x, layer("post_attention_layernorm.weight"), eps)
        x = x + feed_forward(h, layer)
    x = rms_norm(x, weights["model.norm.weight"], eps)
    return x @ (table if config["tie_word_embeddings"] else weights["lm_head.weight"]).T


def mean_loss(weights, config, ids, labels, case):
    """The mean over the tokens whose label is not -100."""
    scores = logits(weights, config, ids).flatten(0, 1)
    labels = labels.flatten()
    loss = torch.nn.functional.cross_entropy(scores, labels, reduction="sum", ignore_index=-100,
                                             label_smoothing=case.get("label_smoothing", 0))
    kept = labels != -100
    loss = loss + case.get("z_loss", 0) * (scores.logsumexp(-1)[kept] ** 2).sum()
    return loss / kept.sum()


def adamw(weights, case):
    """Matrices decay, the weights of norms do not."""
    decayed = [w for w in weights.values() if w.dim() > 1]
    others = [w for w in weights.values() if w.dim() == 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": case["weight_decay"]},
                              {"params": others, "weight_decay": 0}],
                             lr=case["lr"], betas=case["betas"], eps=case["eps"])


def train(weights, config, ids, labels, case):
    """Losses, norms before clipping, and the gradients of the first step, of one step a batch."""
    optimizer = adamw(weights, case)
    losses, norms, gradients = [], [], None
    for batch_ids, batch_labels in zip(ids, labels):
        optimizer.zero_grad()
        loss = mean_loss(weights, config, batch_ids, batch_labels, case)
        loss.backward()
        if gradients is None:
            gradients = {name: w.grad.clone() for name, w in weights.items()}
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), case["clip"],
                                              float(case["clip_norm"]))
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms, gradients


def read_config(path):
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    config.setdefault("tie_word_embeddings", False)
    return config


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--digest", action="store_true")
    for name in ("cases", "name", "model", "tokens", "result"):
        parser.add_argument(name)
    args = parser.parse_args()
    torch.set_num_threads(1)

    with open(args.cases, encoding="utf-8") as file:
        cases = json.load(file)
    case = {**cases["all"], **cases[args.name]}
    config = read_config(os.path.join(args.model, "config.json"))
    weights = {name: torch.tensor(w, dtype=getattr(torch, args.dtype), requires_grad=True)
               for name, w in tensors.read(os.path.join(args.model, "model.safetensors")).items()
               if not (name == "lm_head.weight" and config["tie_word_embeddings"])}
    tokens = tensors.read(args.tokens)
    ids = torch.tensor(tokens["ids"], dtype=torch.int64)
    labels = torch.tensor(tokens[case["labels"]], dtype=torch.int64)
    losses, norms, gradients = train(weights, config, ids, labels, case)

    keep = tensors.digest if args.digest else lambda tensor: tensor
    result = {"losses": np.array(losses), "norms": np.array(norms)}
    for name, w in weights.items():
        result["grad." + name] = keep(gradients[name].numpy())
        result["trained." + name] = keep(w.detach().numpy())
    tensors.write(args.result, result)


if __name__ == "__main__":
    main()
