#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of benchmarks/step.cpp: the same Llama, batch and optimizer in PyTorch, on the same threads.

    torch_llama.py [15m|125m] [STEPS] [--bf16] [--ddp]        threads: OMP_NUM_THREADS

--bf16: products in bf16 by autocast; weights, norms and the loss are floats. --ddp: one of several processes
under DistributedDataParallel over gloo, each with a batch of its own; RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT say which. Prints one line of JSON. Takes what PyTorch 1.13 is fastest with on CPUs: `foreach` AdamW,
gradients set to None, and the OpenMP build of OpenBLAS, if its folder comes first in LD_LIBRARY_PATH.
"""
import json
import os
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

SIZES = {
    "15m": dict(width=288, layers=6, heads=6, kv_heads=6, inner=768, batch=8, length=256),
    "125m": dict(width=768, layers=12, heads=12, kv_heads=4, inner=2048, batch=2, length=512),
}
VOCABULARY = 32000


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


def turned(x, cosines, sines):
    """Rotary positions; x is [batch, length, heads, head_dim]."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cosines - b * sines, b * cosines + a * sines), -1).type_as(x)


class Block(nn.Module):
    def __init__(self, width, heads, kv_heads, inner, **_):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, width // heads
        self.attention_norm, self.feed_norm = Norm(width), Norm(width)
        self.query, self.key = linear(width, width), linear(width, kv_heads * self.head_dim)
        self.value, self.out = linear(width, kv_heads * self.head_dim), linear(width, width)
        self.gate, self.up, self.down = linear(width, inner), linear(width, inner), linear(inner, width)

    def attend(self, x, angles, mask):
        batch, length, width = x.shape
        q = turned(self.query(x).view(batch, length, self.heads, -1), *angles).transpose(1, 2)
        k = turned(self.key(x).view(batch, length, self.kv_heads, -1), *angles).transpose(1, 2)
        v = self.value(x).view(batch, length, self.kv_heads, -1).transpose(1, 2)
        if self.kv_heads != self.heads:
            group = self.heads // self.kv_heads
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5 + mask
        return self.out((scores.softmax(-1).type_as(v) @ v).transpose(1, 2).reshape(batch, length, width))

    def forward(self, x, angles, mask):
        x = x + self.attend(self.attention_norm(x), angles, mask)
        h = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, width, layers, length, **sizes):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(Block(width=width, **sizes) for _ in range(layers))
        self.norm, self.head = Norm(width), linear(width, VOCABULARY)
        half = width // sizes["heads"] // 2
        angles = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(half) / half))
        self.angles = angles.cos()[None, :, None], angles.sin()[None, :, None]
        self.mask = torch.full((length, length), float("-inf")).triu(1)

    def forward(self, ids, labels):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.angles, self.mask)
        return F.cross_entropy(self.head(self.norm(x)).float().flatten(0, 1), labels.flatten())


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    bf16, ddp = "--bf16" in sys.argv, "--ddp" in sys.argv
    size = words[0] if words else "15m"
    steps = int(words[1]) if len(words) > 1 else 5
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    sizes = SIZES[size]
    model = Llama(**sizes)
    processes = 1
    if ddp:
        torch.distributed.init_process_group("gloo")
        processes = torch.distributed.get_world_size()
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  foreach=True)
    shape = sizes["batch"], sizes["length"]
    ids, labels = torch.randint(VOCABULARY, shape), torch.randint(VOCABULARY, shape)
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.cpu.amp.autocast(enabled=bf16, dtype=torch.bfloat16):
            loss = model(ids, labels)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    ms = sorted(times[2:])[steps // 2] * 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if ddp and torch.distributed.get_rank() > 0:
        return
    print(json.dumps({"benchmark": "torch", "size": size, "ms": round(ms, 2), "peak_mb": round(peak, 1),
                      "tokens_per_s": round(processes * shape[0] * shape[1] / ms * 1e3, 1)}))


if __name__ == "__main__":
    main()
