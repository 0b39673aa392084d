#!/usr/bin/env python3
"""How soon a killed copy resumes, and how much of it is sent again.

A file of --size is copied up and down over loopback; the client is killed with SIGKILL when 90 % has arrived, and the same
command is run again. Measured, medians over --rounds:

    first byte   from starting the second command to the first new byte in the staging file (its length is polled)
    sent again   bytes that had arrived and were sent once more

    cargo build --profile dist && python3 bench/resume_bench.py [--size 4GiB] [--rounds 5] [--landline PATH] [--dir DIR]

Python 3.11 or later, nothing to install. Everything is kept in one fresh folder in --dir, which is removed at the end, and only
processes that this script started are ended.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import tempfile
import time


def parse_size(text):
    for suffix, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if text.endswith(suffix):
            return int(float(text.removesuffix(suffix)) * factor)
    return int(text)


def staged(folder):
    """The staging file in a folder and its length, or None and 0."""
    for entry in os.scandir(folder):
        if entry.name.startswith(".landline-"):
            return entry.path, entry.stat().st_size
    return None, 0


def killed_at(command, folder, length):
    """Runs a copy, kills it once `length` bytes have arrived, and returns how many have arrived."""
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while staged(folder)[1] < length:
        if client.poll() is not None:
            raise SystemExit("the copy ended before it could be killed; take a larger --size")
        time.sleep(0.001)
    client.send_signal(signal.SIGKILL)
    client.wait()
    # The receiver still writes data that was in flight.
    time.sleep(1)
    return staged(folder)[1]


def resumed(command, folder):
    """Runs the copy again. Returns the seconds to the first new byte, the offset at which it resumed, and the bytes sent again."""
    start = time.monotonic()
    client = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    low = staged(folder)[1]
    while True:
        _, now = staged(folder)
        if now > low:
            break
        low = min(low, now) if now else low
        if client.poll() is not None:
            break
    first = time.monotonic() - start
    events = [json.loads(line) for line in client.communicate()[0].splitlines()]
    if client.returncode != 0:
        raise SystemExit(f"the second try failed: {events[-1]}")
    offset = next((event["offset"] for event in events if event["event"] == "resumed-at"), 0)
    return first, offset, sum(event["bytes"] for event in events if event["event"] == "block-resent")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=parse_size, default=4 << 30)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--landline", default="target/dist/landline")
    options.add_argument("--dir", default=".")
    options = options.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-resume-", dir=options.dir)).absolute()
    home, near = work / "home", work / "near"
    home.mkdir()
    near.mkdir()
    landline = [os.path.abspath(options.landline)]
    serve = [*landline, "--state", work / "server", "serve", "--json", "--listen", "127.0.0.1:0"]
    if os.geteuid() == 0:
        serve.append("--allow-root")
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(home)})
    try:
        started = json.loads(server.stdout.readline())
        client = [*landline, "--state", work / "client"]
        invite = pathlib.Path(started["invite_file"]).read_text()
        subprocess.run([*client, "join", "-", "--as", "bench"], input=invite, text=True, check=True,
                       stdout=subprocess.DEVNULL)
        with open(work / "source", "wb") as source:
            for _ in range(options.size // (1 << 20)):
                source.write(os.urandom(1 << 20))
        os.link(work / "source", home / "source")
        there = f"landline://{started['listening']}"
        for name, command, folder in (
            ("up", [*client, "cp", work / "source", f"{there}/copy"], home),
            ("down", [*client, "cp", f"{there}/source", near / "copy"], near),
        ):
            times, again = [], []
            for _ in range(options.rounds):
                arrived = killed_at(command, folder, options.size * 9 // 10)
                first, offset, resent = resumed(command, folder)
                times.append(first * 1000)
                again.append((arrived - offset + resent) / (1 << 20))
                (folder / "copy").unlink()
            print(f"{name:<5} first byte {statistics.median(times):6.1f} ms ({min(times):.1f}..{max(times):.1f})   "
                  f"sent again {statistics.median(again):5.2f} MiB ({min(again):.2f}..{max(again):.2f})")
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
