"""Pieces of a bundle as they arrive on one connection, by docs/protocol.md section 6. make() returns the content of bundle.json."""

import struct

CONTENT_MAX = 65536


def piece(content, position):
    return struct.pack("<IQ", len(content), position) + content


def model(data):
    """The whole pieces, the length of the stream if it ends here, and what is wrong"""
    pieces, at, end, length = [], 0, 0, None
    while at < len(data):
        if at + 12 > len(data):
            return pieces, length, "cut"
        size, position = struct.unpack_from("<IQ", data, at)
        if length is not None or size > CONTENT_MAX or position < end or position + size >= 2**56:
            return pieces, length, "bad-header"
        if size == 0:
            length = position
        elif at + 12 + size > len(data):
            return pieces, length, "cut"
        else:
            pieces.append((position, data[at + 12 : at + 12 + size]))
        at, end = at + 12 + size, position + size
    return pieces, length, None


def make(pack):
    cases = []

    def case(name, data, count, length=None, error=None):
        pieces, found, wrong = model(data)
        assert (len(pieces), found, wrong) == (count, length, error), (name, model(data))
        shown = [{"position": position, "content": pack(content)} for position, content in pieces]
        cases.append({"name": name, "input": pack(data), "pieces": shown, "length": found, "error": wrong})

    first = piece(b"first", 7)
    case("nothing", b"", 0)
    case("one piece", first, 1)
    case("numbers are little-endian", b"\x02\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00ab", 1)
    case("pieces next to each other", first + piece(b"second", 12), 2)
    case("pieces with others between them", first + piece(b"second", 100) + piece(b"x", 2**40), 3)
    case("the longest piece", piece(bytes(CONTENT_MAX), 0), 1)
    case("one byte too long", piece(bytes(CONTENT_MAX + 1), 0), 0, error="bad-header")
    case("the end", first + piece(b"", 12), 1, 12)
    case("an empty stream", piece(b"", 0), 0, 0)
    case("the end behind bytes of other connections", first + piece(b"", 99), 1, 99)
    case("a piece after the end", piece(b"", 12) + first, 0, 12, "bad-header")
    case("two ends", piece(b"", 12) * 2, 0, 12, "bad-header")
    case("the end before the last piece", first + piece(b"", 11), 1, error="bad-header")
    case("a piece again", first * 2, 1, error="bad-header")
    case("a piece that overlaps by a byte", first + piece(b"x", 11), 1, error="bad-header")
    case("a piece before the last one", first + piece(b"x", 0), 1, error="bad-header")
    case("the last position", piece(b"x", 2**56 - 2), 1)
    case("a position out of range", piece(b"x", 2**56 - 1), 0, error="bad-header")
    case("the largest position", piece(b"x", 2**64 - 1), 0, error="bad-header")
    case("an end out of range", piece(b"", 2**56), 0, error="bad-header")
    message = b'{"type":"error","code":"ended","message":"x"}'
    case("a message in place of a piece", struct.pack("<i", len(message)) + message, 0, error="bad-header")
    for name, count in (("length", 3), ("position", 11), ("content", 16)):
        case(f"cut in the {name}", first[:count], 0, error="cut")
    case("cut after a piece", first + first[:5], 1, error="cut")
    return {"cases": cases}
