#!/usr/bin/env python3
"""Makes tree.json: records of copies of trees, right and wrong, from section 8 of docs/protocol.md alone.

Python 3.11 standard library. A re-run writes the same bytes. It also writes the fuzzer's seeds.
"""

import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = os.path.join(HERE, "..", "..", "fuzz", "corpus", "tree")
SOURCE = 0xFFFFFFFF
DIGEST = bytes(range(32))
FOLDER, FILE, LINK, NAME = 1, 2, 3, 4


def record(kind, content):
    return struct.pack("<IB", len(content) + 1, kind) + content


def entry(what, parent, name, value=0, target=b"", recent=0, mode=0o644, seconds=1_700_000_000, nanoseconds=5):
    return record(1, struct.pack("<BBBHIqIQ", what, recent, len(name), mode, parent, seconds, nanoseconds, value) + name + target)


def failed(kind, number, code, text):
    return record(kind, struct.pack("<IB", number, len(code)) + code + text)


def acl(which, *entries):
    return record(12, bytes([which]) + b"".join(entries))


def named(what, permissions, name):
    return struct.pack("<BBB", what, permissions, len(name)) + name


def numbered(what, permissions, number):
    return struct.pack("<BBI", what, permissions, number)


OWNER, GROUP, MASK, OTHERS = bytes([1, 6]), bytes([4, 4]), bytes([7, 6]), bytes([8, 0])
USERS = [numbered(3, 1, number) for number in range(497)]

