#!/usr/bin/env python3
"""One command over a wide-area line: 100 ms there and back, 100 Mbit/s, without loss and with 1 % of the packets lost.

    cold    `landline run HOST -- true` and `ssh HOST true`: a new connection each time, in milliseconds
    held    the same on a session that is held: `landline hold`, and ControlMaster of ssh

Medians of --rounds, and in parentheses the ninth tenth of them. The line is bench/wanlink.c, as in wan_bench.py.

    cargo build --profile dist && python3 bench/wan_run_bench.py [--rounds 20] [--landline PATH]

Needs root, /dev/net/tun, iproute2, a C compiler, ssh and sshd; Python 3.11 or later. Everything is kept in one fresh folder in
--dir, which is removed at the end, and only processes that this script started are ended.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from wan_bench import HERE, LIMIT_S, NEAR, THERE, inside, run, start_landline, start_scp, stop

LOSSES = ("0", "1")


def seconds(command, env):
    start = time.monotonic()
    run(NEAR, command, env)
    return time.monotonic() - start


def show(name, times):
    times = sorted(value * 1000 for value in times)
    print(f"{name:<16} {statistics.median(times):8.0f} ms   ({times[len(times) * 9 // 10]:.0f})", flush=True)


def within(options):
    """All cases, between the namespaces that wanlink has made."""
    shared = pathlib.Path(options.dir)
    work = {name: pathlib.Path(tempfile.mkdtemp(dir=shared)) for name in ("landline", "ssh")}
    (work["landline"] / "home").mkdir()
    binary = os.path.abspath(options.landline)
    server, env, _, _ = start_landline(work["landline"], shared / "none", binary, dict(os.environ))
    sshd = start_scp(work["ssh"], shared / "none")[0]
    client, held = work["landline"] / "client", work["landline"] / "held"
    shutil.copytree(client, held)
    ssh = ["ssh", "-i", work["ssh"] / "user_key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"]
    control = ["-S", work["ssh"] / "master"]
    master = None
    try:
        run(NEAR, [binary, "--state", held, "hold", THERE, "--for", "1h"], env)
        master = subprocess.Popen(list(map(str, inside(NEAR, [*ssh, *control, "-M", "-N", THERE]))), stdin=subprocess.DEVNULL)
        time.sleep(3)
        cases = {
            "landline, cold": [binary, "--state", client, "run", THERE, "--", "true"],
            "landline, held": [binary, "--state", held, "run", THERE, "--", "true"],
            "ssh, cold": [*ssh, THERE, "true"],
            "ssh, held": [*ssh, *control, THERE, "true"],
        }
        times = {name: [] for name in cases}
        for _ in range(options.rounds):
            for name, command in cases.items():
                times[name].append(seconds(command, env))
        for name, found in times.items():
            show(name, found)
    finally:
        for process in (master, server, sshd):
            if process:
                stop(process)
        # A process that holds a session ends with its server.
        for folder in work.values():
            shutil.rmtree(folder, ignore_errors=True)


def over_lines(script, within, losses, parser, limit):
    """Calls `within` of a script between two namespaces, once for each loss; `limit` gives its seconds for the options."""
    parser.add_argument("--landline", default="target/dist/landline")
    parser.add_argument("--dir", default=".")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within:
        within(options)
        return
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-wan-", dir=options.dir)).absolute()
    try:
        wanlink = work / "wanlink"
        subprocess.run(["cc", "-O2", "-o", wanlink, HERE / "wanlink.c"], check=True)
        for loss in losses:
            print(f"{loss} % of the packets lost", flush=True)
            link = [wanlink, "--delay-ms", "50", "--rate-mbit", "100", "--loss-pct", loss, "--queue-kib", "2048", "--seed", "1", "--"]
            again = [sys.executable, script, "--within", "--landline", options.landline, "--dir", str(work),
                     "--rounds", str(options.rounds)]
            done = subprocess.run([*link, *again], stdin=subprocess.DEVNULL, timeout=limit(options))
            if done.returncode:
                raise SystemExit(done.returncode)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    over_lines(__file__, within, LOSSES, parser, lambda options: LIMIT_S + 30 * options.rounds)


if __name__ == "__main__":
    main()
