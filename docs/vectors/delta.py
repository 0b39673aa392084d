#!/usr/bin/env python3
"""Makes delta.json: records of changed parts, right and wrong, from section 8 of docs/protocol.md alone.

Python 3.11 standard library. A re-run writes the same bytes. It also writes the fuzzer's seeds.
"""

import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = os.path.join(HERE, "..", "..", "fuzz", "corpus", "delta")
DIGEST = bytes(range(32))
MULTIPLIER = 0x08104225


def rolling(data):
    total = 0
    for byte in data:
        total = (total * MULTIPLIER + byte) % 2**32
    return total


# Records without their lengths.
SENDER = {
    "kept": struct.pack("<BQ", 1, 65_536),
    "piece": b"\x02content",
    "copied": struct.pack("<BQQ", 3, 0, 65_536),
    "longest copied": struct.pack("<BQQ", 3, 2**40, 2**26),
    "zeros": struct.pack("<BQ", 4, 2**26),
    "search": b"\x05",
    "whole": b"\x06",
    "end": b"\x07" + DIGEST,
    "grown": b"\x08",
}
BAD_SENDER = {
    "nothing": b"",
    "kind 0": b"\0",
    "kind": b"\x09",
    "nothing kept": struct.pack("<BQ", 1, 0),
    "kept with more": struct.pack("<BQB", 1, 65_536, 0),
    "short kept": b"\x01\x01",
    "empty piece": b"\x02",
    "long piece": b"\x02" + bytes(131_073),
    "nothing copied": struct.pack("<BQQ", 3, 7, 0),
    "short copied": struct.pack("<BQ", 3, 7),
    "long copied": struct.pack("<BQQ", 3, 7, 2**26 + 1),
    "no zeros": struct.pack("<BQ", 4, 0),
    "long zeros": struct.pack("<BQ", 4, 2**26 + 1),
    "search with more": b"\x05x",
    "whole with more": b"\x06x",
    "grown with more": b"\x08x",
    "short end": b"\x07" + DIGEST[:31],
    "end with more": b"\x07" + DIGEST + b"x",
}
RECEIVER = {
    "basis": struct.pack("<BQQ", 1, 2**40, 2**41),
    "basis of nothing": struct.pack("<BQQ", 1, 0, 0),
    "values": b"\x02" + DIGEST + DIGEST,
    "blocks": b"\x03" + DIGEST + struct.pack("<II", 65_536, 131_072),
    "long blocks": b"\x03" + DIGEST + struct.pack("<II", 1_048_576, 0),
    "sums": b"\x04" + struct.pack("<I", rolling(b"content")) + DIGEST[:16],
}
BAD_RECEIVER = {
    "nothing": b"",
    "kind": b"\x05",
    "short basis": struct.pack("<BQ", 1, 0),
    "no values": b"\x02",
    "part of a value": b"\x02" + DIGEST + b"x",
    "many values": b"\x02" + DIGEST * 4097,
    "short blocks": struct.pack("<BII", 3, 65_536, 1),
    "short block": b"\x03" + DIGEST + struct.pack("<II", 32_768, 1),
    "long block": b"\x03" + DIGEST + struct.pack("<II", 2_097_152, 1),
    "block that is no power of two": b"\x03" + DIGEST + struct.pack("<II", 65_537, 1),
    "many blocks": b"\x03" + DIGEST + struct.pack("<II", 65_536, 131_073),
    "no sums": b"\x04",
    "part of a sum": b"\x04" + bytes(21),
    "many sums": b"\x04" + bytes(20 * 6554),
}
ROLLING = [b"", b"a", b"abc", bytes(9), bytes(range(256)), b"landline" * 100]


def packed(data):
    """A long run of one byte at the end is shortened: a list of hexadecimal, and of a byte with its count."""
    if len(data) <= 4500:
        return data.hex()
    head = data.rstrip(data[-1:])
    if len(data) - len(head) < 4096:
        return data.hex()
    return [head.hex(), {"byte": data[-1], "count": len(data) - len(head)}]


def main():
    parts = {"sender": SENDER, "receiver": RECEIVER, "bad_sender": BAD_SENDER, "bad_receiver": BAD_RECEIVER}
    vectors = {name: [{"what": what, "bytes": packed(data)} for what, data in part.items()] for name, part in parts.items()}
    vectors["rolling"] = [{"bytes": data.hex(), "sum": rolling(data)} for data in ROLLING]
    with open(os.path.join(HERE, "delta.json"), "w") as file:
        json.dump(vectors, file, indent=1)
        file.write("\n")
    os.makedirs(SEEDS, exist_ok=True)
    # A seed is a record.
    for choice, part in [(0, SENDER), (1, RECEIVER)]:
        for what, data in part.items():
            with open(os.path.join(SEEDS, what.replace(" ", "-")), "wb") as file:
                file.write(bytes([choice]) + data)


main()
