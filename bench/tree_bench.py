#!/usr/bin/env python3
"""Trees of small files: landline, tar through ssh, rsync and scp, in alternation, on loopback.

    first copy   a tree of --files files (150 MB with 20,000) in --folders folders, to a place where nothing is
    unchanged    the same command again, with landline and rsync

Each round and tool has a fresh ext4 of its own on a loop device: a deleted inode makes later ones slow. Every time
includes `sync -f` of the target. Medians of --rounds. The peak memory (VmHWM) is that of landline's client and server, over
all rounds. Files of --longest 0 bytes show it for a million files, in --folders 1 for one folder of a million names.

    cargo build --release && sudo python3 bench/tree_bench.py [--files 20000] [--rounds 5] [--landline PATH]
    sudo python3 bench/tree_bench.py --files 1000000 --longest 0 --rounds 1 --only landline,rsync

Python 3.11 or later; root, sshd, ssh, rsync, scp, tar and mkfs.ext4 are needed. Everything is kept in one fresh folder,
which is removed at the end, and only processes that this script started are ended.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

from run_bench import free_port, show, start_sshd


def make_tree(root, files, folders, longest, seed=1):
    source = random.Random(seed)
    for number in range(files):
        folder = root / f"d{number % folders // 20}" / f"e{number % folders}"
        folder.mkdir(parents=True, exist_ok=True)
        length = min(int(source.paretovariate(1.2) * 1500), longest)
        (folder / f"f{number}").write_bytes(source.randbytes(length))


class FreshDisk:
    """An ext4 that was just made, on a loop device."""

    def __init__(self, work, megabytes):
        self.image, self.place = work / "disk.img", work / "disk"
        self.place.mkdir(exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-i", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True)

    def __enter__(self):
        return self.place

    def __exit__(self, *_):
        subprocess.run(["umount", self.place], check=True)
        self.image.unlink()


def timed(command, place):
    """Seconds, and the peak memory of the command's own process in MiB."""
    start = time.monotonic()
    command = command if "&&" in command else f"exec {command}"
    process = subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.002)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    subprocess.run(["sync", "-f", place], check=True)
    return time.monotonic() - start, peak


def peak_memory(pid):
    """The peak memory of a process in MiB."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0) / 1024


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--folders", type=int, default=500)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--longest", type=int, default=400_000, help="bytes of the longest file")
    options.add_argument("--only", default="landline,tar,rsync,scp")
    options.add_argument("--landline", default="target/dist/landline")
    options = options.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-tree-"))
    binary = os.path.abspath(options.landline)
    tree = work / "tree"
    make_tree(tree, options.files, options.folders, options.longest)
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    print(f"{options.files} files, {size / 1e6:.0f} MB, {options.folders} folders")
    sshd = start_sshd(work)
    port = free_port()
    environment = {**os.environ, "LANDLINE_STATE": str(work / "client")}
    (work / "disk").mkdir()
    server = None
    try:
        state = {**os.environ, "LANDLINE_STATE": str(work / "server")}
        command = [binary, "serve", "--allow-root", "--home", work, "--listen", f"127.0.0.1:{port}"]
        server = subprocess.Popen(command, env=state, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        invite = work / "server" / "server" / "invite"
        while not invite.exists():
            time.sleep(0.05)
        join = [binary, "join", "-", "--as", "bench", "--name", "bench"]
        subprocess.run(join, env=environment, stdin=open(invite), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ssh = f"ssh -F {work}/ssh_config"
        target = work / "disk" / "copy"
        cases = {
            "landline": f"env LANDLINE_STATE={work}/client {binary} cp -q -rT {tree} bench:{target}",
            "tar | ssh tar": f"mkdir -p {target} && tar -C {tree} -cf - . | {ssh} bench tar -C {target} -xf -",
            "rsync -a": f"rsync -a -e '{ssh}' {tree}/ bench:{target}/",
            "scp -r": f"scp -q -r -F {work}/ssh_config {tree} bench:{target}",
        }
        cases = {name: command for name, command in cases.items() if name.split()[0] in options.only.split(",")}
        # The source is in the page cache for all.
        subprocess.run(["tar", "-C", tree, "-cf", "/dev/null", "."], check=True)
        first, again = {name: [] for name in cases}, {name: [] for name in cases if name in ("landline", "rsync -a")}
        names = list(cases)
        memory = []
        # An inode of 256 bytes and a block for each file.
        megabytes = max(4096, options.files * 5 // 1000)
        for number in range(options.rounds + 1):
            for name in names[number % len(names):] + names[: number % len(names)]:
                with FreshDisk(work, megabytes) as place:
                    os.sync()
                    taken, peak = timed(cases[name], place)
                    repeated, peak_again = timed(cases[name], place) if name in again else (0, 0)
                    if name == "landline":
                        memory += [peak, peak_again]
                    if number:
                        first[name].append(taken)
                        if name in again:
                            again[name].append(repeated)
                    if number == 0:
                        subprocess.run(["diff", "-r", tree, target], check=True)
        for name, times in first.items():
            show("first copy, " + name, times, "s", float)
        for name, times in again.items():
            show("unchanged, " + name, times, "ms", lambda value: value * 1000)
        if memory:
            print(f"peak memory of landline: client {max(memory):.1f} MiB, server {peak_memory(server.pid):.1f} MiB")
    finally:
        if server:
            server.terminate()
            server.wait()
        sshd.terminate()
        sshd.wait()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
