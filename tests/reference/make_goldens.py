#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes goldens into DIRECTORY: config.json, model.safetensors, tokens.safetensors of a tiny
model, and <case>.safetensors with what PyTorch makes of it in each case of cases.json.

    make_goldens.py DIRECTORY
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

import tensors

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, BATCH, LENGTH = 10, 4, 12
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "vocab_size": 67, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000,
    "tie_word_embeddings": False,
}


def shapes():
    """The tensors of the model, under Hugging Face's names."""
    hidden, ffn, dim = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    heads, kv_heads = CONFIG["num_attention_heads"] * dim, CONFIG["num_key_value_heads"] * dim
    yield "model.embed_tokens.weight", (CONFIG["vocab_size"], hidden)
    for i in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", (hidden,)
        yield at + "self_attn.q_proj.weight", (heads, hidden)
        yield at + "self_attn.k_proj.weight", (kv_heads, hidden)
        yield at + "self_attn.v_proj.weight", (kv_heads, hidden)
        yield at + "self_attn.o_proj.weight", (hidden, heads)
        yield at + "post_attention_layernorm.weight", (hidden,)
        yield at + "mlp.gate_proj.weight", (ffn, hidden)
        yield at + "mlp.up_proj.weight", (ffn, hidden)
        yield at + "mlp.down_proj.weight", (hidden, ffn)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (CONFIG["vocab_size"], hidden)


def random_weights(random):
    """Matrices about 0, the weights of norms about 1; all of them numbers of bf16."""
    for name, shape in shapes():
        w = random.normal(1, 0.2, shape) if len(shape) == 1 else random.normal(0, 0.15, shape)
        yield name, (w.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def random_tokens(random):
    text = random.integers(0, CONFIG["vocab_size"], (STEPS, BATCH, LENGTH + 1)).astype(np.int32)
    labels = text[:, :, 1:].copy()
    some = labels.copy()
    some[random.random(labels.shape) < 0.2] = -100
    some[:, 0, 3:] = -100  # so that the halves of a batch do not count alike
    return {"ids": text[:, :, :-1].copy(), "labels": labels, "labels_some_ignored": some}


def write_config(directory, config):
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump({**CONFIG, **config}, file, indent=2)
        file.write("\n")


def main(directory):
    os.makedirs(directory, exist_ok=True)
    random = np.random.default_rng(20220420)
    model = os.path.join(directory, "model.safetensors")
    tokens = os.path.join(directory, "tokens.safetensors")
    write_config(directory, {})
    tensors.write(model, dict(random_weights(random)), bf16=True)
    tensors.write(tokens, random_tokens(random))
    path = os.path.join(HERE, "cases.json")
    with open(path, encoding="utf-8") as file:
        cases = json.load(file)
    for name, case in cases.items():
        if name == "all":
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_config(folder, case.get("config", {}))
            os.symlink(os.path.abspath(model), os.path.join(folder, "model.safetensors"))
            result = os.path.join(directory, name + ".safetensors")
            subprocess.run([sys.executable, "-B", os.path.join(HERE, "llama.py"), "--digest",
                            path, name, folder, tokens, result], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
