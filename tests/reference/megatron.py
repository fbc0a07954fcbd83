#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Megatron's PREFIX.bin and PREFIX.idx with numpy, for others to compare with.

    megatron.py write PREFIX TYPE JSON   from documents, lists of sequences of tokens
    megatron.py read PREFIX JSON         and back; the first line is the type
"""
import json
import struct
import sys

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
CODES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}


def write(prefix, type_name, documents):
    dtype = np.dtype(type_name)
    (code,) = [c for c, t in CODES.items() if t == dtype]
    sequences = [np.array(s, dtype) for document in documents for s in document]
    lengths = np.array([s.size for s in sequences], np.int32)
    pointers = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64) * dtype.itemsize])
    marks = np.cumsum([0] + [len(document) for document in documents], dtype=np.int64)
    with open(prefix + ".bin", "wb") as file:
        for sequence in sequences:
            file.write(sequence.tobytes())
    with open(prefix + ".idx", "wb") as file:
        file.write(MAGIC + struct.pack("<QBQQ", 1, code, len(sequences), len(marks)))
        file.write(lengths.tobytes() + pointers.astype(np.int64).tobytes() + marks.tobytes())


def read(prefix):
    with open(prefix + ".idx", "rb") as file:
        index = file.read()
    version, code, count, marked = struct.unpack_from("<QBQQ", index, len(MAGIC))
    assert index.startswith(MAGIC) and version == 1
    at = len(MAGIC) + struct.calcsize("<QBQQ")
    lengths = np.frombuffer(index, np.int32, count, at)
    pointers = np.frombuffer(index, np.int64, count, at + 4 * count)
    marks = np.frombuffer(index, np.int64, marked, at + 12 * count)
    assert len(index) == at + 12 * count + 8 * marked
    data = np.memmap(prefix + ".bin", mode="r")
    sequences = [np.frombuffer(data, CODES[code], n, p).tolist() for n, p in zip(lengths, pointers)]
    documents = [sequences[a:b] for a, b in zip(marks[:-1], marks[1:])]
    return np.dtype(CODES[code]).name, documents


def main(command, prefix, *rest):
    if command == "write":
        with open(rest[1], encoding="utf-8") as file:
            write(prefix, rest[0], json.load(file))
    else:
        name, documents = read(prefix)
        with open(rest[0], "w", encoding="utf-8") as file:
            file.write(name + "\n" + json.dumps(documents, separators=(",", ":")))


if __name__ == "__main__":
    if (len(sys.argv), sys.argv[1:2]) not in ((5, ["write"]), (4, ["read"])):
        sys.exit(__doc__)
    main(*sys.argv[1:])
