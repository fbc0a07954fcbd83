# SPDX-License-Identifier: Apache-2.0
"""The published rules of the safetensors format, read independently of our reader.

A file is 8 bytes, the length N of its header (little-endian, at most 100 MB); N bytes of JSON in UTF-8 that
begin with '{'; then the data. The JSON maps names to {dtype, shape, data_offsets: [begin, end]}, and
`__metadata__` to texts; no key is there twice. The ranges cover the data from 0 to its end without holes or sharing, and each is as
long as its shape says.
"""
import json
import struct

SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
         "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}
OURS = {"F32", "F64", "BF16", "F16", "I32", "I64"}


class Broken(Exception):
    """The file is not what the rules ask for."""


def need(condition, rule):
    if not condition:
        raise Broken(rule)


def whole(text):
    need(text[0] != "-", "integers are not negative")
    return int(text)


def no_number(text):
    raise Broken("a number is an integer, not " + text)


def read(file):
    """(tensors, metadata, peculiar): what a file holds, and what of it the rules allow and we do not."""
    need(len(file) >= 8, "a length is 8 bytes")
    length = struct.unpack("<Q", file[:8])[0]
    need(length <= 100_000_000 and length <= len(file) - 8, "the header lies in the file")
    text, data = file[8:8 + length], file[8 + length:]
    need(text[:1] == b"{", "the header begins with {")

    def members(pairs):
        need(len(dict(pairs)) == len(pairs), "a key is there once")
        return dict(pairs)

    try:
        header = json.loads(text.decode(), object_pairs_hook=members, parse_int=whole, parse_float=no_number,
                            parse_constant=no_number)
        json.dumps(header, ensure_ascii=False).encode()  # no halves of surrogate pairs
    except (ValueError, RecursionError) as mistake:
        raise Broken("the header is JSON in UTF-8: " + str(mistake))

    metadata = header.pop("__metadata__", {})
    need(isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values()), "metadata are texts")

    tensors, end, peculiar = {}, 0, {"a NUL"} if b"\\u0000" in text else set()
    for name, tensor in header.items():
        need(isinstance(tensor, dict), "a tensor is an object")
        need({"dtype", "shape", "data_offsets"} <= tensor.keys(), "a tensor has dtype, shape, data_offsets")
        dtype, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        need(isinstance(dtype, str) and dtype in SIZES, "the dtype is known")
        for numbers in shape, offsets:
            need(isinstance(numbers, list) and all(type(n) is int and n < 1 << 64 for n in numbers), "whole numbers")
        need(len(offsets) == 2 and offsets[0] <= offsets[1], "offsets are a range")
        count = SIZES[dtype]
        for extent in shape:
            count *= extent
            need(count < 1 << 64, "a size is below 2^64")
        need(offsets[1] - offsets[0] == count, "the range is as long as the shape says")
        tensors[name] = [dtype, shape, 8 + length + offsets[0], count]
        peculiar |= {what for what, found in {
            "a name of nothing": not name, "another dtype": dtype not in OURS,
            "an unknown key": len(tensor) > 3, "more than 16 dimensions": len(shape) > 16,
            "an extent from 2^53 on": any(n >= 1 << 53 for n in shape)}.items() if found}
    for begin, bytes in sorted((t[2] - 8 - length, t[3]) for t in tensors.values()):
        need(begin == end, "ranges follow each other")
        end += bytes
    need(end == len(data), "the ranges cover the data")
    return tensors, metadata, peculiar
