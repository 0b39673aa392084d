"""Clients of the dialects, written as the courses write them: raw sockets, struct, json."""
import hashlib
import hmac
import json
import os
import socket
import struct
import sys
import time

from segments import connect, exactly, send


def echo(address, text):
    connection = connect(address)
    send(connection, text.encode())
    connection.shutdown(socket.SHUT_WR)
    data = b""
    while True:
        piece = connection.recv(1024)
        if not piece:
            break
        data += piece
    sys.stdout.buffer.write(data)


def text(address, *lengths):
    connection = connect(address)
    texts = [("x" * int(length)).encode() for length in lengths]
    send(connection, b"".join(struct.pack("i", len(text)) + text for text in texts))
    for text in texts:
        length = struct.unpack("i", exactly(connection, 4))[0]
        answer = exactly(connection, length)
        assert answer == text, (length, len(text))
        print(length)


def command(address, *commands):
    connection = connect(address)
    for text in commands:
        send(connection, text.encode())
        length = struct.unpack("i", exactly(connection, 4))[0]
        sys.stdout.buffer.write(exactly(connection, length))


def command_newlines(address, *commands):
    connection = connect(address)
    send(connection, "".join(text + "\n" for text in commands).encode())
    for _ in commands:
        length = struct.unpack("i", exactly(connection, 4))[0]
        sys.stdout.buffer.write(exactly(connection, length))


def command_raw(address, *commands):
    connection = connect(address)
    for text in commands:
        send(connection, (text + "\n").encode())
        if text == "true":
            continue
        sys.stdout.buffer.write(connection.recv(1024))
    send(connection, b"zaijian\n")
    while True:
        piece = connection.recv(1024)
        if not piece:
            break
        sys.stdout.buffer.write(piece)


def command_json(address, text):
    connection = connect(address)
    send(connection, text.encode())
    length = struct.unpack("i", exactly(connection, 4))[0]
    header = json.loads(exactly(connection, length).decode("utf-8"))
    left, digest = header["size"], hashlib.sha256()
    while left:
        piece = connection.recv(min(left, 65536))
        assert piece
        digest.update(piece)
        left -= len(piece)
    print(header["size"], header["code"], digest.hexdigest())


def upload(address, *paths):
    """Sends each file under the name it is given by, then waits for the end."""
    connection = connect(address)
    data = b""
    for path in paths:
        name, _, source = path.partition("=")
        content = open(source or name, "rb").read()
        header = {"file_name": name, "file_size": len(content), "msg": "got it", "md5": hashlib.md5(content).hexdigest()}
        header = json.dumps(header, ensure_ascii=False).encode(os.environ.get("ENCODING", "utf-8"))
        data += struct.pack("i", len(header)) + header + content
    send(connection, data)
    connection.shutdown(socket.SHUT_WR)
    while True:
        head = connection.recv(4)
        if not head:
            break
        head += exactly(connection, 4 - len(head))
        print(json.dumps(json.loads(exactly(connection, struct.unpack("i", head)[0]).decode()), sort_keys=True))


def upload_bare(address, path):
    connection = connect(address)
    content = open(path, "rb").read()
    header = {"filename": os.path.basename(path), "filesize": os.path.getsize(path)}
    send(connection, json.dumps(header, ensure_ascii=False).encode(os.environ.get("ENCODING", "utf-8")) + content)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b""


def download(address, *names):
    connection = connect(address)
    for name in names:
        request = json.dumps({"cmd": "get", "file_name": name}).encode()
        send(connection, struct.pack("i", len(request)) + request)
        header = json.loads(exactly(connection, struct.unpack("i", exactly(connection, 4))[0]).decode())
        if "error" in header:
            print(header["error"])
            continue
        content = exactly(connection, header["file_size"])
        print(header["file_name"], header["file_size"], hashlib.sha256(content).hexdigest())


def login(address, *messages):
    """Sends each message; after one that is `?`, reads an answer."""
    connection = connect(address)
    for message in messages:
        if message == "?":
            print(connection.recv(1024).decode())
        else:
            send(connection, message.encode().decode("unicode_escape").encode())
            time.sleep(0.15)
    print("end" if connection.recv(1024) == b"" else "more")


def challenge(address, secret, digest, *then):
    connection = connect(address)
    nonce = exactly(connection, 32)
    answer = hmac.new(open(secret, "rb").read().strip(), nonce, digest).digest()
    if then:
        # A dialect behind the challenge: the first message may come in the same segment.
        data = then[0].encode()
        send(connection, answer + struct.pack("i", len(data)) + data)
        print(exactly(connection, struct.unpack("i", exactly(connection, 4))[0]).decode())
    else:
        send(connection, answer)
        print(connection.recv(1024).decode())


def udp_echo(address, *texts):
    host, port = address.rsplit(":", 1)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(10)
    for text in texts:
        client.sendto(text.encode(), (host, int(port)))
    for _ in texts:
        print(repr(client.recvfrom(65536)[0].decode()))


def udp_chat(address, name, *texts):
    host, port = address.rsplit(":", 1)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(30)
    for text in texts:
        if text == "?":
            print(client.recvfrom(1024)[0].decode(), flush=True)
        else:
            client.sendto((name + "的消息:" + text).encode(), (host, int(port)))


def talk(address, *lines):
    """Says each line and prints the answer."""
    connection = connect(address)
    for line in lines:
        connection.send(line.encode())
        print(connection.recv(1024).decode(), flush=True)


globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
