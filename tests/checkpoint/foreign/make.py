# SPDX-License-Identifier: Apache-2.0
"""make.py DIRECTORY COUNT SEED: safetensors files, two fifths of them sound, the others spoilt in one way or two."""
import json
import random
import struct
import sys

import rules

directory, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)

WORDS = ["model", "layers", "0", "17", "self_attn", "q_proj", "weight", "bias", "a b", "\"", "\\", "/", "\n", "\x7f", "é",
         "名", "\U0001f600", "constructor", "toString", "1e3", "\u2028", "x" * 150]
NUMBERS = [0, 1, 3, 16, 4096, 2**31, 2**32, 2**40, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, -4, 1.0, 2.5,
           1e19, "1", str(2**53 + 1), None, True, [1], {}]


def a_name():
    return chance.choice([".", ".", "_", ""]).join(chance.choices(WORDS, k=chance.randint(1, 4)))


def sound_tensors():
    """A list of [name, {dtype, shape, data_offsets}] in the order of their data, and how long those are."""
    dtypes = sorted(rules.OURS if chance.random() < 0.9 else rules.SIZES)
    tensors, end = [], 0
    for name in dict.fromkeys(a_name() for _ in range(chance.choice([0, 1, 1, 2, 3, 5, 9]))):
        shape = [chance.choice([0, 1, 1, 2, 3, 4, 7]) for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 4]))]
        tensors.append([name, {"dtype": chance.choice(dtypes), "shape": shape}])
    if chance.random() < 0.5:  # elements begin at multiples of their size
        tensors.sort(key=lambda tensor: -rules.SIZES[tensor[1]["dtype"]])
    for _, tensor in tensors:
        bytes = rules.SIZES[tensor["dtype"]]
        for extent in tensor["shape"]:
            bytes *= extent
        tensor["data_offsets"] = [end, end + bytes]
        end += bytes
    return tensors, end


class Members(list):
    """Members of a JSON object, of which two may have one key."""


def text_of(value, spaces):
    if isinstance(value, (dict, Members)):
        pairs = value if isinstance(value, Members) else value.items()
        return "{" + ("," + spaces).join(text_of(k, "") + ":" + spaces + text_of(v, spaces) for k, v in pairs) + "}"
    if isinstance(value, list):
        return "[" + ("," + spaces).join(text_of(v, spaces) for v in value) + "]"
    return json.dumps(value, ensure_ascii=chance.random() < 0.5)


# ---- ways to spoil a file: its tensors, ...

def spoil_number(tensors):
    numbers = chance.choice(tensors)[1][chance.choice(["shape", "data_offsets", "data_offsets"])]
    if isinstance(numbers, list) and numbers:
        place = chance.randrange(len(numbers))
        nearby = isinstance(numbers[place], int) and chance.random() < 0.5
        numbers[place] = numbers[place] + chance.choice([-8, -1, 1, 4]) if nearby else chance.choice(NUMBERS)


def spoil_length(tensors):
    tensor = chance.choice(tensors)[1]
    numbers = tensor[chance.choice(["shape", "data_offsets"])]
    if isinstance(numbers, list):
        numbers[:] = chance.choice([numbers[:-1], numbers + [0], numbers + [1], numbers + [1] * 17, numbers[::-1], []])


def spoil_places(tensors):
    """A hole or a sharing: what comes from some tensor on is moved."""
    by = chance.choice([-8, -4, -1, 1, 4, 8])
    for _, tensor in tensors[chance.randrange(len(tensors)):]:
        tensor["data_offsets"] = [offset + by for offset in tensor["data_offsets"]]


def spoil_dtype(tensors):
    chance.choice(tensors)[1]["dtype"] = chance.choice(["F99", "f32", "", "F32 ", "F4", "C64", 3, None, ["F32"], *rules.SIZES])


def spoil_name(tensors):
    chance.choice(tensors)[0] = chance.choice(["", "a\0b", "\0", "\ud800", "x\udc00y", "__metadata__", chance.choice(tensors)[0]])


def spoil_value(tensors):
    chance.choice(tensors)[1] = chance.choice([None, 3, "F32", [], {}, [{}], False])


def spoil_members(tensors):
    tensor = chance.choice(tensors)
    pairs = Members([k, v] for k, v in tensor[1].items())
    key = chance.choice(["dtype", "shape", "data_offsets"])
    way = chance.randrange(4)
    if way == 0:
        pairs = Members(pair for pair in pairs if pair[0] != key)
    elif way == 1:
        pairs.append([key, tensor[1][key]])
    elif way == 2:
        deep = "end"
        for _ in range(chance.choice([0, 3, 90])):
            deep = [deep]
        pairs.append([chance.choice(["strides", "", "Dtype", "a\0"]), deep])
    else:
        pairs = Members([k.upper() if k == key else k, v] for k, v in pairs)
    tensor[1] = pairs


def spoil_whole(tensors):
    """The shape of a tensor of nothing may say anything."""
    tensor = chance.choice(tensors)[1]
    tensor["data_offsets"] = [tensor["data_offsets"][0]] * 2
    tensor["shape"] = [0] + chance.choices(NUMBERS[4:14] + [str(2**53 + 1)], k=chance.randint(1, 3))
    if chance.random() < 0.5:
        chance.shuffle(tensor["shape"])


