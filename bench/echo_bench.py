#!/usr/bin/env python3
"""Echo with landline-socketserver and with its peers, and compare them.

What is measured, on loopback, in one run; each of ten rounds runs all cases, beginning with the next one; medians:

    tcp      `tasks` on one thread, a plain C epoll loop, Python's ThreadingTCPServer: 64 bytes, 64 connections, 1 and 32 in flight on
             each; with 1 in flight also with the client on the server's core
    framed   `tasks` with landline's frames through the codec seam, 32 in flight
    udp      `inline` (recvmmsg and sendmmsg), a C loop by the same calls, Python's UDPServer: 64 bytes, 16 sockets, 1 and 8 in flight
    idle     memory of the server's own for each of --idle connections that do nothing (RssAnon; the system's is not in it)
    churn    connects and disconnects a second, and the descriptors the server has left after them

How to run it (gcc, Python 3.11 or later, Linux; nothing to install):

    cargo build --release -p landline-socketserver --example benchmark
    python3 bench/echo_bench.py                     # 10 rounds of 1 s a case
    python3 bench/echo_bench.py --rounds 1 --ms 200 --idle 1000

The client is a C program, the same for all, so that it is as light as can be. What counts is the server's processor time for a request
(user and system, all its threads, by the process's own clock), which the client cannot hide; the throughput is that of
client and server sharing the machine. A ratio is the median of the ratios of the rounds.

Server and client have a core each. Left to the scheduler, they share one or not, and that alone changes the time for a request by a
factor of two: a write to a connection also does the work of the receiver's kernel, and wakes it if it is on another core.
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


# Where the client runs: on a core of its own, or on the server's.
APART, TOGETHER = "apart", "together"


def on_core(place, is_client=False):
    """What places a process on a core, before it starts."""
    cores = sorted(os.sched_getaffinity(0))
    core = cores[min(1, len(cores) - 1)] if is_client and place == APART else cores[0]
    return lambda: os.sched_setaffinity(0, {core})


def compile_c(name, folder):
    program = folder / name
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "echo" / f"{name}.c"], check=True)
    return program


class Server:
    """A server under measurement, which prints its address first."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, preexec_fn=on_core(APART))
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


def measure(load, server, kind, connections, depth, size, ms, place=APART):
    """Nanoseconds of the server's processor time for a request, and requests a second."""
    before = server.cpu_ns()
    command = [load, kind, server.port, connections, depth, size, ms]
    output = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True,
                            preexec_fn=on_core(place, is_client=True)).stdout
    answers, seconds = output.split()
    if int(answers) == 0:
        raise Failure(f"no answers to {command}")
    return (server.cpu_ns() - before) / int(answers), int(answers) / float(seconds)


def cases(programs, example):
    python = ("python3", HERE / "echo" / "python_echo.py")
    tcp = {"landline": (example, "tcp"), "c": (programs["epoll_echo"],), "python": (*python, "tcp")}
    udp = {"landline": (example, "udp"), "c": (programs["batch_echo"],), "python": (*python, "udp")}
    for depth, place in ((1, APART), (1, TOGETHER), (32, APART)):
        for name, command in tcp.items():
            yield f"tcp {depth} {place} {name}", command, "tcp", 64, depth, place
    yield "framed 32 apart landline", (example, "framed"), "framed", 64, 32, APART
    for depth in (1, 8):
        for name, command in udp.items():
            yield f"udp {depth} apart {name}", command, "udp", 16, depth, APART


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
    print(f"  {name:<64} {found:6.2f}  ({'at most' if at_most else 'at least'} {wanted}: {'met' if met else 'MISSED'})")


def ratios(over, under):
    """The ratio of each round."""
    return [one / other for one, other in zip(over, under, strict=True)]


def compare(what, over, under, wanted, at_most):
    """The median of the ratios, and their range."""
    found = ratios(over, under)
    ratio(f"{what} ({min(found):.2f}..{max(found):.2f})", statistics.median(found), wanted, at_most)


def report(results):
    cpu = {name: [value[0] for value in values] for name, values in results.items()}
    rate = {name: [value[1] for value in values] for name, values in results.items()}
    print(f"{'case':<28}{'server ns/request':>20}{'min..max':>18}{'requests/s':>14}")
    for name in results:
        span = f"{min(cpu[name]):.0f}..{max(cpu[name]):.0f}"
        print(f"{name:<28}{statistics.median(cpu[name]):>20.0f}{span:>18}{statistics.median(rate[name]):>14.0f}")
    print("landline's time for a request against")
    for case, wanted in (("tcp 1 apart", 1.25), ("tcp 1 together", 1.25), ("tcp 32 apart", 1.5), ("udp 1 apart", 1.25),
                         ("udp 8 apart", 1.25)):
        compare(f"C, {case}", cpu[f"{case} landline"], cpu[f"{case} c"], wanted, True)
    print("Python's time for a request against landline's, and against C's")
    for case, wanted in (("tcp 1 apart", 2), ("tcp 32 apart", 5), ("udp 1 apart", 2), ("udp 8 apart", 2)):
        python = cpu[f"{case} python"]
        of_c = statistics.median(ratios(python, cpu[f"{case} c"]))
        compare(f"{case}, C {of_c:.2f}", python, cpu[f"{case} landline"], wanted, False)
    print("landline's throughput against")
    compare("itself unframed, 32 in flight", rate["framed 32 apart landline"], rate["tcp 32 apart landline"], 0.6, False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ms", type=int, default=1000, help="milliseconds for each case")
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
                name, command, kind, connections, depth, place = all_cases[(at + turn) % len(all_cases)]
                server = Server(*command)
                try:
                    measure(load, server, kind, connections, depth, 64, 100, place)
                    results[name].append(measure(load, server, kind, connections, depth, 64, options.ms, place))
                finally:
                    server.stop()
        report(results)
        print(f"other work on the machine, at the end: load {os.getloadavg()[0]:.1f}")
        each = idle(load, options.example, options.idle)
        ratio(f"memory of each of {options.idle} idle connections, KiB", each / 1024, 4, True)
        rate, left = churn(load, options.example, 0, options.ms)
        ratio("connects and disconnects a second, thousands", rate / 1000, 10, False)
        ratio("descriptors left after them", left, 0, True)


if __name__ == "__main__":
    main()
