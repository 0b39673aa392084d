#!/usr/bin/env python3
"""Garbage connections against a running server: does it stay up, and keep its memory and descriptors?

Each connection comes from another loopback address and sends random bytes, a piece of a TLS handshake, or nothing. Half of
them end with a reset. A client with a key pings all the while.

    cargo build --profile dist && python3 bench/garbage_bench.py [--connections 1000000] [--landline PATH]

Exit status: 0 if the server answered every ping, has no descriptor more than before, and less than 64 MiB more memory.
Everything is kept in one fresh folder, which is removed at the end, and only processes that this script started are ended.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import time

HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(200))
RESET = struct.pack("ii", 1, 0)


def flood(port, seed, connections, failed):
    chance = random.Random(seed)
    for _ in range(connections):
        with socket.socket() as client:
            client.settimeout(15)
            client.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            client.bind((f"127.{chance.randint(1, 250)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}", 0))
            try:
                client.connect(("127.0.0.1", port))
                kind = chance.randrange(4)
                if kind == 0:
                    client.sendall(chance.randbytes(chance.randrange(1, 600)))
                elif kind == 1:
                    client.sendall(HELLO[:chance.randrange(1, len(HELLO))])
                elif kind == 2:
                    hello = bytearray(HELLO)
                    hello[chance.randrange(len(hello))] = chance.randrange(256)
                    client.sendall(hello)
                if chance.random() < 0.5:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                else:
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(4096):
                        pass
            except ConnectionError:
                pass
            except TimeoutError:
                failed.value += 1


def figures(process):
    """The resident memory in MiB and the number of descriptors of a process."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return memory / 1024, len(os.listdir(f"/proc/{process}/fd"))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--connections", type=int, default=1_000_000)
    options.add_argument("--landline", default="target/dist/landline")
    options.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = options.parse_args()
    print(f"seed {options.seed}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-garbage-"))
    (work / "home").mkdir()
    binary = os.path.abspath(options.landline)
    serve = [binary, "--state", work / "server", "serve", "--json", "--listen", "127.0.0.1:0"]
    if os.geteuid() == 0:
        serve.append("--allow-root")
    log = open(work / "log", "w+")
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "HOME": str(work / "home")})
    try:
        started = json.loads(server.stdout.readline())
        multiprocessing.Process(target=lambda: [None for _ in server.stdout], daemon=True).start()
        client = [binary, "--state", work / "client"]
        invite = pathlib.Path(started["invite_file"]).read_text()
        subprocess.run([*client, "join", "-", "--as", "bench"], input=invite, text=True, check=True, stdout=subprocess.DEVNULL)
        port = int(started["listening"].rsplit(":", 1)[1])
        ping = [*client, "ping", "127.0.0.1"]
        subprocess.run(ping, check=True, stdout=subprocess.DEVNULL)
        time.sleep(2)
        before = figures(server.pid)
        failed = multiprocessing.Value("L", 0)
        workers = 8
        floods = [multiprocessing.Process(target=flood, args=(port, options.seed + number, options.connections // workers, failed))
                  for number in range(workers)]
        start = time.monotonic()
        for process in floods:
            process.start()
        pings, lost = 0, 0
        while any(process.is_alive() for process in floods):
            done = subprocess.run(ping, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            pings, lost = pings + 1, lost + (done.returncode != 0)
            time.sleep(0.5)
        taken = time.monotonic() - start
        time.sleep(12)  # the time limit of a login
        after = figures(server.pid)
        log.seek(0)
        panics = log.read().count("panicked")
        print(f"{options.connections} connections in {taken:.0f} s ({options.connections / taken:.0f} a second), {failed.value} without an end")
        print(f"{pings} pings, {lost} failed; {panics} panics")
        print(f"memory {before[0]:.1f} MiB before, {after[0]:.1f} MiB after; descriptors {before[1]} before, {after[1]} after")
        is_good = server.poll() is None and not lost and not panics and after[1] <= before[1] and after[0] < before[0] + 64
        raise SystemExit(0 if is_good else 1)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
