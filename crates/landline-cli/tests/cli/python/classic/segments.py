"""Sends bytes in pieces: one at a time, all at once, or cut at random from a seed."""
import os
import random
import socket
import time

MODE = os.environ.get("SEGMENTS", "whole")
SEED = int(os.environ.get("LANDLINE_SEED", "1"))


def send(connection, data, pause=0.0):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if MODE == "whole":
        pieces = [data]
    elif MODE == "bytes":
        pieces = [data[i:i + 1] for i in range(min(len(data), 4000))] + ([data[4000:]] if len(data) > 4000 else [])
    else:
        chance = random.Random(SEED)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(20)) if data else []
        pieces = [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]
    for piece in pieces:
        if piece:
            connection.sendall(piece)
            time.sleep(pause)


def connect(address):
    host, port = address.rsplit(":", 1)
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.connect((host, int(port)))
    connection.settimeout(30)
    return connection


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError("the line ended after %d of %d bytes" % (len(data), count))
        data += piece
    return data
