#!/usr/bin/env python3
"""Jobs of one server on loopback: what they cost, and what a server that is killed leaves behind.

    restart        the server is killed with --jobs running jobs, 5 of whose supervisors are stopped: until the next one
                   listens, and until it lists all jobs as running, in milliseconds
    process tree   `kill --tree` of a job with --processes processes: until all are gone, in milliseconds
    reader         memory of supervisor and server, of a run whose output is not read, in KiB
    output         a detached job that prints --size: its time against `head` into a pipe, and the most bytes on the disk
    reconnect      a connection that is cut while a command prints: until the next byte arrives, in milliseconds

Medians of --rounds.

    cargo build --profile dist && python3 bench/jobs_bench.py [--jobs 100] [--processes 1000] [--size 10GiB] [--rounds 5] [--landline PATH]

Python 3.11 or later, Linux. Everything is kept in one fresh folder, which is removed at the end, and only processes that this
script started are ended.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from run_bench import QUIET, free_port, parse_size

STUCK = 5
LIMIT_S = 60
JOBS_PER_USER = 25


def wait_until(holds, what):
    """Seconds until something holds."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > LIMIT_S:
            raise SystemExit(f"{what}: not within {LIMIT_S} s")
        time.sleep(0.002)
    return time.monotonic() - start


def processes_with(variable):
    """The processes whose environment has this entry."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    return 0


class Server:
    """A server with one user, and the client that is that user."""

    def __init__(self, binary, work):
        self.binary, self.work, self.port = binary, work, free_port()
        (work / "home").mkdir()
        self.environment = {**os.environ, "HOME": str(work / "home"), "LANDLINE_STATE": str(work / "client")}
        started = self.start()
        invite = pathlib.Path(started["invite_file"]).read_text()
        subprocess.run([binary, "join", "-", "--as", "bench"], input=invite, text=True, check=True,
                       env=self.environment, stdout=subprocess.DEVNULL)

    def start(self):
        command = [self.binary, "--state", self.work / "server", "serve", "--json", "--listen", f"127.0.0.1:{self.port}"]
        if os.geteuid() == 0:
            command.append("--allow-root")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        env=self.environment)
        started = json.loads(self.process.stdout.readline())
        # What it prints is of no interest, but must be read.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        return started

    def kill(self):
        self.process.kill()
        self.process.wait()

    def command(self, *words):
        return [self.binary, *words]

    def run(self, *words, environment=None):
        done = subprocess.run(self.command(*words), env=environment or self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode:
            raise SystemExit(f"{words}: {done.stderr}")
        return done.stdout

    def jobs(self, environment=None):
        lines = self.run("--json", "jobs", "127.0.0.1", environment=environment).splitlines()
        return [json.loads(line) for line in lines]

    def detach(self, *words, environment=None):
        return self.run("run", "--detach", "127.0.0.1", "--", *words, environment=environment).strip()

    def further_user(self, name):
        """The environment of another owner's client."""
        self.run("--state", str(self.work / "server"), "user", "add", name, "--role", "owner", "--exec", "any")
        invite = self.run("--state", str(self.work / "server"), "user", "invite", name, "--public-name", f"127.0.0.1:{self.port}")
        environment = {**self.environment, "LANDLINE_STATE": str(self.work / name)}
        link = next(word for word in invite.split() if word.startswith("landline:"))
        subprocess.run([self.binary, "join", "-", "--as", name], input=link, text=True, check=True, env=environment, stdout=subprocess.DEVNULL)
        return environment


