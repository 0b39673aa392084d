#!/usr/bin/env python3
"""What `landline` does with files beside plain copies.

    compress   `cp --compress` and `cp` over a line of --mbit, of text and of random bytes, and `scp -C`; MB/s of the content
    many       `cp` of one file to 4 servers at once, and to one of them: MiB/s of all copies, and what the client read of the file
    sum        `sum` of a file, and `b3sum --num-threads 1`: seconds
    list       `ls` of --entries entries: milliseconds until the first line, and until the end
    demo       `demo`: milliseconds until its first line

The text is this repository's own, again and again. compress needs root and iproute2 with tc; sum needs b3sum (`cargo install b3sum`).
Everything else is on loopback, and files are in the page cache. Medians of --rounds after one that is not counted; all take turns.

    cargo build --profile dist && sudo python3 bench/files_bench.py [--size 1GiB] [--text 100000000] [--mbit 100] [--entries 100000]
                                       [--rounds 5] [--only compress,many,sum,list,demo] [--landline PATH] [--b3sum PATH]

Python 3.11 or later. Everything is kept in one fresh folder in --dir, which is removed at the end, and only processes and namespaces that
this script made are ended.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from delta_bench import MIB, make_line, remove_line, write_random
from hosts_bench import join, start
from resume_bench import parse_size
from wan_bench import NEAR, run, start_landline, start_scp, stop

CASES = ("compress", "many", "sum", "list", "demo")
ROOT = pathlib.Path(__file__).resolve().parent.parent
HOSTS = 4


def show(name, values, unit, note=""):
    print(f"{name:<26} {statistics.median(values):9.1f} {unit:<6} ({min(values):.1f}..{max(values):.1f})  {note}", flush=True)


def in_turns(rounds, cases):
    """Runs all cases by turns: {name: what they returned}, without the first round."""
    found, names = {name: [] for name in cases}, list(cases)
    for number in range(rounds + 1):
        for name in names[number % len(names):] + names[: number % len(names)]:
            value = cases[name]()
            if number:
                found[name].append(value)
    return found


def timed(command, environment=None, first_line=False):
    """Seconds that a command takes, or until its first line."""
    begin = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    process.stdout.readline()
    first = time.monotonic() - begin
    process.stdout.read()
    if process.wait():
        raise SystemExit(f"{command} ended with {process.returncode}")
    return first if first_line else time.monotonic() - begin


def write_text(path, size):
    """Writes the text of this repository until the file is long enough."""
    kinds = {".rs", ".md", ".py", ".toml"}
    sources = sorted(file for folder in ("crates", "docs", "bench") for file in (ROOT / folder).rglob("*") if file.suffix in kinds)
    left = size
    with open(path, "wb") as out:
        while left:
            for source in sources:
                left -= out.write(source.read_bytes()[:left])


def compress(work, options):
    (work / "home").mkdir()
    make_line(options.mbit)
    server = sshd = None
    try:
        server, env, up, _ = start_landline(work, work / "source", os.path.abspath(options.landline), dict(os.environ))
        sshd, _, scp, _ = start_scp(work, work / "source")
        for content, write in (("text", write_text), ("random", write_random)):
            write(work / "source", options.text)

            def measure(command, environment=None):
                (work / "home" / "copy").unlink(missing_ok=True)
                os.sync()
                begin = time.monotonic()
                run(NEAR, command, environment)
                subprocess.run(["sync", "-f", work / "home" / "copy"], check=True)
                return options.text / 1e6 / (time.monotonic() - begin)

            found = in_turns(options.rounds, {
                "cp": lambda: measure(up, env),
                "cp --compress": lambda: measure([*up[:-2], "--compress", *up[-2:]], env),
                "scp -C": lambda: measure([scp[0], "-C", *scp[1:]]),
            })
            plain = statistics.median(found["cp"])
            for name, rates in found.items():
                show(f"{content}: {name}", rates, "MB/s", f"{statistics.median(rates) / plain:.2f} of cp")
    finally:
        for process in filter(None, (server, sshd)):
            stop(process)
        remove_line()


def hosts(work, options, count):
    """Servers that the client has joined as web1 to webN, and the client's environment."""
    binary = os.path.abspath(options.landline)
    environment = {**os.environ, "LANDLINE_STATE": str(work / "client"), "HOME": str(work)}
    servers = []
    for number in range(1, count + 1):
        servers.append(start(binary, work, number))
        join(binary, work, servers[-1], number, environment)
    return binary, environment, servers


