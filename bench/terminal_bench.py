#!/usr/bin/env python3
"""Sessions with a terminal and without a client: what their supervisors take.

    memory       RSS of the supervisor of an idle session, after different outputs at 200 columns
    screen       from the order `screen` to the whole report, in milliseconds, and its length
    sessions     RSS and PSS of --sessions empty sessions together
    wake-ups     how often the supervisors of these sessions woke up in --idle seconds, and their processor time
    output       MiB/s of lines of text through the terminal, and the processor time of the supervisor

The script is the server of the supervisors, and speaks their protocol. PSS is only known as root.

    cargo build --release && python3 bench/terminal_bench.py --landline target/release/landline

Python 3.11 or later, Linux. Everything is kept in one fresh folder, which is removed at the end, and only processes that this
script started are ended.
"""

import argparse
import os
import pathlib
import re
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time

ROWS, COLUMNS, HISTORY = 50, 200, 2000
FOREVER = 2**64 - 1
END, SCREEN = 8, 12
STARTED, STORED, EXITED, SCREEN_REPORT = 1, 8, 7, 10


def string(data):
    return struct.pack("<I", len(data)) + data


def listing(entries):
    return struct.pack("<I", len(entries)) + b"".join(map(string, entries))


class Session:
    """A supervisor and its program, `sh -c script` with a terminal."""

    def __init__(self, landline, folder, script):
        folder.mkdir(mode=0o700)
        self.socket, theirs = socket.socketpair()
        subprocess.run([landline, "supervisor"], stdin=theirs, check=True)
        theirs.close()
        self.bytes = b""
        self.stored = 0
        self.order(1, struct.pack("<H", 1) + string(b"/bin/sh") + listing([b"sh", b"-c", script.encode()])
                   + listing([b"PATH=/usr/bin:/bin", b"TERM=xterm-256color"]) + string(b"/")
                   + struct.pack("<BHH", 1, ROWS, COLUMNS) + string(b"") + struct.pack("<BB", 0, 1)
                   + string(os.fsencode(folder)) + struct.pack("<BIQQQ", 1, 65536, 64 << 20, 0, FOREVER))
        kind, content = self.report()
        assert kind == STARTED, "the program does not start"
        self.program = struct.unpack("<I", content)[0]
        stat = pathlib.Path(f"/proc/{self.program}/stat").read_text().rsplit(")", 1)[1].split()
        self.supervisor = int(stat[1])

    def order(self, kind, content=b""):
        self.socket.sendall(struct.pack("<IB", 1 + len(content), kind) + content)

    def report(self):
        """The type and the content of the next report."""
        while True:
            if len(self.bytes) >= 4:
                length = struct.unpack_from("<I", self.bytes)[0]
                if len(self.bytes) >= 4 + length:
                    frame, self.bytes = self.bytes[4:4 + length], self.bytes[4 + length:]
                    return frame[0], frame[1:]
            more = self.socket.recv(1 << 20)
            assert more, "the supervisor is gone"
            self.bytes += more

    def wait_for(self, wanted):
        while True:
            kind, content = self.report()
            if kind == wanted:
                return content

    def wait_for_output(self, length):
        while self.stored < length:
            content = self.wait_for(STORED)
            if content[0] == 1:
                self.stored = struct.unpack_from("<Q", content, 1)[0]

    def screen(self, history):
        """How long the screen takes, and how long it is."""
        begin = time.perf_counter()
        self.order(SCREEN, struct.pack("<HHI", ROWS, COLUMNS, history))
        content = self.wait_for(SCREEN_REPORT)
        return time.perf_counter() - begin, len(content) - 9

    def end(self):
        self.order(END, struct.pack("<I", 100))
        self.wait_for(EXITED)
        self.socket.close()

    def status(self, field):
        text = pathlib.Path(f"/proc/{self.supervisor}/status").read_text()
        return int(re.search(rf"^{field}:\s*(\d+)", text, re.MULTILINE)[1])

    def processor_time(self):
        stat = pathlib.Path(f"/proc/{self.supervisor}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def proportional(self):
        try:
            text = pathlib.Path(f"/proc/{self.supervisor}/smaps_rollup").read_text()
        except OSError:
            return None
        return int(re.search(r"^Pss:\s*(\d+)", text, re.MULTILINE)[1])


def outputs():
    """What fills the history and the screen, by name."""
    lines = range(HISTORY + ROWS + 10)
    yield "nothing", b""
    yield "plain text", b"".join(b"%06d " % line + b"x" * 193 + b"\r\n" for line in lines)
    words = b"".join(b"\x1b[3%dmword\x1b[m " % (word % 8) for word in range(40))
    yield "a color for each word", b"".join(words[:-1] + b"\r\n" for _ in lines)
    yield "a color for each character", b"".join(
        b"".join(b"\x1b[38;2;%d;%d;%dmX" % (line % 256, column, (line + column) % 256) for column in range(COLUMNS))
        + b"\r\n" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landline", default="target/dist/landline")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    landline = os.path.abspath(options.landline)
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-terminal-"))
    sessions = []

    def session(script):
        sessions.append(Session(landline, work / f"job{len(sessions)}", script))
        return sessions[-1]

    try:
        for name, output in outputs():
            file = work / "output"
            file.write_bytes(output)
            one = session(f"stty raw; cat {file}; exec sleep 100000")
            one.wait_for_output(len(output))
            screens = []
            for history in (200, HISTORY):
                rounds = [one.screen(history) for _ in range(options.rounds)]
                times = [1000 * seconds for seconds, _ in rounds]
                screens.append(f"{statistics.median(times):.1f} ms, {rounds[0][1] / 1024:.0f} KiB")
            memory = one.status("VmRSS") / 1024
            print(f"{name}: {memory:.1f} MiB; screen with 200 lines {screens[0]}, with {HISTORY} {screens[1]}", flush=True)
            one.end()
        count = 64 << 20
        flood = session(f"stty raw; read line; head -c {count} /dev/zero | tr '\\0' x | fold -w 79; exec sleep 100000")
        flood.order(2, struct.pack("<Q", 0) + b"\n")
        begin = time.perf_counter()
        flood.wait_for_output(count + count // 79)
        seconds = time.perf_counter() - begin
        share = flood.processor_time() / seconds
        print(f"output: {count / seconds / (1 << 20):.0f} MiB/s, {100 * share:.0f} % of a processor in the supervisor", flush=True)
        flood.end()
        empty = [session("exec sleep 100000") for _ in range(options.sessions)]
        time.sleep(1)
        resident = sum(one.status("VmRSS") for one in empty) / 1024
        proportional = [one.proportional() for one in empty]
        if None in proportional:
            proportional = "unknown"
        else:
            proportional = f"{sum(proportional) / 1024:.0f} MiB"
        print(f"{len(empty)} empty sessions: RSS {resident:.0f} MiB, PSS {proportional}", flush=True)
        for one in empty:
            one.socket.close()
        time.sleep(1)
        switches = [one.status("voluntary_ctxt_switches") for one in empty]
        times = [one.processor_time() for one in empty]
        time.sleep(options.idle)
        woken = sum(one.status("voluntary_ctxt_switches") - before for one, before in zip(empty, switches))
        used = sum(one.processor_time() - before for one, before in zip(empty, times))
        print(f"without a server for {options.idle:.0f} s: {woken} wake-ups, {used:.2f} s of processor time", flush=True)
        for one in empty:
            os.kill(one.program, 15)
    finally:
        for one in sessions:
            one.socket.close()
        time.sleep(0.5)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