SENDER = {
    "folder of the request": entry(FOLDER, SOURCE, b"tree", mode=0o755),
    "folder of the request without a name": entry(FOLDER, SOURCE, b""),
    "file": entry(FILE, 0, b"file", 2**63),
    "file that is recent": entry(FILE, 0, b"file", 0, recent=1),
    "file from before the epoch": entry(FILE, 0, b"old", 1, seconds=-(2**40), nanoseconds=999_999_999),
    "name that is not UTF-8": entry(FILE, 7, b"\xff\xfe", 1),
    "name of 255 bytes": entry(FILE, 7, b"n" * 255, 1),
    "link": entry(LINK, 0, b"link", 0, b"../target"),
    "link with the longest target": entry(LINK, 0, b"link", 0, b"t" * 4096),
    "file that has other names": entry(FILE, 0, b"file", 7, recent=2),
    "file that is recent and has other names": entry(FILE, 0, b"file", 7, recent=3),
    "further name": entry(NAME, 0, b"name", 2**32 - 1),
    "further name that is not the last": entry(NAME, 0, b"name", 4, recent=2),
    "folder-end": record(2, struct.pack("<IB", 3, 0)),
    "folder-end, incomplete": record(2, struct.pack("<IB", 3, 1)),
    "small file": record(3, struct.pack("<I", 4) + DIGEST + b"content"),
    "empty file": record(3, struct.pack("<I", 4) + DIGEST),
    "piece": record(4, struct.pack("<IQ", 4, 2**40) + b"part"),
    "file-end": record(5, struct.pack("<IQ", 4, 2**40) + DIGEST),
    "failed": failed(6, 4, b"denied", b"the reason"),
    "end": record(7, struct.pack("<I", 9) + DIGEST),
    "changed": record(8, struct.pack("<IQqI", 4, 12, -1, 5)),
    "change": record(9, struct.pack("<IBQ", 4, 1, 65_536)),
    "change with a piece": record(9, struct.pack("<IB", 4, 2) + b"part"),
    "hole": record(10, struct.pack("<IQQ", 4, 2**40, 67_108_864)),
    "attribute": record(11, b"\x08user.key" + bytes([0, 255])),
    "attribute without a value": record(11, b"\x06user.a"),
    "attribute with the longest value": record(11, b"\x06user.a" + bytes(65_536)),
    "acl": acl(1, OWNER, named(2, 7, b"alice"), numbered(3, 0, 1234), GROUP, named(5, 5, b"\xff"), numbered(6, 4, 2**32 - 2), MASK, OTHERS),
    "default acl": acl(2, OWNER, GROUP, OTHERS),
    "acl with a mask alone": acl(1, OWNER, GROUP, MASK, OTHERS),
    "acl with the longest name": acl(1, OWNER, named(2, 7, b"n" * 255), GROUP, MASK, OTHERS),
    "longest acl": acl(1, OWNER, *USERS[:496], GROUP, MASK, OTHERS),
    "summary": record(13, struct.pack("<I", 4) + DIGEST[:16]),
    "grown": record(14, struct.pack("<I", 4) + "größer".encode()),
    "skipped": record(15, b""),
    "pattern": record(16, "!über/*.o".encode()),
    "path": record(17, b"a/\xff"),
    "selection-end": record(18, b""),
}
BAD_SENDER = {
    "kind": record(99, b""),
    "change of nothing": record(9, struct.pack("<I", 4)),
    "change that is an end": record(9, struct.pack("<IB", 4, 7) + DIGEST),
    "attribute of the system": record(11, b"\x13security.capability"),
    "attribute without a name": record(11, b"\x05user."),
    "NUL in the name of an attribute": record(11, b"\x08user.a\0b"),
    "long attribute": record(11, b"\x06user.a" + bytes(65_537)),
    "name of an attribute that is cut": record(11, b"\x09user.a"),
    "acl of nothing": acl(1),
    "acl of a third kind": acl(3, OWNER, GROUP, OTHERS),
    "acl without a kind": record(12, b""),
    "acl without its owner": acl(1, GROUP, OTHERS),
    "acl without a mask": acl(1, OWNER, named(2, 7, b"alice"), GROUP, OTHERS),
    "acl without others": acl(1, OWNER, GROUP, MASK),
    "acl with two owners": acl(1, OWNER, OWNER, GROUP, OTHERS),
    "acl with two masks": acl(1, OWNER, GROUP, MASK, MASK, OTHERS),
    "acl with a user twice": acl(1, OWNER, named(2, 7, b"a"), named(2, 0, b"a"), GROUP, MASK, OTHERS),
    "acl in another order": acl(1, OWNER, named(2, 7, b"b"), named(2, 0, b"a"), GROUP, MASK, OTHERS),
    "acl with a number before a name": acl(1, OWNER, numbered(3, 7, 1), named(2, 0, b"a"), GROUP, MASK, OTHERS),
    "acl with a user behind the group": acl(1, OWNER, GROUP, named(2, 7, b"b"), MASK, OTHERS),
    "acl with an empty name": acl(1, OWNER, named(2, 7, b""), GROUP, MASK, OTHERS),
    "NUL in a name of an acl": acl(1, OWNER, named(2, 7, b"a\0"), GROUP, MASK, OTHERS),
    "acl with the number of no user": acl(1, OWNER, numbered(3, 7, 2**32 - 1), GROUP, MASK, OTHERS),
    "acl with other permissions": acl(1, bytes([1, 8]), GROUP, OTHERS),
    "acl with an entry of no kind": acl(1, OWNER, GROUP, OTHERS, bytes([9, 0])),
    "long acl": acl(1, OWNER, *USERS, GROUP, MASK, OTHERS),
    "cut acl": acl(1, OWNER, GROUP, b"\x08"),
    "acl with a cut name": acl(1, OWNER, GROUP, OTHERS, struct.pack("<BBB", 5, 7, 9) + b"short"),
    "short summary": record(13, struct.pack("<I", 4) + DIGEST[:15]),
    "summary with more": record(13, struct.pack("<I", 4) + DIGEST[:17]),
    "summary of no folder": record(13, struct.pack("<I", SOURCE) + DIGEST[:16]),
    "empty hole": record(10, struct.pack("<IQQ", 4, 2**40, 0)),
    "long hole": record(10, struct.pack("<IQQ", 4, 2**40, 67_108_865)),
    "hole with more": record(10, struct.pack("<IQQB", 4, 2**40, 1, 0)),
    "change that is grown": record(9, struct.pack("<IB", 4, 8)),
    "grown that is not UTF-8": record(14, struct.pack("<I", 4) + b"\xff"),
    "grown with a long text": record(14, struct.pack("<I", 4) + b"x" * 1025),
    "skipped with more": record(15, b"x"),
    "empty pattern": record(16, b""),
    "NUL in a pattern": record(16, b"a\0"),
    "long pattern": record(16, b"p" * 4097),
    "empty path": record(17, b""),
    "NUL in a path": record(17, b"a\0"),
    "long path": record(17, b"p" * 4097),
    "selection-end with more": record(18, b"x"),
    "kind 0": record(0, b""),
    "short entry": record(1, b"\x01"),
    "what": entry(5, 0, b"x"),
    "flag": entry(FILE, 0, b"x", 1, recent=4),
    "folder with other names": entry(FOLDER, 0, b"x", recent=2),
    "link with other names": entry(LINK, 0, b"x", 0, b"t", recent=2),
    "number of a further name": entry(NAME, 0, b"x", 2**32),
    "further name with a target": entry(NAME, 0, b"x", 4, b"t"),
    "folder with a value": entry(FOLDER, 0, b"x", 1),
    "link with a value": entry(LINK, 0, b"x", 1, b"t"),
    "file with a target": entry(FILE, 0, b"x", 1, b"t"),
    "link without a target": entry(LINK, 0, b"x"),
    "link with a long target": entry(LINK, 0, b"x", 0, b"t" * 4097),
    "NUL in a target": entry(LINK, 0, b"x", 0, b"a\0b"),
    "mode": entry(FILE, 0, b"x", 1, mode=0o4755),
    "nanoseconds": entry(FILE, 0, b"x", 1, nanoseconds=1_000_000_000),
    "no name": entry(FILE, 0, b"", 1),
    "slash": entry(FILE, 0, b"a/b", 1),
    "dots": entry(FILE, 0, b"..", 1),
    "NUL": entry(FILE, 0, b"a\0b", 1),
    "staging": entry(FILE, 0, b".landline-x.part", 1),
    "name longer than the record": record(1, struct.pack("<BBBHIqIQ", FILE, 0, 5, 0o644, 0, 0, 0, 1) + b"x"),
    "folder-end with a flag": record(2, struct.pack("<IB", 3, 2)),
    "folder-end with more": record(2, struct.pack("<IB", 3, 1) + b"x"),
    "long file": record(3, struct.pack("<I", 4) + DIGEST + bytes(131_073)),
    "empty piece": record(4, struct.pack("<IQ", 4, 0)),
    "long piece": record(4, struct.pack("<IQ", 4, 0) + bytes(131_073)),
    "failed with a long text": failed(6, 4, b"denied", b"x" * 1025),
    "failed that is not UTF-8": failed(6, 4, b"denied", b"\xff"),
    "end with more": record(7, struct.pack("<I", 9) + DIGEST + b"x"),
    "changed with nanoseconds": record(8, struct.pack("<IQqI", 4, 12, 0, 1_000_000_000)),
}
RECEIVER = {
    "want": record(1, struct.pack("<II", 4, 1)),
    "want many": record(1, struct.pack("<II", 0, 65_536)),
    "want-rest": record(2, struct.pack("<IQ", 4, 2**40) + DIGEST),
    "want-changes": record(6, struct.pack("<I", 4)),
    "known": record(7, struct.pack("<IBQQ", 4, 1, 2**40, 0)),
    "compared": record(8, struct.pack("<IB", 4, 0)),
    "compared, wanted again": record(8, struct.pack("<IB", 4, 1)),
    "same": record(9, struct.pack("<IIQ", 4, 40, 2**40)),
    "expand": record(10, struct.pack("<I", 4)),
    "expand all": record(10, struct.pack("<I", SOURCE)),
    "decided": record(3, struct.pack("<I", 9)),
    "failed": failed(4, 4, b"no-space", "der Grund: voll".encode()),
    "done": record(5, struct.pack("<IIIIIQ", 9, 1, 2, 3, 4, 2**40) + DIGEST),
    "pattern": record(16, b"cache/"),
    "path": record(17, b"a/b"),
    "selection-end": record(18, b""),
    "change, new folder": record(19, b"\x01\x01\x00a/b"),
    "change of the destination": record(19, b"\x02\x01\x06"),
    "change of all details": record(19, b"\x02\x03\x7flink"),
    "change, deleted special": record(19, b"\x03\x04\x00\xff"),
}
BAD_RECEIVER = {
    "kind": record(99, b""),
    "want-changes with more": record(6, struct.pack("<IB", 4, 0)),
    "same without bytes": record(9, struct.pack("<II", 4, 40)),
    "same with more": record(9, struct.pack("<IIQB", 4, 40, 2**40, 0)),
    "same for all": record(9, struct.pack("<IIQ", SOURCE, 40, 2**40)),
    "short expand": record(10, b"\x04\0\0"),
    "expand with more": record(10, struct.pack("<IB", 4, 0)),
    "known of nothing": record(7, struct.pack("<I", 4)),
    "compared with a flag": record(8, struct.pack("<IB", 4, 2)),
    "compared with more": record(8, struct.pack("<IBB", 4, 0, 0)),
    "change, action 0": record(19, b"\x00\x01\x00a"),
    "change, action 4": record(19, b"\x04\x01\x00a"),
    "change, kind 0": record(19, b"\x01\x00\x00a"),
    "change, kind 5": record(19, b"\x01\x05\x00a"),
    "change, details": record(19, b"\x02\x01\x80a"),
    "change, NUL": record(19, b"\x02\x01\x01a\0"),
    "short change": record(19, b"\x02\x01"),
    "empty pattern": record(16, b""),
    "selection-end with more": record(18, b"x"),
    "want none": record(1, struct.pack("<II", 4, 0)),
    "want behind the last number": record(1, struct.pack("<II", 2, 2**32 - 1)),
    "short want": record(1, struct.pack("<I", 4)),
    "want-rest with more": record(2, struct.pack("<IQ", 4, 0) + DIGEST + b"x"),
    "decided with more": record(3, struct.pack("<IB", 9, 0)),
    "short done": record(5, struct.pack("<IIIII", 9, 1, 2, 3, 4)),
}


