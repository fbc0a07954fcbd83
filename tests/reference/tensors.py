# SPDX-License-Identifier: Apache-2.0
"""Tensors in files: safetensors, read and written with numpy alone."""
import json
import struct

import numpy as np

TYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64}


def read(path):
    """All tensors of a file by name; bf16 as float32."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            upper = np.frombuffer(data[begin:end], np.uint16).astype(np.uint32)
            tensor = (upper << 16).view(np.float32)
        else:
            tensor = np.frombuffer(data[begin:end], TYPES[entry["dtype"]])
        tensors[name] = tensor.reshape(entry["shape"])
    return tensors


def write(path, tensors, bf16=False):
    """Writes arrays by name; with bf16, float32 arrays whose lower 16 bits are zero as bf16."""
    codes = {np.dtype(t): code for code, t in TYPES.items()}
    header, data = {}, b""
    for name, tensor in tensors.items():
        code, elements = codes[tensor.dtype], tensor
        if bf16:
            bits = np.ascontiguousarray(tensor).view(np.uint32)
            assert not (bits & 0xFFFF).any()
            code, elements = "BF16", (bits >> 16).astype(np.uint16)
        begin, data = len(data), data + elements.tobytes()
        header[name] = {"dtype": code, "shape": list(tensor.shape),
                        "data_offsets": [begin, len(data)]}
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


SIGNS = 16


def digest(tensor):
    """A tensor as 17 numbers: its norm, and its sums under 16 fixed choices of signs. Of the
    difference of two tensors, the root mean square of such sums estimates the norm."""
    flat = tensor.astype(np.float64).reshape(-1)
    # The signs of element i are the lowest bits of the i-th number of SplitMix64 from 0.
    z = np.arange(1, flat.size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    bits = (z[:, None] >> np.arange(SIGNS, dtype=np.uint64)) & np.uint64(1)
    sums = flat @ (1 - 2 * bits.astype(np.float64))
    return np.concatenate([[np.linalg.norm(flat)], sums])
