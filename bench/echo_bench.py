#!/usr/bin/env python3
"""Echo with landline-socketserver and with its peers, and compare them.

What is measured, on loopback, in one run; each round runs all cases, beginning with the next one; medians:

    tcp      `tasks` on one thread, a plain C epoll loop, Python's ThreadingTCPServer: 64 bytes, 64 connections, 1 and 32 in flight on
             each
    framed   `tasks` with landline's frames through the codec seam, 32 in flight
    udp      `inline` (recvmmsg and sendmmsg), a C loop by the same calls, Python's UDPServer: 64 bytes, 16 sockets, 1 and 8 in flight
    idle     memory of the server's own for each of --idle connections that do nothing (RssAnon; the system's is not in it)
    churn    connects and disconnects a second, and the descriptors the server has left after them

How to run it (gcc, Python 3.11 or later, Linux; nothing to install):

    cargo build --release -p landline-socketserver --example benchmark
    python3 bench/echo_bench.py                     # 3 rounds of 2 s a case
    python3 bench/echo_bench.py --rounds 1 --ms 200 --idle 1000

The client is a C program, the same for all, so that it is as light as can be. What counts is the server's processor time for a request
(user and system, all its threads, by the process's own clock), which the client cannot hide; the throughput is that of
client and server sharing the machine.
"""

import argparse
import contextlib
import os
import pathlib
import re
import resource
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


class Failure(Exception):
    pass


def compile_c(name, folder):
    program = folder / name
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "echo" / f"{name}.c"], check=True)
    return program


class Server:
    """A server under measurement, which prints its address first."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.port = self.process.stdout.readline().strip().rpartition(":")[2]
        if not self.port:
            raise Failure(f"{command[0]} did not start")

    def cpu_ns(self):
        # The clock of another process, clock_getcpuclockid(3): all its threads, those that have ended too.
        return time.clock_gettime_ns(~self.process.pid << 3 | 2)

    def own_memory(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^RssAnon:\s*(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.kill()
        self.process.wait()


def measure(load, server, kind, connections, depth, size, ms):
    """Nanoseconds of the server's processor time for a request, and requests a second."""
    before = server.cpu_ns()
    command = [load, kind, server.port, connections, depth, size, ms]
    output = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    answers, seconds = output.split()
    if int(answers) == 0:
        raise Failure(f"no answers to {command}")
    return (server.cpu_ns() - before) / int(answers), int(answers) / float(seconds)


def cases(programs, example):
    python = ("python3", HERE / "echo" / "python_echo.py")
    for depth in (1, 32):
        yield f"tcp {depth} landline", (example, "tcp"), "tcp", 64, depth
        yield f"tcp {depth} c", (programs["epoll_echo"],), "tcp", 64, depth
        yield f"tcp {depth} python", (*python, "tcp"), "tcp", 64, depth
    yield "framed 32 landline", (example, "framed"), "framed", 64, 32
    for depth in (1, 8):
        yield f"udp {depth} landline", (example, "udp"), "udp", 16, depth
        yield f"udp {depth} c", (programs["batch_echo"],), "udp", 16, depth
        yield f"udp {depth} python", (*python, "udp"), "udp", 16, depth


def idle(load, example, connections):
    """Bytes of the server's own for an idle connection."""
    server = Server(example, "tcp")
    try:
        # One at first, so that what is made once is not counted.
        measure(load, server, "tcp", 1, 1, 64, 50)
        before = server.own_memory()
        holder = subprocess.Popen([str(load), "hold", server.port, str(connections), "0", "0", "60000"], stdout=subprocess.PIPE)
        try:
            if holder.stdout.readline().strip() != b"held":
                raise Failure("the idle connections could not be made")
            base = server.descriptors()
            while server.descriptors() < connections:
                base = server.descriptors()
            if base < connections // 2:
                raise Failure("the server did not take the connections")
            return (server.own_memory() - before) / connections
        finally:
            holder.kill()
            holder.wait()
    finally:
        server.stop()