def frame(content, *repeated):
    """A zstd frame that is not compressed, or has runs of one byte: (byte, count), at most 131,072 each."""
    size = len(content) + sum(count for _, count in repeated)
    blocks = [(0, len(content), content)] * (len(content) > 0) + [(1, count, byte) for byte, count in repeated]
    out = struct.pack("<IBI", 0xFD2FB528, 0xA0, size)
    for number, (kind, count, data) in enumerate(blocks):
        last = number == len(blocks) - 1
        out += struct.pack("<I", last | kind << 1 | count << 3)[:3] + data
    return out


def packed_record(length, data):
    return record(64, struct.pack("<I", length) + data)


ONE = SENDER["folder-end"]
TWO = record(3, struct.pack("<I", 4) + DIGEST + b"content " * 20) + SENDER["file-end"]
# By zstd 1.5 at level 1.
TWO_FRAME = bytes.fromhex("28b52ffd00483502009403c50000000304000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f636f6e74656e74202d00000005040001030054e3042e33511955a0")
PIECE = record(4, struct.pack("<IQ", 4, 0) + bytes(131_072))
PACKED = {
    "one record": (packed_record(len(ONE), frame(ONE)), ONE),
    "two records, compressed": (packed_record(len(TWO), TWO_FRAME), TWO),
    "the longest piece, as a run": (packed_record(len(PIECE), frame(PIECE[:17], (b"\0", 131_072))), PIECE),
}
BAD_PACKED = {
    "no content": record(64, b""),
    "no records": packed_record(0, frame(b"")),
    "no frame": packed_record(len(ONE), b""),
    "no zstd": packed_record(len(ONE), ONE),
    "short frame": packed_record(len(ONE) + 1, frame(ONE)),
    "long frame": packed_record(len(ONE), frame(ONE + ONE)),
    "cut frame": packed_record(len(ONE), frame(ONE)[:-1]),
    "more than allowed": packed_record(262_145, frame(b"", (b"\0", 131_072), (b"\0", 131_072), (b"\0", 1))),
    "far more than it says": packed_record(9, frame(b"", *[(b"\0", 131_072)] * 8)),
    "part of a record": packed_record(len(ONE) - 1, frame(ONE[:-1])),
    "packed twice": packed_record(len(packed_record(len(ONE), frame(ONE))), frame(packed_record(len(ONE), frame(ONE)))),
}
LENGTHS = {"empty": struct.pack("<I", 0), "long": struct.pack("<I", 196_609) + bytes(8), "negative": b"\xff" * 4}


