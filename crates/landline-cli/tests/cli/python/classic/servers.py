"""Servers of the dialects, written as the courses write them. Prints the port, serves one client, and ends."""
import hashlib
import hmac
import json
import os
import socket
import struct
import subprocess
import sys

from segments import exactly, send

DATAGRAMS = ("udp-echo", "udp-chat")


def echo(connection):
    while True:
        data = connection.recv(1024)
        if not data:
            break
        connection.send(data.upper())


def text(connection):
    while True:
        try:
            length = struct.unpack("i", exactly(connection, 4))[0]
        except EOFError:
            return
        data = exactly(connection, length)
        print(len(data), flush=True)
        send(connection, struct.pack("i", len(data)) + data)


def run(data):
    done = subprocess.run(data.decode(), shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.stdout + done.stderr, done.returncode


def command(connection):
    while True:
        data = connection.recv(1024)
        if not data:
            break
        output, _ = run(data)
        send(connection, struct.pack("i", len(output)) + output)


def command_raw(connection):
    for text in sys.argv[2:]:
        connection.sendall(run(exactly(connection, len(text)))[0])


def command_json(connection):
    while True:
        data = connection.recv(1024)
        if not data:
            break
        output, code = run(data)
        header = json.dumps({"size": len(output), "code": code}).encode("utf-8")
        send(connection, struct.pack("i", len(header)) + header + output)


def upload(connection):
    while True:
        try:
            length = struct.unpack("i", exactly(connection, 4))[0]
        except EOFError:
            return
        header = json.loads(exactly(connection, length).decode("utf-8"))
        content = exactly(connection, header["file_size"])
        print(header["file_name"], header.get("msg"), hashlib.sha256(content).hexdigest(), flush=True)
        if os.environ.get("ACK"):
            receipt = json.dumps({"file_name": header["file_name"], "file_size": header["file_size"]}).encode()
            send(connection, struct.pack("i", len(receipt)) + receipt)


def upload_bare(connection):
    data = b""
    while True:
        data += connection.recv(1024)
        try:
            header, end = json.JSONDecoder().raw_decode(data.decode("utf-8", "surrogateescape"))
            break
        except ValueError:
            continue
    content = data[len(data.decode("utf-8", "surrogateescape")[:end].encode("utf-8", "surrogateescape")):]
    while len(content) < header["filesize"]:
        content += connection.recv(1024)
    print(header["filename"], hashlib.sha256(content).hexdigest(), flush=True)


def download(connection):
    while True:
        try:
            length = struct.unpack("i", exactly(connection, 4))[0]
        except EOFError:
            return
        request = json.loads(exactly(connection, length).decode())
        assert request["cmd"] == "get"
        if not os.path.exists(request["file_name"]):
            header, content = {"error": "no such file \x1b[31m"}, b""
        else:
            content = open(request["file_name"], "rb").read()
            header = {"file_name": os.environ.get("NAME", request["file_name"]), "file_size": len(content)}
        header = json.dumps(header).encode()
        cut = os.environ.get("CUT")
        send(connection, struct.pack("i", len(header)) + header + content[:int(cut or len(content))])
        if cut:
            return


def login(connection):
    name = exactly(connection, 2).decode()
    password = exactly(connection, 1).decode()
    connection.send(("welcome " + name if (name, password) == ("zd", "1") else "no").encode())


def challenge(connection):
    secret = open(sys.argv[2], "rb").read().strip()
    nonce = os.urandom(32)
    connection.send(nonce)
    answer = exactly(connection, hashlib.new(sys.argv[3]).digest_size)
    if hmac.compare_digest(answer, hmac.new(secret, nonce, sys.argv[3]).digest()):
        connection.send(b"ok")


def udp_echo(server):
    for _ in range(int(sys.argv[2])):
        data, address = server.recvfrom(65536)
        server.sendto(data.upper(), address)


def udp_chat(server):
    while True:
        data, address = server.recvfrom(1024)
        print(data.decode(), flush=True)
        if data.decode().endswith("886"):
            break
        server.sendto(("老师的消息:" + "heard " + str(len(data))).encode(), address)


def talk(connection):
    while True:
        data = connection.recv(1024)
        if not data:
            break
        print(data.decode(), flush=True)
        connection.send(("you said " + data.decode()).encode())


serve = globals()[sys.argv[1].replace("-", "_")]
if sys.argv[1] in DATAGRAMS:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    serve(server)
else:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    print(server.getsockname()[1], flush=True)
    connection, address = server.accept()
    serve(connection)
    connection.close()