def restart(server, options):
    users = [server.further_user(f"user{number}") for number in range(-(-options.jobs // JOBS_PER_USER))]
    script = "while :; do echo line; sleep 0.5; done"
    ids = []
    for number in range(options.jobs):
        user = users[number // JOBS_PER_USER]
        ids.append((server.detach("sh", "-c", script, environment=user), user))
    stuck = [parent_of(pid) for job, _ in ids[:STUCK] for pid in processes_with(f"LANDLINE_JOB={job}".encode())[:1]]

    def adopted():
        states = [job["state"] for user in users for job in server.jobs(user)]
        return states.count("running") == options.jobs - len(stuck) and states.count("silent") == len(stuck)

    listening, adopting = [], []
    for _ in range(options.rounds):
        for pid in stuck:
            os.kill(pid, signal.SIGSTOP)
        server.kill()
        start = time.monotonic()
        server.start()
        listening.append((time.monotonic() - start) * 1000)
        wait_until(adopted, "adoption")
        adopting.append((time.monotonic() - start) * 1000)
        for pid in stuck:
            os.kill(pid, signal.SIGCONT)
    print(f"restart, {options.jobs} jobs       listens after {statistics.median(listening):.0f} ms, "
          f"lists all after {statistics.median(adopting):.0f} ms")
    for job, user in ids:
        server.run("kill", "127.0.0.1", "-s", "KILL", "--tree", job, environment=user)


def process_tree(server, options):
    times = []
    for _ in range(options.rounds):
        job = server.detach("sh", "-c", f"for i in $(seq {options.processes}); do setsid sleep 1000 & done; wait")
        variable = f"LANDLINE_JOB={job}".encode()
        wait_until(lambda: len(processes_with(variable)) > options.processes, "the processes")
        start = time.monotonic()
        ending = subprocess.Popen(server.command("kill", "127.0.0.1", "-s", "KILL", "--tree", job), env=server.environment, **QUIET)
        wait_until(lambda: not processes_with(variable), "the end of the processes")
        times.append((time.monotonic() - start) * 1000)
        ending.wait()
    print(f"process tree, {options.processes}   {statistics.median(times):.0f} ms")


def reader(server, options):
    before = resident_kib(server.process.pid)
    command = server.command("run", "127.0.0.1", "--", "cat", "/dev/zero")
    client = subprocess.Popen(command, env=server.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    client.stdout.read(1)
    found = []
    wait_until(lambda: found.extend(program_of(b"cat", server)) or found, "the program")
    time.sleep(2)
    supervisor = resident_kib(parent_of(found[0]))
    print(f"reader that stopped     supervisor {supervisor} KiB, server {resident_kib(server.process.pid) - before} KiB more")
    client.kill()
    client.wait()


def program_of(name, server):
    """The processes of this name that run for the server's user, with a job."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            home = f"HOME={server.work / 'home'}".encode()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == name and home in environment and any(entry.startswith(b"LANDLINE_JOB=") for entry in environment):
            found.append(int(folder.name))
    return found


def folder_bytes(folder):
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            pass
    return total


def output(server, options):
    piped, stored, most = [], [], 0
    for _ in range(options.rounds):
        start = time.monotonic()
        subprocess.run(f"head -c {options.size} /dev/zero | cat > /dev/null", shell=True, check=True)
        piped.append(time.monotonic() - start)
        start = time.monotonic()
        job = server.detach("head", "-c", str(options.size), "/dev/zero")
        waiting = subprocess.Popen(server.command("wait", "127.0.0.1", job), env=server.environment, **QUIET)
        while waiting.poll() is None:
            most = max(most, folder_bytes(server.work / "server"))
            time.sleep(0.05)
        stored.append(time.monotonic() - start)
        server.run("jobs", "127.0.0.1", "--forget", job)
    print(f"output of {options.size >> 20} MiB    {statistics.median(stored):.2f} s, into a pipe {statistics.median(piped):.2f} s, "
          f"at most {most >> 20} MiB on the disk")


class Cut:
    """Passes connections on, until they are cut."""

    def __init__(self, port):
        self.port, self.sockets = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.port))
            self.sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(source, target), daemon=True).start()

    @staticmethod
    def carry(source, target):
        try:
            while part := source.recv(65536):
                target.sendall(part)
        except OSError:
            pass

    def cut(self):
        cut, self.sockets = self.sockets, []
        for each in cut:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
            each.close()


def reconnect(server, options):
    cut = Cut(server.port)
    near = cut.listener.getsockname()[1]
    text = (server.work / "client" / "client" / "servers.json").read_text()
    (server.work / "client" / "client" / "servers.json").write_text(text.replace(f'"port": {server.port}', f'"port": {near}'))
    script = "import time\nwhile True: print(time.monotonic(), flush=True); time.sleep(0.001)"
    client = subprocess.Popen(server.command("run", "127.0.0.1", "--", "python3", "-c", script), env=server.environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    times = []
    for _ in range(4 * options.rounds):
        for _ in range(200):
            client.stdout.readline()
        at = time.monotonic()
        cut.cut()
        while float(client.stdout.readline()) < at:
            pass
        times.append((time.monotonic() - at) * 1000)
    client.kill()
    client.wait()
    (server.work / "client" / "client" / "servers.json").write_text(text)
    print(f"reconnect               {statistics.median(times):.0f} ms ({min(times):.0f}..{max(times):.0f})")


CASES = {"restart": restart, "tree": process_tree, "reader": reader, "output": output, "reconnect": reconnect}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=100)
    options.add_argument("--processes", type=int, default=1000)
    options.add_argument("--size", type=parse_size, default=10 << 30)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", default=",".join(CASES), help="comma-separated: " + ", ".join(CASES))
    options.add_argument("--landline", default="target/dist/landline")
    options = options.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-jobs-"))
    server = Server(os.path.abspath(options.landline), work)
    try:
        for name in options.only.split(","):
            CASES[name](server, options)
    finally:
        for job in server.jobs():
            if job["state"] == "running":
                server.run("kill", "127.0.0.1", "-s", "KILL", "--tree", job["job"])
        server.kill()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