def packed(data):
    """Long runs of one byte are shortened: a list of hexadecimal, and of a byte with its count."""
    if len(data) <= 4500:
        return data.hex()
    head = data.rstrip(data[-1:])
    return [head.hex(), {"byte": data[-1], "count": len(data) - len(head)}]


def main():
    parts = {"sender": SENDER, "receiver": RECEIVER, "bad_sender": BAD_SENDER, "bad_receiver": BAD_RECEIVER, "bad_lengths": LENGTHS}
    vectors = {name: [{"what": what, "bytes": packed(data)} for what, data in part.items()] for name, part in parts.items()}
    vectors["packed"] = [{"what": what, "bytes": packed(data), "records": packed(records)} for what, (data, records) in PACKED.items()]
    vectors["bad_packed"] = [{"what": what, "bytes": packed(data)} for what, data in BAD_PACKED.items()]
    with open(os.path.join(HERE, "tree.json"), "w") as file:
        json.dump(vectors, file, indent=1)
        file.write("\n")
    os.makedirs(SEEDS, exist_ok=True)
    # A seed is a choice, a step and a stream.
    streams = [(0, "sender", SENDER.values()), (1, "receiver", RECEIVER.values()), (0, "packed", [data for data, _ in PACKED.values()])]
    for choice, name, parts in streams:
        with open(os.path.join(SEEDS, name), "wb") as file:
            file.write(bytes([choice, 7]) + b"".join(parts))


main()