def end(servers):
    for server in servers:
        server.kill()
        server.wait()


def many(work, options):
    binary, environment, servers = hosts(work, options, HOSTS)
    source = work / "source"
    write_random(source, options.size)
    read = []

    def measure(to, count):
        for number in range(1, HOSTS + 1):
            (work / f"web{number}" / "copy").unlink(missing_ok=True)
        os.sync()
        begin = time.monotonic()
        process = subprocess.Popen([binary, "cp", "-q", source, f"{to}:copy"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.monotonic() - begin
        if count > 1:
            fields = dict(line.split(": ") for line in pathlib.Path(f"/proc/{process.pid}/io").read_text().splitlines())
            read.append(int(fields["rchar"]) / options.size)
        if process.wait():
            raise SystemExit(f"the copy to {to} ended with {process.returncode}")
        return count * options.size / MIB / seconds

    try:
        found = in_turns(options.rounds, {
            "many: one host": lambda: measure("web1", 1),
            f"many: {HOSTS} hosts": lambda: measure(f"web[1-{HOSTS}]", HOSTS),
        })
        one = statistics.median(found["many: one host"])
        for name, rates in found.items():
            show(name, rates, "MiB/s", f"{statistics.median(rates) / one:.2f} of one")
        show("many: read of the source", read, "times")
    finally:
        end(servers)


def digest(work, options):
    binary, environment, servers = hosts(work, options, 1)
    source = work / "web1" / "source"
    write_random(source, options.size)
    try:
        found = in_turns(options.rounds, {
            "sum": lambda: timed([binary, "sum", "web1:source"], environment),
            "b3sum": lambda: timed([options.b3sum, "--num-threads", "1", source]),
        })
        peer = statistics.median(found["b3sum"])
        for name, seconds in found.items():
            show(f"sum: {name}", [1000 * value for value in seconds], "ms", f"{statistics.median(seconds) / peer:.2f} of b3sum")
    finally:
        end(servers)


def entries(work, options):
    binary, environment, servers = hosts(work, options, 1)
    folder = work / "web1" / "folder"
    folder.mkdir()
    for number in range(options.entries):
        (folder / f"file-{number:06}").touch()
    try:
        command = [binary, "ls", "web1:folder"]
        found = in_turns(options.rounds, {
            "list: first line": lambda: timed(command, environment, True),
            "list: all": lambda: timed(command, environment),
            "list: -l, first line": lambda: timed([*command, "-l"], environment, True),
            "list: -l, all": lambda: timed([*command, "-l"], environment),
        })
        for name, seconds in found.items():
            show(name, [1000 * value for value in seconds], "ms")
    finally:
        end(servers)


def demo(work, options):
    binary = os.path.abspath(options.landline)
    environment = {**os.environ, "LANDLINE_STATE": str(work / "demo"), "HOME": str(work)}
    found = in_turns(options.rounds, {"first": lambda: timed([binary, "demo"], environment, True)})
    show("demo: first line", [1000 * value for value in found["first"]], "ms")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=parse_size, default=1 << 30)
    options.add_argument("--text", type=int, default=100_000_000)
    options.add_argument("--mbit", type=int, default=100)
    options.add_argument("--entries", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", default=",".join(CASES))
    options.add_argument("--landline", default="target/dist/landline")
    options.add_argument("--b3sum", default="b3sum")
    options.add_argument("--dir", default=".")
    options = options.parse_args()
    measures = dict(zip(CASES, (compress, many, digest, entries, demo)))
    if set(options.only.split(",")) - set(CASES):
        raise SystemExit(f"--only knows {', '.join(CASES)}")
    for name in options.only.split(","):
        work = pathlib.Path(tempfile.mkdtemp(prefix="landline-files-", dir=options.dir)).absolute()
        try:
            measures[name](work, options)
        finally:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
