#!/usr/bin/env python3
"""Trees over a wide-area line: 100 ms there and back, 100 Mbit/s, without loss.

    first copy   2,000 files of 4 KiB in 40 folders, to a place where nothing is: landline, tar through ssh, rsync
    unchanged    20,000 small files in 500 folders that are there already: landline, rsync

Every time is that of the whole command, with connection and login. Medians of --rounds. The line is bench/wanlink.c, as
in wan_bench.py.

    cargo build --profile dist && python3 bench/wan_tree_bench.py [--rounds 5] [--landline PATH]

Needs root, /dev/net/tun, iproute2, a C compiler, ssh, sshd, rsync and tar; Python 3.11 or later. Everything is kept in one
fresh folder in --dir, which is removed at the end, and only processes that this script started are ended.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import tempfile

from run_bench import show
from tree_bench import make_tree
from wan_bench import LIMIT_S, THERE, start_landline, start_scp, stop
from wan_run_bench import over_lines, seconds


def within(options):
    """All cases, between the namespaces that wanlink has made."""
    shared = pathlib.Path(options.dir)
    work = {name: pathlib.Path(tempfile.mkdtemp(dir=shared)) for name in ("landline", "ssh")}
    home = work["landline"] / "home"
    home.mkdir()
    binary = os.path.abspath(options.landline)
    server, env, _, _ = start_landline(work["landline"], shared / "none", binary, dict(os.environ))
    sshd = start_scp(work["ssh"], shared / "none")[0]
    ssh = ["ssh", "-i", work["ssh"] / "user_key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"]
    ssh = shlex.join(map(str, ssh))
    few, many = work["ssh"] / "few", work["ssh"] / "many"
    for number in range(2_000):
        folder = few / str(number % 40)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(os.urandom(4096))
    make_tree(many, 20_000, 500, 400)

    def commands(tree, target):
        return {
            "landline": [binary, "--state", work["landline"] / "client", "cp", "-q", "-rT", tree, f"{THERE}:{target}"],
            "tar | ssh tar": ["sh", "-c", f"tar -C {tree} -cf - . | {ssh} {THERE} 'mkdir {target} && tar -C {target} -xf -'"],
            "rsync -a": ["rsync", "-a", "-e", ssh, f"{tree}/", f"{THERE}:{target}/"],
        }

    try:
        first = {name: [] for name in commands(few, home)}
        for number in range(options.rounds):
            for name in first:
                target = home / f"few{number}{name.split()[0]}"
                first[name].append(seconds(commands(few, target)[name], env))
        for name, times in first.items():
            show("first copy, " + name, times, "s", float)
        for name in ("landline", "rsync -a"):
            command = commands(many, home / f"many-{name.split()[0]}")[name]
            seconds(command, env)
            show("unchanged, " + name, [seconds(command, env) for _ in range(options.rounds)], "s", float)
    finally:
        for process in (server, sshd):
            stop(process)
        for folder in work.values():
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    over_lines(__file__, within, ("0",), parser, lambda options: LIMIT_S + 60 * options.rounds)


if __name__ == "__main__":
    main()
