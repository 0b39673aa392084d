#!/usr/bin/env python3
"""One large file over a wide-area line: 100 ms there and back, 100 Mbit/s, 1 % of the packets lost.

The line is bench/wanlink.c: two network namespaces joined by a process that delays, paces and drops packets, both ways alike. Measured in
one run, alternating, medians over --rounds, each round with a seed of its own:

    landline-up, -down         `landline cp`, which asks the kernel for BBR and uses several connections
    landline-one-up, -down     the same with --parallel 1
    landline-cubic-up, -down   a tenth of the file with cubic in its place, by a preloaded shim: the whole one would take minutes
    landline-cubic-one-up, -down   the same with --parallel 1
    scp-up, -down              scp with its default cipher and the system's own congestion control (it is printed)
    tcp-up                     a bare TCP stream with the same congestion control, neither TLS nor login nor a disk: what the kernel can do

    cargo build --profile dist && python3 bench/wan_bench.py [--bytes 100000000] [--loss 1] [--rounds 3] [--only landline,scp] [--profile]

The clock runs from starting the command to its end: connection, login and the final sync are in it. --profile prints what the kernel says
of the sending socket every 300 ms (`ss -ti`). Needs root, /dev/net/tun, iproute2 and a C compiler; Python 3.11 or later. Everything is kept in one fresh
folder in --dir, which is removed at the end, and only processes that this script started are ended.
"""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
NEAR, FAR = "wan-a", "wan-b"
THERE = "10.77.0.2"
LIMIT_S = 120  # for one copy
FAMILIES = ("landline", "landline-one", "landline-cubic", "landline-cubic-one", "scp", "tcp")

CUBIC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
static int (*real_set)(int, int, int, const void *, socklen_t);
static void cubic(int fd)
{
    if (!real_set) real_set = dlsym(RTLD_NEXT, "setsockopt");
    real_set(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}
int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    if (level == IPPROTO_TCP && name == TCP_CONGESTION) { cubic(fd); return 0; }
    if (!real_set) real_set = dlsym(RTLD_NEXT, "setsockopt");
    return real_set(fd, level, name, value, length);
}
int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    cubic(fd);
    return real(fd, address, length);
}
int listen(int fd, int backlog)
{
    int (*real)(int, int) = dlsym(RTLD_NEXT, "listen");
    cubic(fd);
    return real(fd, backlog);
}
"""

RECEIVE = """
import socket, sys
listener = socket.create_server(("10.77.0.2", 5263))
stream, left = listener.accept()[0], int(sys.argv[1])
while left:
    left -= len(stream.recv(262144))
stream.send(b"x")
"""

SEND = """
import socket, sys
stream, left = socket.create_connection(("10.77.0.2", 5263)), int(sys.argv[1])
while left:
    left -= stream.send(bytes(min(left, 262144)))
