#!/usr/bin/env python3
"""A command at many servers on loopback: `landline run -H ... -j 50 -- COMMAND`.

    all           `true` at all servers, in milliseconds: the whole client process
    first line    `echo` at all servers and at 5 dead hosts: until the first line, in milliseconds
    memory        resident memory of the client at its highest, beyond that of a run at one server, in KiB a host

Medians of --rounds. Servers and client share the processors, so the figures depend on their number.

    cargo build --profile dist && python3 bench/hosts_bench.py [--servers 50] [--rounds 10] [--landline PATH]

Python 3.11 or later. Everything is kept in one fresh folder, which is removed at the end, and only processes that this script
started are ended.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

DEAD = 5


def start(binary, work, number):
    address, name = f"127.0.1.{number}", f"web{number}"
    (work / name).mkdir()
    command = [binary, "--state", work / f"{name}-state", "serve", "--json", "--listen", f"{address}:0"]
    if os.geteuid() == 0:
        command.append("--allow-root")
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(work / name)})


def join(binary, work, server, number, environment):
    started = json.loads(server.stdout.readline())
    invite = pathlib.Path(started["invite_file"]).read_text()
    subprocess.run([binary, "join", "-", "--as", "bench", "--name", f"web{number}"], input=invite, text=True, check=True,
                   env=environment, stdout=subprocess.DEVNULL)


def run(command, environment, expected):
    """Milliseconds until the first line and until the end, and the highest resident memory in KiB."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    process.stdout.readline()
    first = time.monotonic() - begin
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    end = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return first * 1000, end * 1000, usage.ru_maxrss


def show(name, values, unit):
    values = sorted(values)
    print(f"{name:<22} {statistics.median(values):9.1f} {unit}   ({values[0]:.1f}..{values[-1]:.1f})")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--servers", type=int, default=50)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--landline", default="target/dist/landline")
    options = options.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-hosts-"))
    binary = os.path.abspath(options.landline)
    environment = {**os.environ, "LANDLINE_STATE": str(work / "client"), "HOME": str(work)}
    servers = []
    try:
        for number in range(1, options.servers + DEAD + 1):
            servers.append(start(binary, work, number))
            join(binary, work, servers[-1], number, environment)
        for server in servers[options.servers:]:
            server.kill()
            server.wait()
        alive, everything = f"web[1-{options.servers}]", f"web[1-{options.servers + DEAD}]"
        jobs = str(options.servers + DEAD)
        command = [binary, "run", "-q", "-j", jobs]
        rounds = range(options.rounds + 1)
        one = [run([*command, "-H", "web1", "--", "true"], environment, 0) for _ in rounds][1:]
        whole = [run([*command, "-H", alive, "--", "true"], environment, 0) for _ in rounds][1:]
        lines = [run([*command, "-H", everything, "--", "echo", "x"], environment, 255) for _ in rounds][1:]
        show("one server", [end for _, end, _ in one], "ms")
        show(f"all {options.servers} servers", [end for _, end, _ in whole], "ms")
        show("first line", [first for first, _, _ in lines], "ms")
        least = statistics.median(memory for _, _, memory in one)
        show("memory of a host", [(memory - least) / (options.servers - 1) for _, _, memory in whole], "KiB")
    finally:
        for server in servers:
            server.kill()
            server.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
