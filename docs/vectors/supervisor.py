#!/usr/bin/env python3
"""Makes supervisor.json: frames of version 1 of the supervisor protocol, and files of a job folder.

It is written from the tables in crates/landline-supervisor/src/protocol/mod.rs and src/store/mod.rs alone.
Python 3.11 standard library. A re-run writes the same bytes. It also writes the fuzzer's seeds.
"""

import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = os.path.join(HERE, "..", "..", "fuzz", "corpus", "supervisor")
FOREVER = 2**64 - 1

U8, U16, U32, U64 = "<B", "<H", "<I", "<Q"
STREAM = U8


class String:
    """A length and bytes. Strings in the vectors are hexadecimal."""

    @staticmethod
    def pack(value):
        return struct.pack(U32, len(value)) + value


class List:
    @staticmethod
    def pack(value):
        return struct.pack(U32, len(value)) + b"".join(map(String.pack, value))


class Rest:
    @staticmethod
    def pack(value):
        return value


ORDERS = {
    "start": (1, [
        ("version", U16), ("program", String), ("arguments", List), ("environment", List), ("folder", String),
        ("has_terminal", U8), ("rows", U16), ("columns", U16), ("modes", String), ("is_attended", U8), ("has_input", U8),
        ("job_folder", String),
        ("store", U8), ("window", U32), ("bytes_max", U64), ("timeout", U64), ("on_lost", U64),
    ]),
    "input": (2, [("offset", U64), ("bytes", Rest)]),
    "input-end": (3, [("offset", U64)]),
    "output-ack": (4, [("stream", STREAM), ("offset", U64), ("limit", U64)]),
    "output-stop": (5, [("stream", STREAM)]),
    "signal": (6, [("signal", U8)]),
    "resize": (7, [("rows", U16), ("columns", U16)]),
    "end": (8, [("grace", U32)]),
    "adopt": (9, [("version", U16)]),
    "store": (10, []),
    "leave": (11, []),
    "screen": (12, [("rows", U16), ("columns", U16), ("history", U32)]),
    "attended": (13, [("is_attended", U8)]),
    "confirm": (14, []),
}

EXITED_FIELDS = [
    ("kind", U8), ("value", U8), ("user_time", U64), ("system_time", U64), ("memory", U64), ("timed_out", U8),
    ("stdout", U64), ("stderr", U64), ("started", U64), ("ended", U64),
]
OUTPUT = ["acknowledged", "read", "has_ended"]
REPORTS = {
    "started": (1, [("pid", U32)]),
    "failed": (2, [("step", U8), ("errno", U32)]),
    "output": (3, [("stream", STREAM), ("offset", U64), ("bytes", Rest)]),
    "output-end": (4, [("stream", STREAM), ("offset", U64)]),
    "input-ack": (5, [("offset", U64)]),
    "input-stop": (6, []),
    "exited": (7, EXITED_FIELDS),
    "stored": (8, [("stream", STREAM), ("offset", U64)]),
    "adopted": (9, [("version", U16), ("pid", U32), ("store", U8)]
                + [(f"{stream}_{name}", U64 if name != "has_ended" else U8)
                   for stream in ["stdout", "stderr"] for name in OUTPUT]
                + [("has_input", U8), ("received", U64), ("taken", U64), ("has_end", U8), ("has_stopped", U8)]),
    "screen": (10, [("offset", U64), ("is_whole", U8), ("bytes", Rest)]),
    "confirmed": (11, []),
}


def frame(types, name, values):
    number, fields = types[name]
    # Only a set flag is there.
    if "left_open" in values:
        fields = fields + [("left_open", U8)]
    assert [field for field, _ in fields] == list(values), name
    content = b"".join(
        struct.pack(form, values[field]) if isinstance(form, str) else form.pack(values[field])
        for field, form in fields)
    return struct.pack(U32, 1 + len(content)) + bytes([number]) + content