stream.recv(1)
"""

SSHD = """
Port 22
ListenAddress 10.77.0.2
HostKey {work}/host_key
AuthorizedKeysFile {work}/user_key.pub
PidFile none
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
LogLevel ERROR
"""


def inside(namespace, argv):
    return ["ip", "netns", "exec", namespace, *map(str, argv)]


def run(namespace, argv, env=None):
    """Runs something in a namespace to its end, without a terminal; what it printed."""
    done = subprocess.run(inside(namespace, argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=LIMIT_S, env=env, start_new_session=True)
    if done.returncode:
        raise SystemExit(f"{argv[:3]} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def serve(work, argv, env=None):
    """Starts a server at the far end."""
    with open(work / "server.log", "wb") as log:
        return subprocess.Popen(inside(FAR, argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)


def start_landline(work, source, binary, env, parallel="auto"):
    """A server, and the commands that copy to and from it."""
    env = {**env, "HOME": str(work / "home")}
    server = serve(work, [binary, "--state", work / "server", "serve", "--allow-root", "--listen", f"{THERE}:5263"], env)
    invite, limit = work / "server" / "server" / "invite", time.monotonic() + 15
    while not (invite.exists() and invite.read_text().endswith("\n")):
        if time.monotonic() > limit:
            stop(server)
            raise SystemExit("landline serve does not start: " + (work / "server.log").read_text())
        time.sleep(0.05)
    client = [binary, "--state", work / "client"]
    run(NEAR, [*client, "join", "--as", "bench", invite.read_text().strip()], env)
    copy = [*client, "cp", "-q", "--parallel", parallel]
    return server, env, [*copy, source, f"{THERE}:copy"], [*copy, f"{THERE}:there", work / "copy"]


def start_scp(work, source):
    """The same for scp and an sshd of its own."""
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / key], check=True)
    (work / "sshd_config").write_text(SSHD.format(work=work))
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    sshd = shutil.which("sshd", path="/usr/sbin:/sbin:" + os.environ["PATH"])
    server = serve(work, [sshd, "-D", "-e", "-f", work / "sshd_config"])
    time.sleep(1)
    scp = ["scp", "-q", "-i", work / "user_key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"]
    return (server, None, [*scp, source, f"{THERE}:{work}/home/copy"], [*scp, f"{THERE}:{work}/home/there", work / "copy"])


def stop(server):
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def sample(namespace, over):
    """Prints what the kernel says of the socket that sends much, until told to stop."""
    kept = ("cwnd", "unacked", "retrans", "busy", "rwnd_limited", "sndbuf_limited", "delivered", "notsent")
    while not over.wait(0.3):
        for line in run(namespace, ["ss", "-tinHO"]).splitlines():
            found = dict(re.findall(r"(\w+):([^ ]+)", line))
            rate = re.search(r"pacing_rate (\S+)", line)
            if int(found.get("bytes_sent", 0)) > 100_000:
                shown = " ".join(f"{name} {found[name]}" for name in kept if name in found)
                print("   ", shown, "pacing", rate and rate[1], flush=True)


def measure(command, env, target, sender, options):
    """Seconds that one copy takes."""
    if target:
        target.unlink(missing_ok=True)
    os.sync()
    over = threading.Event()
    sampler = threading.Thread(target=sample, args=(sender, over), daemon=True)
    if options.profile:
        sampler.start()
    start = time.monotonic()
    run(NEAR, command, env)
    seconds = time.monotonic() - start
    over.set()
    if target and target.stat().st_size != options.bytes:
        raise SystemExit(f"{command[0]}: the copy has {target.stat().st_size} bytes")
    return seconds


def within(family, options):
    """One family's two copies, between the namespaces that wanlink has made."""
    shared = pathlib.Path(options.dir)
    work = pathlib.Path(tempfile.mkdtemp(dir=shared))
    (work / "home").mkdir()
    os.link(shared / "source", work / "home" / "there")
    if family == "tcp":
        server = serve(work, [sys.executable, "-c", RECEIVE, options.bytes])
        time.sleep(1)
        env, up, down = None, [sys.executable, "-c", SEND, options.bytes], None
    elif family == "scp":
        server, env, up, down = start_scp(work, shared / "source")
    else:
        shim = {"LD_PRELOAD": str(shared / "cubic.so")} if "cubic" in family else {}
        parallel = "1" if family.endswith("-one") else "auto"
        server, env, up, down = start_landline(work, shared / "source", os.path.abspath(options.landline), {**os.environ, **shim}, parallel)
    try:
        stored = work / "home" / "copy" if family != "tcp" else None
        print(f"{family}-up {measure(up, env, stored, NEAR, options)}", flush=True)
        if down:
            print(f"{family}-down {measure(down, env, work / 'copy', FAR, options)}", flush=True)
    finally:
        stop(server)
        shutil.rmtree(work, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=100_000_000)
    parser.add_argument("--loss", type=float, default=1, help="percent of the packets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(FAMILIES), help="comma-separated: " + ", ".join(FAMILIES))
    parser.add_argument("--landline", default="target/dist/landline")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--dir", default=".")
    parser.add_argument("--within", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if set(options.only.split(",")) - set(FAMILIES):
        parser.error(f"--only knows {', '.join(FAMILIES)}")
    return options


def main():
    options = arguments()
    if options.within:
        within(options.within, options)
        return
    if os.geteuid() or not os.path.exists("/dev/net/tun") or not shutil.which("ip"):
        raise SystemExit("this needs root, /dev/net/tun and iproute2")
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-wan-", dir=options.dir)).absolute()
    try:
        rounds(work, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def rounds(work, options):
    wanlink = work / "wanlink"
    subprocess.run(["cc", "-O2", "-o", wanlink, HERE / "wanlink.c"], check=True)
    (work / "cubic.c").write_text(CUBIC)
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", work / "cubic.so", work / "cubic.c", "-ldl"], check=True)
    print("the system's own congestion control:", pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip())
    found = {}
    again = [sys.executable, __file__, "--landline", options.landline, "--dir", str(work)]
    for seed in range(1, options.rounds + 1):
        for family in options.only.split(","):
            link = [wanlink, "--delay-ms", "50", "--rate-mbit", "100", "--loss-pct", str(options.loss), "--queue-kib", "2048", "--seed", str(seed), "--"]
            size = options.bytes // (10 if "cubic" in family else 1)
            (work / "source").write_bytes(os.urandom(size))
            done = subprocess.run([*link, *again, "--within", family, "--bytes", str(size), *["--profile"] * options.profile],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * LIMIT_S + 60)
            print(done.stdout if options.profile else "", end="")
            if done.returncode:
                raise SystemExit(f"{family} failed: {done.stdout}{done.stderr}")
            for name, seconds in re.findall(r"^([a-z-]+) ([\d.]+)$", done.stdout, re.MULTILINE):
                found.setdefault(name, []).append(size * 8 / 1e6 / float(seconds))
                print(f"seed {seed}  {name:<20} {found[name][-1]:6.1f} Mbit/s", flush=True)
    print()
    for name, speeds in found.items():
        print(f"{name:<20} {statistics.median(speeds):6.1f} Mbit/s ({min(speeds):.1f}..{max(speeds):.1f})")


if __name__ == "__main__":
    main()