# ---- ... the text of its header, ...

def spoil_end(text):
    return text + chance.choice([" ", "  \n", "\t\r\n", "\0", "\0\0\0\0", "\0rest", "{}", "}", "x", ",", "\u00a0", "// no"])


def spoil_begin(text):
    return chance.choice([" ", "\n", "\ufeff", "[", "\0", "x"]) + text


def spoil_text(text):
    place = chance.randrange(len(text))
    put = chance.choice([" ", ",", ":", "\"", "{", "}", "[", "]", "0", "-", "+", ".", "e0", "\\", "\\u0000", "\\ud800", "\0",
                         "\x01", "\n", "NaN", "null", "//", "'"])
    return text[:place] + put + text[place + chance.choice([0, 0, 1]):]


def spoil_digits(text):
    places = [i for i, c in enumerate(text) if c.isascii() and c.isdigit() and not text[i - 1].isalnum()]
    if not places:
        return text
    place = chance.choice(places)
    return text[:place] + chance.choice(["-", "-0", "+", "0", "0x", "1e", "1.", ".", " ", "Infinity"]) + text[place:]


def spoil_last_digit(text):
    place = text.rfind("]")
    return text if place < 1 else text[:place] + chance.choice([".0", "e0", "E+0", "e-0", ",", "_0", "n"]) + text[place:]


def spoil_zero(text):
    return text.replace("[0,", chance.choice(["[-0,", "[0.0,", "[00,", "[0e9,", "[ 0 ,"]), 1)


# ---- ... or its bytes.

def flip(file, first, last):
    for _ in range(chance.choice([1, 1, 2, 8])):
        if first < last:
            file[chance.randrange(first, last)] ^= 1 << chance.randrange(8)


def spoil_bytes(file):
    header = 8 + int.from_bytes(file[:8], "little")
    way = chance.randrange(9)
    if way == 0:
        flip(file, 0, len(file))
    elif way <= 2:
        flip(file, 8, min(header, len(file)))
    elif way == 3:
        flip(file, 0, min(8, len(file)))
    elif way == 4:
        near = max(header - 8 + chance.choice([-9, -8, -1, 1, 2, 8]), 0)
        file[:8] = struct.pack("<Q", chance.choice([near, near, len(file), len(file) - 8 if len(file) > 8 else 0, 0, 1, 2,
                                                    25_000_001, 100_000_001, 2**31, 2**32, 2**63 - 1, 2**64 - 1]))
    elif way == 5:
        del file[chance.choice([0, 7, 8, 9, header, len(file) - 1, chance.randint(0, len(file))]):]
    elif way == 6:
        file += chance.choice([b"\0", b" ", b"x" * 8, bytes(512), b"PK\5\6" + bytes(18)])
    elif way == 7:
        place = chance.randint(0, len(file))
        file[place:place + chance.choice([1, 8])] = b""
    else:
        place = chance.randint(0, len(file))
        file[place:place] = chance.choice([b"\0", b" ", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])


SPOIL_TENSORS = [spoil_number, spoil_number, spoil_number, spoil_length, spoil_length, spoil_places, spoil_places,
                 spoil_dtype, spoil_name, spoil_value, spoil_members, spoil_members, spoil_whole, spoil_whole]
SPOIL_TEXT = [spoil_end, spoil_end, spoil_begin, spoil_text, spoil_text, spoil_digits, spoil_last_digit, spoil_zero]


def make():
    tensors, data = sound_tensors()
    sound = chance.random() < 0.4
    where = [] if sound else chance.choices(["tensors", "text", "bytes", "metadata"], [6, 5, 5, 1], k=chance.choice([1, 1, 1, 2]))
    if "tensors" in where and tensors:
        chance.choice(SPOIL_TENSORS)(tensors)
    members = Members(tensors)
    if chance.random() < 0.5:
        chance.shuffle(members)
    if "metadata" in where:
        metadata = chance.choice([None, [], 3, "pt", {"a": 1}, {"a": None}, {"a": {}}, {"a": "b\0"}, Members([["a", "b"]] * 2)])
        members.insert(0, ["__metadata__", metadata])
    elif chance.random() < 0.5:
        metadata = {a_name(): a_name() for _ in range(chance.randint(0, 3))}
        members.insert(chance.choice([0, len(members)]), ["__metadata__", metadata])
    text = text_of(members, chance.choice(["", "", " ", "\n"]))
    if "text" in where:
        text = chance.choice(SPOIL_TEXT)(text)
    header = text.encode(errors="surrogatepass")
    if chance.random() < 0.7:
        header += b" " * (-len(header) % chance.choice([8, 64]))
    file = bytearray(struct.pack("<Q", len(header)) + header + chance.randbytes(data))
    if "bytes" in where:
        spoil_bytes(file)
    return file


for number in range(count):
    with open(f"{directory}/{number:05}.safetensors", "wb") as out:
        out.write(make())