def shown(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [shown(entry) for entry in value]
    # Beyond what every JSON reader keeps exactly.
    return str(value) if value >= 2**53 else value


START = {
    "version": 1, "program": b"/bin/sh", "arguments": [b"sh", b"\xff\n", b""], "environment": [b"A=b=c"],
    "folder": b"/srv", "has_terminal": 0, "rows": 0, "columns": 0, "modes": b"", "is_attended": 0, "has_input": 0,
    "job_folder": b"", "store": 0,
    "window": 262144, "bytes_max": 0, "timeout": 0, "on_lost": 0,
}
EXITED = {
    "kind": 0, "value": 255, "user_time": 1500000, "system_time": 7, "memory": 2**33, "timed_out": 0,
    "stdout": 2**40, "stderr": 3, "started": 1796000000000, "ended": 1796000001234,
}
ADOPTED = {
    "version": 1, "pid": 4711, "store": 0, "stdout_acknowledged": 5, "stdout_read": 2**40, "stdout_has_ended": 0,
    "stderr_acknowledged": 0, "stderr_read": 7, "stderr_has_ended": 1, "has_input": 1, "received": 9, "taken": 8,
    "has_end": 1, "has_stopped": 0,
}

GOOD_ORDERS = [
    ("start", START),
    ("start", START | {"has_terminal": 1, "rows": 24, "columns": 80, "modes": bytes([3, 127, 42, 1]), "is_attended": 1,
                       "has_input": 1, "job_folder": b"/jobs/1",
                       "store": 1, "bytes_max": 2**26, "timeout": 1500, "on_lost": FOREVER}),
    ("start", START | {"job_folder": b"/jobs/2", "on_lost": 30000}),
    ("input", {"offset": 258, "bytes": b"ab\0\xff"}),
    ("input", {"offset": 0, "bytes": b""}),
    ("input-end", {"offset": 2**63}),
    ("output-ack", {"stream": 1, "offset": 65536, "limit": 2**40}),
    ("output-ack", {"stream": 2, "offset": 0, "limit": FOREVER}),
    ("output-stop", {"stream": 2}),
    ("signal", {"signal": 15}),
    ("resize", {"rows": 50, "columns": 65535}),
    ("end", {"grace": 1500}),
    ("adopt", {"version": 1}),
    ("store", {}),
    ("leave", {}),
    ("screen", {"rows": 40, "columns": 133, "history": 200}),
    ("screen", {"rows": 0, "columns": 0, "history": 2**32 - 1}),
    ("attended", {"is_attended": 1}),
    ("attended", {"is_attended": 0}),
    ("confirm", {}),
]
GOOD_REPORTS = [
    ("started", {"pid": 4711}),
    ("failed", {"step": 0, "errno": 2}),
    ("failed", {"step": 1, "errno": 20}),
    ("failed", {"step": 2, "errno": 24}),
    ("failed", {"step": 3, "errno": 28}),
    ("output", {"stream": 1, "offset": 2**32, "bytes": b"text\n"}),
    ("output-end", {"stream": 2, "offset": 0}),
    ("input-ack", {"offset": 70000}),
    ("input-stop", {}),
    ("exited", EXITED),
    ("exited", EXITED | {"kind": 1, "value": 9, "timed_out": 1}),
    ("exited", EXITED | {"kind": 2, "value": 11}),
    ("exited", EXITED | {"left_open": 1}),
    ("stored", {"stream": 1, "offset": 2**40}),
    ("adopted", ADOPTED),
    ("adopted", ADOPTED | {"store": 1, "has_input": 0, "received": 0, "taken": 0, "has_end": 0, "has_stopped": 1}),
    ("screen", {"offset": 2**33, "is_whole": 1, "bytes": b"\x1b[2J"}),
    ("screen", {"offset": 0, "is_whole": 0, "bytes": b""}),
    ("confirmed", {}),
]


def bad(types, name, values, **changes):
    return frame(types, name, values | changes)


def lengthened(data, by):
    content = (data + b"\0" * by)[4:] if by > 0 else data[4:by]
    return struct.pack(U32, len(content)) + content


BAD_ORDERS = [
    ("length", struct.pack(U32, 0)),
    ("length", struct.pack(U32, 4 * 1024 * 1024 + 1)),
    ("type", frame({"x": (0, [])}, "x", {})),
    ("type", frame({"x": (15, [])}, "x", {})),
    ("version", bad(ORDERS, "start", START, version=2)),
    ("version", frame(ORDERS, "adopt", {"version": 0})),
    ("content", bad(ORDERS, "start", START, has_terminal=2)),
    ("content", bad(ORDERS, "start", START, has_input=2)),
    ("content", bad(ORDERS, "start", START, store=2)),
    ("content", lengthened(frame(ORDERS, "start", START), 1)),
    ("content", lengthened(frame(ORDERS, "start", START), -1)),
    ("content", lengthened(frame(ORDERS, "input", {"offset": 1, "bytes": b""}), -1)),
    ("content", frame(ORDERS, "output-stop", {"stream": 0})),
    ("content", frame(ORDERS, "output-stop", {"stream": 3})),
    ("content", lengthened(frame(ORDERS, "store", {}), 1)),
    ("content", lengthened(frame(ORDERS, "leave", {}), 1)),
    ("content", lengthened(frame(ORDERS, "screen", {"rows": 1, "columns": 1, "history": 1}), -1)),
    ("content", frame(ORDERS, "attended", {"is_attended": 2})),
    ("content", lengthened(frame(ORDERS, "confirm", {}), 1)),
    ("content", frame(ORDERS, "start", START | {"modes": b"\x03"})),
    ("content", frame(ORDERS, "start", START | {"is_attended": 2})),
]
BAD_REPORTS = [
    ("type", frame({"x": (0, [])}, "x", {})),
    ("type", frame({"x": (12, [])}, "x", {})),
    ("version", bad(REPORTS, "adopted", ADOPTED, version=2)),
    ("content", frame(REPORTS, "failed", {"step": 4, "errno": 0})),
    ("content", bad(REPORTS, "exited", EXITED, kind=3)),
    ("content", bad(REPORTS, "exited", EXITED, timed_out=2)),
    ("content", bad(REPORTS, "adopted", ADOPTED, store=2)),
    ("content", bad(REPORTS, "adopted", ADOPTED, stderr_has_ended=2)),
    ("content", lengthened(frame(REPORTS, "exited", EXITED), 1)),
    ("content", frame(REPORTS, "exited", EXITED | {"left_open": 2})),
    ("content", lengthened(frame(REPORTS, "exited", EXITED | {"left_open": 1}), 1)),
    ("content", lengthened(frame(REPORTS, "adopted", ADOPTED), -1)),
    ("content", frame(REPORTS, "screen", {"offset": 0, "is_whole": 2, "bytes": b""})),
    ("content", lengthened(frame(REPORTS, "confirmed", {}), 1)),
]

# A job folder: what of each stream is read, and the records of the index.
FILES = {
    "1-0000000000000000": b"first",
    "1-000000000000000a": b"second",
    "1-0000000000000010": b"third",
    "2-0000000000000000": b"other",
    "index": b"".join(struct.pack("<QQQ", *record) for record in [(1000, 0, 0), (1001, 5, 0), (2001, 5, 5)]) + b"cut",
    "status": frame(REPORTS, "exited", EXITED | {"stdout": 23, "stderr": 5}),
    "1-10": b"not a segment",
}
STREAMS = {
    "stdout": {"stored": 23, "bytes": b"first" + b"second" + b"third", "gaps": [[5, 10], [21, 23]]},
    "stderr": {"stored": 5, "bytes": b"other", "gaps": []},
}


def main():
    def cases(types, good):
        return [{"type": name, "fields": {key: shown(value) for key, value in values.items()},
                 "bytes": frame(types, name, values).hex()} for name, values in good]

    def wrong(cases):
        return [{"error": error, "bytes": data.hex()} for error, data in cases]

    vectors = {
        "orders": cases(ORDERS, GOOD_ORDERS),
        "reports": cases(REPORTS, GOOD_REPORTS),
        "bad_orders": wrong(BAD_ORDERS),
        "bad_reports": wrong(BAD_REPORTS),
        "job_folder": {
            "files": {name: content.hex() for name, content in FILES.items()},
            "streams": {name: stream | {"bytes": stream["bytes"].hex()} for name, stream in STREAMS.items()},
            "index": [{"time": 1000, "stdout": 0, "stderr": 0}, {"time": 1001, "stdout": 5, "stderr": 0},
                      {"time": 2001, "stdout": 5, "stderr": 5}],
        },
    }
    with open(os.path.join(HERE, "supervisor.json"), "w") as file:
        json.dump(vectors, file, indent=1)
        file.write("\n")
    # A seed is a choice, a step and a stream.
    for choice, name, types, good in [(0, "orders", ORDERS, GOOD_ORDERS), (1, "reports", REPORTS, GOOD_REPORTS)]:
        stream = b"".join(frame(types, *case) for case in good)
        with open(os.path.join(SEEDS, name), "wb") as file:
            file.write(bytes([choice, 7]) + stream)


if __name__ == "__main__":
    main()
