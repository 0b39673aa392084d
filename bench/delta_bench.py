#!/usr/bin/env python3
"""A large file of which a part has changed: `landline cp` and `rsync -a --no-whole-file` through ssh.

    changed   --changes runs of 1 MiB differ
    inserted  one byte was inserted at the front

The line is a veth pair between two network namespaces, which `tc` limits to --mbit both ways. Measured, in alternation, medians over
--rounds: the time of the whole command and of a `sync` of the target, and the bytes on the wire both ways, as the kernel counts them.
After each copy both files are compared. landline copies up and down, rsync up.

    cargo build --profile dist && sudo python3 bench/delta_bench.py [--size 4GiB] [--changes 40] [--mbit 1000] [--rounds 3]
                                       [--only changed inserted] [--landline PATH]

Needs root, iproute2 with tc, sshd, ssh and rsync; Python 3.11 or later. Everything is kept in one fresh folder in --dir, which is removed at
the end, and only processes and namespaces that this script made are ended.
"""

import argparse
import filecmp
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import time

from resume_bench import parse_size
from wan_bench import FAR, NEAR, THERE, inside, run, start_landline, start_scp, stop

HERE = "10.77.0.1"
MIB = 1 << 20
CASES = ("changed", "inserted")


def make_line(mbit):
    """Two namespaces, and a line of this rate between them."""
    for name, address, device in ((NEAR, HERE, "line-a"), (FAR, THERE, "line-b")):
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(inside(name, ["ip", "link", "set", "lo", "up"]), check=True)
    subprocess.run(["ip", "link", "add", "line-a", "netns", NEAR, "type", "veth", "peer", "name", "line-b", "netns", FAR], check=True)
    for name, address, device in ((NEAR, HERE, "line-a"), (FAR, THERE, "line-b")):
        subprocess.run(inside(name, ["ip", "address", "add", f"{address}/24", "dev", device]), check=True)
        subprocess.run(inside(name, ["ip", "link", "set", device, "up"]), check=True)
        limit = ["tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "50ms"]
        subprocess.run(inside(name, limit), check=True)


def remove_line():
    for name in (NEAR, FAR):
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def carried():
    """The bytes that the line has carried both ways."""
    folder = "/sys/class/net/line-a/statistics"
    # The files of a namespace are seen in one that was entered with its own /sys.
    return sum(map(int, run(NEAR, ["cat", f"{folder}/rx_bytes", f"{folder}/tx_bytes"]).split()))


def write_random(path, size):
    with open(path, "wb") as file:
        for _ in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size)))


def change(path, changes, seed):
    """Overwrites runs of 1 MiB at places that do not overlap."""
    size = os.path.getsize(path)
    source = random.Random(seed)
    with open(path, "r+b") as file:
        for slot in sorted(source.sample(range(size // (2 * MIB)), changes)):
            file.seek(slot * 2 * MIB + source.randrange(MIB))
            file.write(source.randbytes(MIB))


def insert(old, new):
    with open(old, "rb") as source, open(new, "wb") as target:
        target.write(b"x")
        shutil.copyfileobj(source, target, MIB)


def measure(command, env, old, new, target):
    """Restores the old file, and copies the new one over it. Returns seconds and bytes."""
    shutil.copyfile(old, target)
    os.sync()
    before, start = carried(), time.monotonic()
    run(NEAR, command, env)
    subprocess.run(["sync", "-f", target], check=True)
    seconds = time.monotonic() - start
    moved = carried() - before
    if not filecmp.cmp(new, target, shallow=False):
        raise SystemExit(f"{command}: the copy differs")
    return seconds, moved


def rounds(work, options):
    home = work / "home"
    home.mkdir()
    old, new = work / "old", work / "new"
    write_random(old, options.size)
    binary = os.path.abspath(options.landline)
    server, env, up, down = start_landline(work, new, binary, dict(os.environ))
    sshd = None
    try:
        sshd, _, scp, _ = start_scp(work, new)
        ssh = " ".join(map(str, ["ssh", *scp[2:scp.index("-o")], *scp[scp.index("-o"):-2]]))
        rsync = ["rsync", "-a", "--no-whole-file", "-I", "-e", ssh, new, f"{THERE}:{home}/copy"]
        there = home / "there"
        cases = {"landline up": (up, env, home / "copy"), "landline down": (down, env, work / "copy"), "rsync up": (rsync, None, home / "copy")}
        for what in options.only:
            if what == "changed":
                shutil.copyfile(old, new)
                change(new, options.changes, 1)
            else:
                insert(old, new)
            there.unlink(missing_ok=True)
            os.link(new, there)
            found = {name: [] for name in cases}
            names = list(cases)
            for number in range(options.rounds):
                for name in names[number % len(names):] + names[: number % len(names)]:
                    found[name].append(measure(*cases[name][:2], old, new, cases[name][2]))
            rsync_time = statistics.median(seconds for seconds, _ in found["rsync up"])
            for name, results in found.items():
                seconds = statistics.median(seconds for seconds, _ in results)
                moved = statistics.median(moved for _, moved in results)
                print(f"{what:<9} {name:<14} {seconds:8.2f} s  {seconds / rsync_time:5.2f} of rsync  {moved / MIB:10.2f} MiB on the wire"
                      f"  {100 * moved / options.size:6.2f} % of the file", flush=True)
    finally:
        stop(server)
        if sshd:
            stop(sshd)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=parse_size, default=4 << 30)
    options.add_argument("--changes", type=int, default=40)
    options.add_argument("--mbit", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=CASES, nargs="+", default=CASES)
    options.add_argument("--landline", default="target/dist/landline")
    options.add_argument("--dir", default=".")
    options = options.parse_args()
    if os.geteuid() or not shutil.which("tc"):
        raise SystemExit("this needs root and iproute2 with tc")
    if options.changes > options.size // (2 * MIB):
        raise SystemExit("more changes than the file has room for")
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-delta-", dir=options.dir)).absolute()
    try:
        make_line(options.mbit)
        rounds(work, options)
    finally:
        remove_line()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