def churn(load, example, size, ms):
    """Connects and disconnects a second, and descriptors left over."""
    server = Server(example, "tcp")
    try:
        measure(load, server, "tcp", 1, 1, 64, 50)
        before = server.descriptors()
        _, rate = measure(load, server, "churn", 0, 0, size, ms)
        # A connection begun after the last one: when it is answered, those before have been seen to end.
        for _ in range(100):
            measure(load, server, "tcp", 1, 1, 64, 10)
            if server.descriptors() <= before:
                break
        return rate, server.descriptors() - before
    finally:
        server.stop()


def ratio(name, found, wanted, at_most):
    met = found <= wanted if at_most else found >= wanted
    print(f"  {name:<58} {found:6.2f}  ({'at most' if at_most else 'at least'} {wanted}: {'met' if met else 'MISSED'})")


def report(results):
    cpu = {name: statistics.median(value[0] for value in values) for name, values in results.items()}
    rate = {name: statistics.median(value[1] for value in values) for name, values in results.items()}
    print(f"{'case':<22}{'server ns/request':>20}{'min..max':>18}{'requests/s':>14}")
    for name, values in results.items():
        span = f"{min(value[0] for value in values):.0f}..{max(value[0] for value in values):.0f}"
        print(f"{name:<22}{cpu[name]:>20.0f}{span:>18}{rate[name]:>14.0f}")
    print("landline against")
    ratio("C, TCP, 1 in flight: time for a request", cpu["tcp 1 landline"] / cpu["tcp 1 c"], 1.25, True)
    ratio("C, TCP, 32 in flight: time for a request", cpu["tcp 32 landline"] / cpu["tcp 32 c"], 1.5, True)
    ratio("Python, TCP, 32 in flight: throughput", rate["tcp 32 landline"] / rate["tcp 32 python"], 5, False)
    ratio("itself unframed, 32 in flight: throughput", rate["framed 32 landline"] / rate["tcp 32 landline"], 0.6, False)
    for depth in (1, 8):
        ratio(f"C, UDP, {depth} in flight: time for a request", cpu[f"udp {depth} landline"] / cpu[f"udp {depth} c"], 1.25, True)
        ratio(f"Python, UDP, {depth} in flight: throughput", rate[f"udp {depth} landline"] / rate[f"udp {depth} python"], 2, False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ms", type=int, default=2000, help="milliseconds for each case")
    parser.add_argument("--idle", type=int, default=20_000, help="idle connections")
    parser.add_argument("--example", default=ROOT / "target/release/examples/benchmark")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError):  # more than the hard limit is for root, and not everywhere
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.idle + 1000, max(hard, options.idle + 1000)))
        hard = max(hard, options.idle + 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and options.idle > hard - 100:
        options.idle = hard - 100
        print(f"only {options.idle} idle connections: the system allows {hard} descriptors")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        programs = {name: compile_c(name, folder) for name in ("epoll_echo", "batch_echo", "load")}
        load = programs["load"]
        all_cases = list(cases(programs, options.example))
        results = {name: [] for name, *_ in all_cases}
        for turn in range(options.rounds):
            for at in range(len(all_cases)):
                name, command, kind, connections, depth = all_cases[(at + turn) % len(all_cases)]
                server = Server(*command)
                try:
                    measure(load, server, kind, connections, depth, 64, 100)
                    results[name].append(measure(load, server, kind, connections, depth, 64, options.ms))
                finally:
                    server.stop()
        report(results)
        each = idle(load, options.example, options.idle)
        ratio(f"memory of each of {options.idle} idle connections, KiB", each / 1024, 4, True)
        rate, left = churn(load, options.example, 0, options.ms)
        ratio("connects and disconnects a second, thousands", rate / 1000, 10, False)
        ratio("descriptors left after them", left, 0, True)


if __name__ == "__main__":
    main()
