#!/usr/bin/env python3
"""Forwarded connections (-L): landline and ssh, in alternation, on loopback.

    round trip    one byte to a host and back, in microseconds
    connection    a new connection, until the first byte of the host arrives, in microseconds
    download      SIZE bytes from the host, in MiB/s; ssh with its default cipher and with aes128-gcm
    upload        the same to the host
    memory        of the server of landline, before and with --connections connections

Medians of --rounds. `direct` is without a forward.

    cargo build --profile dist && python3 bench/forward_bench.py [--size 512MiB] [--rounds 10] [--landline PATH]

Python 3.11 or later; sshd and ssh have to be installed. Everything is kept in one fresh folder, which is removed at the end, and
only processes that this script started are ended.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

from run_bench import QUIET, free_port, parse_size, show, start_sshd

PART = bytes(256 << 10)


def serve_host(listener):
    """What a client asks for by 9 bytes: echo (e), download (d) or upload (u) of so many bytes."""

    def serve(connection):
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"!")
            order = receive(connection, 9)
            size = struct.unpack("<Q", order[1:])[0]
            if order[:1] == b"d":
                while size:
                    size -= connection.send(PART[:min(size, len(PART))])
            elif order[:1] == b"u":
                receive_all(connection, size)
                connection.sendall(b".")
            else:
                while part := connection.recv(65536):
                    connection.sendall(part)

    def quietly(connection):
        try:
            serve(connection)
        except OSError:
            pass

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=quietly, args=(connection,), daemon=True).start()


def receive(connection, count):
    got = b""
    while len(got) < count:
        part = connection.recv(count - len(got))
        if not part:
            raise OSError("the connection ended")
        got += part
    return got


def receive_all(connection, size):
    buffer = bytearray(1 << 20)
    while size:
        count = connection.recv_into(buffer)
        if not count:
            raise OSError("the connection ended")
        size -= count


def connect(port, order=b"e", size=0):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    receive(connection, 1)
    connection.sendall(order + struct.pack("<Q", size))
    return connection


def round_trips(port, count=500):
    with connect(port) as connection:
        start = time.monotonic()
        for _ in range(count):
            connection.sendall(b"x")
            receive(connection, 1)
        return (time.monotonic() - start) / count


def connections(port, count=50):
    start = time.monotonic()
    for _ in range(count):
        connect(port).close()
    return (time.monotonic() - start) / count


def download(port, size):
    with connect(port, b"d", size) as connection:
        start = time.monotonic()
        receive_all(connection, size)
        return time.monotonic() - start


def upload(port, size):
    with connect(port, b"u", size) as connection:
        start = time.monotonic()
        left = size
        while left:
            left -= connection.send(PART[:min(left, len(PART))])
        receive(connection, 1)
        return time.monotonic() - start


def measure(work, ports, rounds):
    times = {name: [] for name in ports}
    names = list(ports)
    for number in range(rounds + 1):
        for name in names[number % len(names):] + names[:number % len(names)]:
            taken = work(ports[name])
            if number:
                times[name].append(taken)
    return times


def wait_for_port(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=parse_size, default=512 << 20)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--connections", type=int, default=1000)
    options.add_argument("--landline", default="target/dist/landline")
    options = options.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-forward-"))
    (work / "home").mkdir()
    binary = os.path.abspath(options.landline)
    serve = [binary, "--state", work / "server", "serve", "--json", "--listen", "127.0.0.1:0"]
    if os.geteuid() == 0:
        serve.append("--allow-root")
    started = []
    try:
        landline = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(work / "home")})
        started.append(landline)
        first = json.loads(landline.stdout.readline())
        threading.Thread(target=lambda: [None for _ in landline.stdout], daemon=True).start()
        environment = {**os.environ, "LANDLINE_STATE": str(work / "client")}
        invite = pathlib.Path(first["invite_file"]).read_text()
        subprocess.run([binary, "join", "-", "--as", "bench"], input=invite, text=True, check=True, env=environment,
                       stdout=subprocess.DEVNULL)
        started.append(start_sshd(work))
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        host = listener.getsockname()[1]
        threading.Thread(target=serve_host, args=(listener,), daemon=True).start()
        ports = {"direct": host}
        ssh = ["ssh", "-F", work / "ssh_config", "-N"]
        for name, command, place in [
            ("landline", [binary, "run", "-N"], "127.0.0.1"),
            ("ssh", ssh, "bench"),
            ("ssh, aes-gcm", [*ssh, "-c", "aes128-gcm@openssh.com"], "bench"),
        ]:
            port = free_port()
            forward = ["-L", f"{port}:127.0.0.1:{host}"]
            started.append(subprocess.Popen([*command, *forward, place], env=environment, **QUIET))
            wait_for_port(port)
            ports[name] = port
        for what, work_of, unit, convert in [
            ("round trip", round_trips, "us", lambda value: value * 1e6),
            ("connection", connections, "us", lambda value: value * 1e6),
            ("download", lambda port: download(port, options.size), "MiB/s", lambda value: options.size / 2**20 / value),
            ("upload", lambda port: upload(port, options.size), "MiB/s", lambda value: options.size / 2**20 / value),
        ]:
            for name, times in measure(work_of, ports, options.rounds).items():
                show(f"{what}, {name}", times, unit, convert)
        before = resident(landline.pid)
        many = [connect(ports["landline"]) for _ in range(options.connections)]
        for connection in many:
            connection.sendall(PART[:1000])
        for connection in many:
            receive(connection, 1000)
        print(f"{'memory':<22} {before:9.1f} MiB   {resident(landline.pid):.1f} MiB with {len(many)} connections")
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
