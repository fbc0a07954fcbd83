# SPDX-License-Identifier: Apache-2.0
"""judge.py FILES ANEW OURS FOREIGN FOREIGN_ANEW: compares what is said of generated safetensors files.

FILES has the files, ANEW what our writer made of those that our reader accepts. OURS is a line for each file from
our reader, FOREIGN and FOREIGN_ANEW, if they are there, from the foreign ones for FILES and ANEW; rules.py is asked
here. What we accept all of them must accept and find the same in it; what we refuse and another accepts must be
refused for a reason of a list. NXD_FULL=1 also asks that we met each reason to be stricter than the rules.
"""
import collections
import hashlib
import json
import os
import re
import sys

import rules

# Our sentences, and of each the reason for which what we refuse may be accepted by readers that look less.
REASONS = {
    r"is too short for a safetensors file": "shorter than any",
    r"states a header of \d+ bytes, longer than": "the header ends after the file",
    r"its header is no JSON object": "the header does not begin with {",
    r"its JSON has a (key|text) with a NUL": "a NUL",
    r"its JSON has the key '.*' twice": "a key twice",
    r"its JSON has more than 64 levels": "too deep",
    r"its JSON has a (mistake|NUL) at byte": "no JSON, or no UTF-8",
    r"is not one of F32, F64, BF16, F16, I32, I64": "a dtype that we do not have",
    r"has the unknown key": "an unknown key",
    r"is not a tensor with a name": "a name of nothing",
    r"is not of at most 16 dimensions": "more than 16 dimensions",
    r"is not (an integer|a list of numbers)": "no count below 2^53",
    r"data_offsets: is not a range": "no range",
    r"has the shape .* in \d+ bytes": "the range is not the shape",
    r"begins at byte \d+ of the data, not at": "a hole, or shared bytes",
    r"ends after the file": "a tensor ends after the file",
    r"has \d+ bytes after its last tensor": "bytes that belong to no tensor",
    r"has no '|is not (a text|an array|an object)": "a member is absent, or of another type",
}
# Those for which we refuse what the rules allow, and what the rules see in such a file.
STRICTER = {"a NUL": "a NUL", "a dtype that we do not have": "another dtype", "an unknown key": "an unknown key",
            "too deep": "an unknown key", "a name of nothing": "a name of nothing",
            "more than 16 dimensions": "more than 16 dimensions", "no count below 2^53": "an extent from 2^53 on"}
# What a foreign reader cannot read although it is sound: its sentence, and what holds of such a file.
CANNOT = {
    "hub": {r"dimension is \d+, which exceeds the maximum": lambda tensors: any(
        extent > 2**32 for _, shape, _, _ in tensors.values() for extent in shape)},
    "jax": {r"Unsupported dtype: BF16$": lambda tensors: True,
            r"start offset of \w+ should be a multiple of": lambda tensors: any(
                offset % rules.SIZES[dtype] != 0 for dtype, _, offset, _ in tensors.values())},
}

files, anew, ours, foreign, foreign_anew = sys.argv[1:]
names = sorted(os.listdir(files))
failures = []
counts = collections.Counter()
stricter = collections.Counter()
lenient = {reader: collections.Counter() for reader in CANNOT}
limits = collections.Counter()


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def foreign_lines(path, count):
    return lines(path) if os.path.exists(path) else [{}] * count


def by_rules(file):
    try:
        tensors, metadata, peculiar = rules.read(file)
        return {"tensors": tensors, "metadata": metadata}, peculiar
    except rules.Broken as broken:
        return {"refused": str(broken)}, set()


def compare(where, file, expected, said):
    """A file that is sound, and what the foreign readers say of it."""
    for reader, verdict in said.items():
        if "refused" in verdict:
            known = [words for words, holds in CANNOT[reader].items()
                     if re.search(words, verdict["refused"]) and holds(expected["tensors"])]
            if known:
                limits[reader + ": " + known[0]] += 1
            else:
                failures.append(f"{where}: we accept it, {reader} says: {verdict['refused']}")
            continue
        for name, tensor in verdict["tensors"].items():
            if len(tensor) == 5:
                offset, size = tensor[2:4]
                if tensor.pop() != hashlib.sha1(file[offset:offset + size]).hexdigest():
                    failures.append(f"{where}: {reader} gives other bytes for {name!r}")
        if verdict != expected:
            failures.append(f"{where}: we find {expected}, {reader} finds {verdict}")


def contents(file, tensors):
    return {name: (dtype, shape, file[offset:offset + size]) for name, (dtype, shape, offset, size) in tensors.items()}


our_verdicts, their_verdicts = lines(ours), foreign_lines(foreign, len(names))
if not len(names) == len(our_verdicts) == len(their_verdicts) > 0:
    sys.exit(f"FAILED: {len(names)} files, {len(our_verdicts)} and {len(their_verdicts)} verdicts")
accepted = {}
for name, our, said in zip(names, our_verdicts, their_verdicts):
    with open(os.path.join(files, name), "rb") as opened:
        file = opened.read()
    ruled, peculiar = by_rules(file)
    if "refused" not in our:
        counts["accepted"] += 1
        accepted[name] = contents(file, our["tensors"])
        if ruled != our:
            failures.append(f"{name}: we find {our}, the rules find {ruled}")
        compare(name, file, our, said)
        continue
    counts["refused"] += 1
    reason = next((reason for words, reason in REASONS.items() if re.search(words, our["refused"])), None)
    if reason is None or not our["refused"].startswith(name):
        failures.append(f"{name}: no known sentence refuses it: {our['refused']}")
        continue
    if "refused" not in ruled:
        stricter[reason] += 1
        if STRICTER.get(reason) not in peculiar:
            failures.append(f"{name}: the rules allow it, we say: {our['refused']}")
    for reader, verdict in said.items():
        if "refused" not in verdict:
            lenient[reader][reason] += 1

written = foreign_lines(foreign_anew, len(accepted))
if len(written) != len(accepted):
    sys.exit(f"FAILED: {len(accepted)} files accepted, {len(written)} written anew")
for (name, held), said in zip(sorted(accepted.items()), written):
    with open(os.path.join(anew, name), "rb") as opened:
        file = opened.read()
    ruled, _ = by_rules(file)
    if "refused" in ruled or contents(file, ruled["tensors"]) != held:
        failures.append(f"{name} as we write it: the rules find {ruled}")
    else:
        compare(name + " as we write it", file, ruled, said)

readers = ", ".join(their_verdicts[0]) or "no foreign reader"
print(f"{len(names)} files, the rules and {readers}: {counts['accepted']} accepted alike, {counts['refused']} refused; "
      f"{len(written)} written anew and found the same")
print(f"refused although the rules allow it: {sum(stricter.values())}")
for reason, count in stricter.most_common():
    print(f"  {count:5}  {reason}")
for reader, reasons in lenient.items():
    if reasons:
        print(f"refused although {reader} accepts it: {sum(reasons.values())}")
    for reason, count in reasons.most_common():
        print(f"  {count:5}  {reason}")
for limit, count in limits.items():
    print(f"accepted although not by {limit}: {count}")
if os.environ.get("NXD_FULL"):
    for reason in set(STRICTER) - set(stricter):
        failures.append(f"no file was refused for the reason '{reason}', which would allow us more than is needed")
for failure in failures[:20]:
    print("FAILED: " + failure[:1000])
sys.exit(1 if failures else 0)
