#!/usr/bin/env python3
"""Copy one large file with landline and with its peers, and compare them.

What is measured, on the same data, on loopback, in one run:

    landline-up, -down   `landline cp` to and from `landline serve`
    curl-up, -down       `curl -T` to nginx and `curl -o` from it, over HTTPS
                         (TLS 1.3, TLS_AES_128_GCM_SHA256, P-256 certificate, one worker,
                         nginx's own buffer sizes: larger ones cost it more CPU here)
    scp-up, -down        scp to and from an sshd of its own, default cipher
    scp-aes-up, -down    the same with aes128-gcm@openssh.com
    rsync-up, -down      rsync -W (whole files, no delta) over that sshd, ssh's default cipher
    sftp-up, -down       sftp with a batch of one command, to and from that sshd, default cipher
    socat-up, -down      socat over plain TCP: neither ciphers nor checks, 256 KiB at a time
    cp                   plain `cp`: what the file system alone can do

How to run it (Python 3.11 or later, nothing to install; root or not):

    cargo build --profile dist
    python3 bench/copy_bench.py                           # 4GiB, 5 rounds and a warm-up
    python3 bench/copy_bench.py --size 256MiB --rounds 2 --only curl,cp
    python3 bench/copy_bench.py --dir /dev/shm            # leave the disk out of it

It needs twice the size in free disk space, and enough memory to keep both files cached. A peer
that is not installed is named and left out. Exit status: 0 all measured, 1 something failed or
was missing, 2 wrong usage.

Rules:

  * The clock (wall time) runs from starting the client until the data is on disk. landline syncs
    by itself; for the others this script syncs the destination file and its folder within the
    timed span. After the span the same sync is made once more, untimed, and if it still takes long,
    the run says so, since the tool would then have left work undone.
  * Before each measurement, untimed: the destination is removed, everything is synced, a short
    rest, and the source is read once, so that it comes from the page cache.
  * The source is random bytes. One warm-up round is not counted; in it the copies are compared
    with the source byte for byte, later only their sizes. Every round runs all cases, each round
    beginning with the next one.
  * CPU seconds: user and system time of the client (wait4), of the server's whole process tree
    (/proc/PID/stat, in steps of 10 ms, with the children it has waited for or has left to this
    script), and of the sync that this script made in the tool's place. Not counted for anyone:
    the kernel's threads that write to disk. CPU time that anything else used meanwhile, those
    threads included, is kept as others_cpu_s, with a warning when it is much: then the host was
    not quiet, and the measurement is worth little.
  * Peak memory: VmHWM, summed over the client's processes and over the server's (shared pages
    count once for each), read every 50 ms. The client's ru_maxrss counts only where it exceeds
    this script's own memory: up to there Linux hands it on from the parent through exec.

Everything is kept in one fresh folder in --dir, which is removed at the end, and only processes
that this script started are ended. While it runs, any local user who finds the port can send
files to nginx in that folder.
"""

import os
import sys

# This file's name hides the standard library's module `copy`, which others below import.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path = [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]

import argparse
import collections
import contextlib
import ctypes
import dataclasses
import datetime
import json
import pathlib
import platform
import pwd
import queue
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time

MIB = 1 << 20
CHUNK = 4 * MIB
TICKS = os.sysconf("SC_CLK_TCK")
ROOT = os.geteuid() == 0
CIPHER = "TLS_AES_128_GCM_SHA256"
FAMILIES = ("landline", "curl", "scp", "scp-aes", "rsync", "sftp", "socat", "cp")
SSH_FAMILIES = ("scp", "scp-aes", "rsync", "sftp")
START_LIMIT_S = 15  # for a server to answer
SETTLE_S = 0.5  # after os.sync(), before a measurement
FIRST_SAMPLE_S = 0.005  # to the first reading of the memory in use
SAMPLE_S = 0.05  # between two readings of it
SCAN_S = 0.25  # between two looks for new processes
SLOWEST = 4 * MIB  # bytes per second; a transfer slower than this is given up
BUSY_HOST = 0.25  # processors kept busy by others, above which there is a warning


class Failure(Exception):
    """One peer or case cannot be measured. The run continues without it."""


def say(text=""):
    print(text, flush=True)


# ---- processes ---------------------------------------------------------------------------------


class Interrupts:
    """Makes the first SIGINT, SIGTERM or SIGHUP raise KeyboardInterrupt, after any `held()`."""

    def __init__(self):
        self.holding = self.pending = self.over = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.arrived)

    def arrived(self, _number, _frame):
        self.pending = True
        self.deliver()

    def deliver(self):
        if self.pending and not self.holding and not self.over:
            self.over = True  # cleaning up is not to be interrupted by a second signal
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self):
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        self.deliver()

    def ignore(self):
        self.over = True


@dataclasses.dataclass
class Stat:
    """The fields of /proc/PID/stat that matter here."""

    parent: int
    cpu: float  # seconds, with those of children that ended and were waited for
    started: int  # in clock ticks; tells a process from a later one with the same id


def read_stat(pid):
    """The Stat of a process, or None when it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # from field 3 on, the state
    return Stat(int(fields[1]), sum(map(int, fields[11:15])) / TICKS, int(fields[19]))


def tree(root):
    """{pid: Stat} of a process and all its descendants."""
    stats = {int(name): read_stat(name) for name in os.listdir("/proc") if name.isdigit()}
    children = collections.defaultdict(list)
    for pid, stat in stats.items():
        if stat:
            children[stat.parent].append(pid)
    found, todo = {}, [root]
    while todo:
        pid = todo.pop()
        if stats.get(pid):
            found[pid] = stats[pid]
            todo += children[pid]
    return found


def peak_memory(pid):
    """VmHWM of a process in bytes; 0 when it is gone or has no memory any more."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"^VmHWM:\s*(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def forget_peak_memory(pid):
    """Make VmHWM start again from what is in use now."""
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def host_cpu_seconds():
    """What all processors together have spent neither idle nor waiting, stolen time included."""
    user, nice, system, _idle, _wait, *rest = map(
        int, pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS


class MemoryWatch:
    """The peak memory of a process tree, each process counted with its own peak."""

    def __init__(self, root):
        self.root, self.peaks, self.scanned = root, {}, 0.0

    def sample(self):
        if time.monotonic() - self.scanned > SCAN_S:
            for pid in tree(self.root):
                self.peaks.setdefault(pid, 0)
            self.scanned = time.monotonic()
        for pid, peak in self.peaks.items():
            self.peaks[pid] = max(peak, peak_memory(pid))

    def total(self):
        return sum(self.peaks.values())


def adopt_orphans():
    """Become the parent of descendants whose own parent ends first.

    Without it, what sshd's session processes used would be lost when sshd runs without root.
    """
    set_child_subreaper = 36
    if ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0):
        say("WARNING: no subreaper here; the CPU seconds of sshd may be too low")


def reap_orphans(started):
    """Wait for adopted processes that have ended: (their CPU seconds, how many are left)."""
    seconds, left = 0.0, 0
    for pid, stat in tree(os.getpid()).items():
        if stat.parent == os.getpid() and pid not in started:
            ended, _, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                seconds += usage.ru_utime + usage.ru_stime
            else:
                left += 1
    return seconds, left


def stop(process):
    """End a process started here, and its descendants; quiet when it has ended already."""
    family = tree(process.pid) if process.poll() is None else {}
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid, stat in family.items():
        now = read_stat(pid)
        if now and now.started == stat.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# ---- the work folder ---------------------------------------------------------------------------


class Work:
    """The one folder in which all happens, and the processes started for it."""

    def __init__(self, parent, size):
        self.interrupts = Interrupts()
        adopt_orphans()
        self.processes = []
        self.size = size
        self.parent = pathlib.Path(parent).resolve()
        self.made_parent = not self.parent.exists()
        self.parent.mkdir(parents=True, exist_ok=True)
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="landline-bench-", dir=self.parent))
        self.files = self.folder("files")  # what all servers serve, and what is copied to
        self.source = self.files / "src.bin"
        self.target = self.files / "dst.bin"

    def folder(self, name):
        path = self.root / name
        path.mkdir(mode=0o700)
        return path

    def log(self, name):
        return self.root / f"{name}.log"

    def start(self, argv, log, **options):
        """Start a process in a session of its own, its errors (and output) going to a log."""
        with open(self.log(log), "ab") as log_file, self.interrupts.held():
            try:
                process = subprocess.Popen(
                    list(map(str, argv)), stdin=subprocess.DEVNULL, stderr=log_file,
                    start_new_session=True, **{"stdout": log_file, **options})
            except OSError as error:
                raise Failure(f"{argv[0]} does not start: {error}") from None
            self.processes.append(process)
        return process

    def run(self, argv, log, **options):
        """Run something to its end; Failure unless it succeeds."""
        process = self.start(argv, log, **options)
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            raise Failure(f"{argv[0]} did not end within 60 s") from None
        if status:
            raise Failure(f"{argv[0]} ended with {status}: {self.tail(log)}")

    def tail(self, log):
        """The end of a log, for a message."""
        lines = self.log(log).read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-4:]) or "(it printed nothing)"

    def reap_orphans(self):
        return reap_orphans({process.pid for process in self.processes})

    def close(self):
        self.interrupts.ignore()
        for process in reversed(self.processes):
            stop(process)
        self.reap_orphans()
        shutil.rmtree(self.root)
        if self.made_parent:
            with contextlib.suppress(OSError):
                self.parent.rmdir()


def write_source(path, size):
    with open(path, "wb") as file:
        left = size
        while left:
            left -= file.write(os.urandom(min(CHUNK, left)))
        file.flush()
        os.fsync(file.fileno())


def read_through(path):
    buffer = bytearray(CHUNK)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def sync_file(path):
    """fsync a file and its folder."""
    for each in (path, path.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---- servers -----------------------------------------------------------------------------------


class Server:
    """A running server's process tree."""

    def __init__(self, work, process):
        self.work, self.process = work, process
        self.resident = len(tree(process.pid))  # how many processes it has when idle
        self.adopted_cpu = 0.0

    def cpu_seconds(self):
        return self.adopted_cpu + sum(stat.cpu for stat in tree(self.process.pid).values())

    def wait_idle(self):
        """Let it end what it does for the last client, such as sshd's session processes."""
        limit = time.monotonic() + 5
        time.sleep(0.1)
        while time.monotonic() < limit:
            seconds, left = self.work.reap_orphans()
            self.adopted_cpu += seconds
            if not left and len(tree(self.process.pid)) <= self.resident:
                break
            time.sleep(0.02)

    def forget_peak_memory(self):
        for pid in tree(self.process.pid):
            forget_peak_memory(pid)


def need(*programs):
    """The full paths of programs; Failure naming the ones that are missing."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = [shutil.which(program, path=path) for program in programs]
    if None in found:
        missing = [program for program, path in zip(programs, found) if not path]
        raise Failure(f"not installed: {', '.join(missing)}")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(work, process, port, log):
    limit = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < limit:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            time.sleep(0.3)  # sshd is to reap this visit before its processes are counted
            return
        time.sleep(0.05)
    raise Failure(f"the server does not answer: {work.tail(log)}")


NGINX_CONF = """
{user}
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    client_max_body_size 0;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {home}/cert.pem;
        ssl_certificate_key {home}/key.pem;
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites {cipher};
        root {files};
        location / {{ dav_methods PUT; dav_access user:rw; }}
    }}
}}
"""


def check_tls(port, certificate):
    """Failure unless nginx agrees on the protocol and the cipher that were asked for."""
    context = ssl.create_default_context(cafile=certificate)
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            if (tls.version(), tls.cipher()[0]) != ("TLSv1.3", CIPHER):
                raise Failure(f"nginx negotiated {tls.version()} {tls.cipher()[0]}")


def curl_cases(work):
    nginx, curl, openssl = need("nginx", "curl", "openssl")
    home, port = work.folder("nginx"), free_port()
    certificate = home / "cert.pem"
    work.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
              "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
              "-addext", "subjectAltName=IP:127.0.0.1",
              "-keyout", home / "key.pem", "-out", certificate], "openssl")
    conf = home / "nginx.conf"
    conf.write_text(NGINX_CONF.format(home=home, files=work.files, port=port, cipher=CIPHER,
                                      user="user root root;" if ROOT else ""))
    process = work.start([nginx, "-p", home, "-e", home / "error.log", "-c", conf], "nginx")
    wait_for_port(work, process, port, "nginx")
    check_tls(port, certificate)
    server = Server(work, process)
    url = f"https://127.0.0.1:{port}"
    common = [curl, "-q", "-sS", "--fail", "--noproxy", "*", "--cacert", certificate]
    return [
        Case("curl-up", [*common, "-T", work.source, f"{url}/{work.target.name}"], server),
        Case("curl-down", [*common, "-o", work.target, f"{url}/{work.source.name}"], server),
    ]


SSHD_CONF = """
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/user_key.pub
PidFile none
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers {user}
Subsystem sftp internal-sftp
LogLevel ERROR
"""

SSH_CONF = """
Host bench
    HostName 127.0.0.1
    Port {port}
    User {user}
    HostKeyAlias bench
    IdentityFile {home}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {home}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
"""

# As root, sshd insists on the folder /run/sshd. Where it is missing, sshd gets it in a mount
# namespace of its own, so that nothing is left behind outside the work folder.
SSHD_WITH_RUN = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'


def start_sshd(work, home, port):
    sshd, keygen = need("sshd", "ssh-keygen")
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Failure(f"user id {os.geteuid()} has no name, and sshd wants one") from None
    for name in ("host_key", "user_key"):
        work.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", home / name],
                 "ssh-keygen")
    (home / "known_hosts").write_text("bench " + (home / "host_key.pub").read_text())
    for name, text in (("sshd_config", SSHD_CONF), ("ssh_config", SSH_CONF)):
        (home / name).write_text(text.format(home=home, port=port, user=user))
    argv = [sshd, "-D", "-e", "-f", home / "sshd_config"]
    if ROOT and not os.path.isdir("/run/sshd"):
        argv = [*need("unshare"), "--mount", "sh", "-c", SSHD_WITH_RUN, "sh", *argv]
    process = work.start(argv, "sshd")
    wait_for_port(work, process, port, "sshd")
    return Server(work, process)


def ssh_commands(work, home, family):
    """One family's commands there and back, by way of sshd."""
    config = home / "ssh_config"
    if family == "rsync":
        rsync = [*need("rsync"), "-W", "-e", f"{need('ssh')[0]} -F {config}"]
        return [*rsync, work.source, f"bench:{work.target}"], [*rsync, f"bench:{work.source}", work.target]
    if family == "sftp":
        ways = []
        for way in (f"put {work.source} {work.target}", f"get {work.source} {work.target}"):
            batch = home / way.split()[0]
            batch.write_text(way + "\n")
            ways.append([*need("sftp"), "-q", "-F", config, "-b", batch, "bench"])
        return ways
    cipher = ["-c", "aes128-gcm@openssh.com"] * (family == "scp-aes")
    scp = [*need("scp"), "-q", "-F", config, *cipher]
    return [*scp, work.source, f"bench:{work.target}"], [*scp, f"bench:{work.source}", work.target]


def ssh_cases(work, families):
    home = work.folder("ssh")
    server = start_sshd(work, home, free_port())
    cases = []
    for family in SSH_FAMILIES:
        if family in families:
            try:
                up, down = ssh_commands(work, home, family)
            except Failure as failure:
                say(f"MISSING: {family}: {failure}")
                continue
            cases += [Case(f"{family}-up", up, server), Case(f"{family}-down", down, server)]
    return cases


def socat_cases(work):
    """A listener for either way; each connection is served by a child of its own."""
    program = [*need("socat"), "-b", "262144"]
    socat, servers = [*program, "-u"], {}
    for way, direction, file in (("up", "-u", f"OPEN:{work.target},creat,wronly"), ("down", "-U", f"OPEN:{work.source},rdonly")):
        port = free_port()
        process = work.start([*program, direction, f"TCP-LISTEN:{port},bind=127.0.0.1,fork", file], f"socat-{way}")
        wait_for_port(work, process, port, f"socat-{way}")
        servers[way] = Server(work, process), f"TCP:127.0.0.1:{port}"
    return [
        Case("socat-up", [*socat, f"OPEN:{work.source},rdonly", servers["up"][1]], servers["up"][0], ends_early=True),
        Case("socat-down", [*socat, servers["down"][1], f"OPEN:{work.target},creat,wronly"], servers["down"][0]),
    ]


def first_line(process, limit_s):
    """The first line of a process's output, the rest being read and dropped by a thread."""
    lines = queue.SimpleQueue()

    def drain():
        with process.stdout as output:
            lines.put(output.readline())
            while output.read1(65536):
                pass

    threading.Thread(target=drain, daemon=True).start()
    try:
        return lines.get(timeout=limit_s)
    except queue.Empty:
        return b""


def landline_cases(work, binary):
    if not os.access(binary, os.X_OK):
        raise Failure(f"there is no {binary}; build it, or name it with --landline")
    state, home = work.folder("landline-server"), work.folder("landline-client")
    process = work.start(
        [binary, "serve", "--listen", "127.0.0.1:0", "--json"] + ["--allow-root"] * ROOT,
        "landline-server", stdout=subprocess.PIPE,
        env={**os.environ, "LANDLINE_STATE": str(state), "HOME": str(work.files)})
    line = first_line(process, START_LIMIT_S)
    try:
        event = json.loads(line)
        address, invite = event["listening"], pathlib.Path(event["invite_file"]).read_text().strip()
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise Failure(f"`landline serve` began with {line!r} ({error!r}): "
                      f"{work.tail('landline-server')}") from None
    env = {**os.environ, "HOME": str(home)}
    env.pop("LANDLINE_STATE", None)
    common = [binary, "--state", home / "state"]
    work.run([*common, "join", invite, "--as", "bench"], "landline-join", env=env)
    server = Server(work, process)
    remote = f"landline://{address}"
    options = {"env": env, "syncs_itself": True}
    return [
        Case("landline-up", [*common, "cp", work.source, f"{remote}/{work.target.name}"],
             server, **options),
        Case("landline-down", [*common, "cp", f"{remote}/{work.source.name}", work.target],
             server, **options),
    ]


def cp_cases(work):
    return [Case("cp", [*need("cp"), work.source, work.target])]


# ---- measuring ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    """One way to get the file from source to target."""

    name: str
    argv: list
    server: Server | None = None
    env: dict | None = None
    syncs_itself: bool = False
    ends_early: bool = False  # the client has sent all and does not know whether it was taken
    rounds: list = dataclasses.field(default_factory=list)
    failed: bool = False


def prepare(work, case):
    """The untimed part: no destination, nothing left to write, the source in the page cache."""
    for path in work.files.iterdir():
        if work.target.name in path.name:  # also what a tool may have left half written
            path.unlink()
    os.sync()
    time.sleep(SETTLE_S)
    if case.server:
        case.server.forget_peak_memory()
    read_through(work.source)


def run_client(work, case, limit_s):
    """Run the client to its end, watching memory: (rusage, client's peak, server's peak)."""
    process = work.start(case.argv, case.name, env=case.env)
    watches = [MemoryWatch(process.pid)]
    if case.server:
        watches.append(MemoryWatch(case.server.process.pid))
    limit = time.monotonic() + limit_s
    poller = select.poll()
    ended = os.pidfd_open(process.pid)
    poller.register(ended, select.POLLIN)
    try:
        pause_s = FIRST_SAMPLE_S
        while not poller.poll(pause_s * 1000):
            pause_s = SAMPLE_S
            for watch in watches:
                watch.sample()
            if time.monotonic() > limit:
                stop(process)
                raise Failure(f"not done after {limit_s:.0f} s, given up")
    finally:
        os.close(ended)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    work.processes.remove(process)
    if process.returncode:
        raise Failure(f"ended with {process.returncode}: {work.tail(case.name)}")
    return usage, watches


def client_peak(usage, watch):
    """See the docstring on top for why ru_maxrss is not taken as it is."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    inherited = usage.ru_maxrss <= own
    return max(watch.total(), 0 if inherited else usage.ru_maxrss * 1024)


def check_copy(work, compare):
    """Failure unless the destination is what it should be."""
    size = work.target.stat().st_size if work.target.exists() else None
    if size != work.size:
        raise Failure(f"the copy has {size} bytes instead of {work.size}")
    if compare:
        done = subprocess.run(["cmp", work.source, work.target], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"the copy differs: {done.stdout or done.stderr}")


def check_synced(work, case, wall_s):
    """Sync once more, untimed: this takes no time when all is on disk. Returns its seconds."""
    if not work.target.exists():
        return 0.0
    start = time.perf_counter()
    sync_file(work.target)
    late_s = time.perf_counter() - start
    if late_s > 0.01 + 0.02 * wall_s:
        say(f"WARNING: {case.name} had not synced all: a sync afterwards took {late_s:.2f} s more")
    return late_s


def measure(work, case, compare):
    """One transfer: a dictionary of what it took."""
    prepare(work, case)
    server_cpu = case.server.cpu_seconds() if case.server else 0.0
    host_cpu = host_cpu_seconds() - time.process_time()
    start = time.perf_counter()
    usage, watches = run_client(work, case, 60 + work.size / SLOWEST)
    while case.ends_early and work.target.stat().st_size < work.size:
        time.sleep(0.001)
    command_s, sync_cpu = time.perf_counter() - start, time.thread_time()
    if not case.syncs_itself and work.target.exists():
        sync_file(work.target)
    wall_s, sync_cpu = time.perf_counter() - start, time.thread_time() - sync_cpu
    host_cpu = host_cpu_seconds() - time.process_time() - host_cpu
    late_sync_s = check_synced(work, case, wall_s)
    check_copy(work, compare)
    result = {
        "wall_s": wall_s,
        "command_s": command_s,
        "mib_per_s": work.size / MIB / wall_s,
        "client_cpu_s": usage.ru_utime + usage.ru_stime,
        "sync_cpu_s": 0.0 if case.syncs_itself else sync_cpu,
        "server_cpu_s": 0.0,
        "client_peak_mib": client_peak(usage, watches[0]) / MIB,
        "server_peak_mib": 0.0,
        "late_sync_s": late_sync_s,
    }
    if case.server:
        watches[1].sample()
        case.server.wait_idle()
        result["server_cpu_s"] = case.server.cpu_seconds() - server_cpu
        result["server_peak_mib"] = watches[1].total() / MIB
    result["cpu_s"] = sum(result[f"{part}_cpu_s"] for part in ("client", "server", "sync"))
    ours = result["cpu_s"] - result["sync_cpu_s"]  # process_time() has the sync already
    result["others_cpu_s"] = max(0.0, host_cpu - ours)
    return result


def disturbed(result):
    """Whether others used so much CPU time that it matters; ticks are too coarse below 50 ms."""
    return result["others_cpu_s"] > 0.05 + BUSY_HOST * result["wall_s"]


def run_round(work, cases, number):
    """One round over all cases that still work; round 0 is the warm-up."""
    label = f"round {number}" if number else "warm-up"
    turn = number % len(cases)
    for case in cases[turn:] + cases[:turn]:
        if case.failed:
            continue
        try:
            result = measure(work, case, compare=number == 0)
        except Failure as failure:
            case.failed = True
            say(f"{label:9} {case.name:14} FAILED, left out from here on: {failure}")
            continue
        note = f"  (others used {result['others_cpu_s']:.2f} s CPU)" if disturbed(result) else ""
        say(f"{label:9} {case.name:14} {result['mib_per_s']:8.0f} MiB/s {result['wall_s']:7.2f} s"
            f" {result['cpu_s']:7.2f} s CPU{note}")
        if number:
            case.rounds.append(result)


def collect_cases(work, options):
    """Start the servers that are asked for; (cases, whether anything is missing)."""
    wanted = options.only
    families = {family for family in FAMILIES
                if any(name in wanted for name in (family, f"{family}-up", f"{family}-down"))}
    makers = [
        ({"landline"}, lambda: landline_cases(work, options.landline)),
        ({"curl"}, lambda: curl_cases(work)),
        (set(SSH_FAMILIES), lambda: ssh_cases(work, families)),
        ({"socat"}, lambda: socat_cases(work)),
        ({"cp"}, lambda: cp_cases(work)),
    ]
    cases, missing = [], False
    for made, maker in makers:
        if made & families:
            try:
                cases += maker()
            except Failure as failure:
                missing = True
                say(f"MISSING: {', '.join(sorted(made & families))}: {failure}")
    family_of = {case.name: re.sub("-(up|down)$", "", case.name) for case in cases}
    return [c for c in cases if {c.name, family_of[c.name]} & wanted], missing


# ---- reporting ---------------------------------------------------------------------------------


def summarize(cases):
    """{name: medians, extremes, ratios to landline and all rounds} of what was measured."""
    summary = {}
    for case in cases:
        if case.rounds:
            medians = {key: statistics.median(each[key] for each in case.rounds)
                       for key in case.rounds[0]}
            speeds = [each["mib_per_s"] for each in case.rounds]
            summary[case.name] = {
                "median": medians, "min_mib_per_s": min(speeds), "max_mib_per_s": max(speeds),
                "landline_over_this": {}, "failed": case.failed, "rounds": case.rounds}
    for name, entry in summary.items():
        for way in ("up", "down"):
            ours = summary.get(f"landline-{way}")
            if ours and (name == "cp" or name.endswith(way)):
                entry["landline_over_this"][way] = (
                    ours["median"]["mib_per_s"] / entry["median"]["mib_per_s"])
    return summary


def print_table(summary):
    say()
    say(f"{'':14} {'MiB/s':>7} {'min..max':>13} {'CPU s':>7} {'client+server+sync':>19}"
        f" {'peak MiB':>9} {'client+server':>14}  landline/this")
    for name, entry in summary.items():
        median = entry["median"]
        spread = f"{entry['min_mib_per_s']:.0f}..{entry['max_mib_per_s']:.0f}"
        cpu = "+".join(f"{median[f'{part}_cpu_s']:.2f}" for part in ("client", "server", "sync"))
        peaks = median["client_peak_mib"], median["server_peak_mib"]
        ratios = entry["landline_over_this"]
        ratio = ", ".join(f"{ratios[way]:.2f}" + (f" {way}" if len(ratios) > 1 else "")
                          for way in ratios)
        say(f"{name:14} {median['mib_per_s']:7.0f} {spread:>13} {median['cpu_s']:7.2f} {cpu:>19}"
            f" {sum(peaks):9.1f} {peaks[0]:6.1f}+{peaks[1]:<7.1f}  {ratio or '-'}"
            + f"  FAILED after {len(entry['rounds'])} rounds" * entry["failed"])
    say()
    say("Medians over the rounds. landline/this: throughput of landline in the same direction"
        " over this one's;")
    say("above 1, landline is faster. Sync CPU is that of the fsync made for tools that make none.")
    flags = [disturbed(each) for entry in summary.values() for each in entry["rounds"]]
    if any(flags):
        say(f"WARNING: during {sum(flags)} of {len(flags)} measurements others kept more than"
            f" {BUSY_HOST} processors busy.")


BAR = 22  # height of a row in the picture
COLORS = {"up": "#2f6fb5", "down": "#7fb2e5"}


def write_svg(path, summary, about):
    """Two rows of bars: throughput, and processor seconds for each GiB."""
    width, left, chart = 900, 130, 330
    gib = about["size"] / (1 << 30)
    columns = (("MiB/s, longer is better", lambda entry: entry["median"]["mib_per_s"]),
               ("CPU seconds per GiB, both sides, shorter is better", lambda entry: entry["median"]["cpu_s"] / gib))
    height = 96 + BAR * len(summary)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="17" font-weight="bold">One file of {gib:g} GiB over loopback, on disk and synced</text>',
        f'<text x="16" y="46" fill="#555">medians of {about["rounds"]} rounds, {about["processors"]} processors, Linux {about["kernel"]}, {about["date"][:10]}</text>']
    for column, (title, value) in enumerate(columns):
        start = left + column * (chart + 60)
        largest = max(value(entry) for entry in summary.values())
        lines.append(f'<text x="{start}" y="72" fill="#333">{title}</text>')
        for row, (name, entry) in enumerate(summary.items()):
            top, length = 82 + row * BAR, (chart - 70) * value(entry) / largest
            color = "#999999" if name == "cp" else COLORS["up" if name.endswith("-up") else "down"]
            weight = ' font-weight="bold"' if name.startswith("landline") else ""
            if column == 0:
                lines.append(f'<text x="{left - 8}" y="{top + 14}" text-anchor="end"{weight}>{name}</text>')
            lines.append(f'<rect x="{start}" y="{top}" width="{length:.1f}" height="{BAR - 5}" fill="{color}"/>')
            shown = f"{value(entry):.0f}" if column == 0 else f"{value(entry):.2f}"
            lines.append(f'<text x="{start + length + 6:.1f}" y="{top + 14}"{weight}>{shown}</text>')
    pathlib.Path(path).write_text("\n".join([*lines, "</svg>", ""]))


def version(*argv):
    """The first line a program prints about its version."""
    with contextlib.suppress(Failure, OSError, IndexError, subprocess.TimeoutExpired):
        program = argv[0] if os.sep in argv[0] else need(argv[0])[0]
        done = subprocess.run([program, *argv[1:]], capture_output=True, text=True, timeout=10)
        return (done.stdout + done.stderr).splitlines()[0]
    return None


def describe(work, options):
    """Where and with what this was measured."""
    mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    holding = [m for m in mounts if work.root.is_relative_to(m[1].replace("\\040", " "))]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "size": work.size, "rounds": options.rounds, "kernel": platform.release().split("-")[0],
        "processors": os.cpu_count(), "load_average_before": os.getloadavg()[0],
        "file_system": max(reversed(holding), key=lambda m: len(m[1]))[2],
        "versions": {
            "landline": version(options.landline, "--version"), "nginx": version("nginx", "-v"),
            "curl": version("curl", "--version"), "ssh": version("ssh", "-V"),
            "rsync": version("rsync", "--version"),
            "cp": version("cp", "--version")},
    }


# ---- the command line --------------------------------------------------------------------------


def parse_size(text):
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 4GiB, 256M or 1000000")
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


def parse_only(text):
    known = {f"{family}{way}" for family in FAMILIES for way in ("", "-up", "-down")}
    known -= {"cp-up", "cp-down"}
    names = {name.strip() for name in text.split(",")}
    if names - known:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(sorted(names - known))}; known: {', '.join(sorted(known))}")
    return names


def parse_rounds(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measure `landline cp` against its peers.",
                                     epilog="See the top of this file for the rules.")
    parser.add_argument("--size", type=parse_size, default="4GiB",
                        help="of the file; K, M, G, T (with or without iB) are powers of 1024")
    parser.add_argument("--rounds", type=parse_rounds, default=5, help="counted ones; default 5")
    parser.add_argument("--landline", default="target/dist/landline", metavar="PATH")
    parser.add_argument("--dir", default="bench-work", metavar="PARENT",
                        help="a fresh work folder is made in it; default bench-work, here")
    parser.add_argument("--json", metavar="FILE", help="also write all results to it")
    parser.add_argument("--svg", metavar="FILE", help="also draw the medians")
    parser.add_argument("--only", type=parse_only, default=set(FAMILIES), metavar="NAMES",
                        help=f"comma-separated: {', '.join(FAMILIES)}, or with -up, -down")
    options = parser.parse_args()
    options.landline = os.path.abspath(options.landline)
    return options


def check_room(work):
    """Refuse without disk space; warn when memory will not hold source and copy."""
    free = shutil.disk_usage(work.root).free
    if free < 2 * work.size + 64 * MIB:
        raise Failure(f"{free // MIB} MiB free in {work.parent}, twice the size is needed")
    memory = re.search(r"MemAvailable:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    if int(memory[1]) * 1024 < 2.5 * work.size:
        say("WARNING: too little memory to cache both files; this will measure the disk")


def run(work, options):
    """The whole measurement; whether all of it worked."""
    check_room(work)
    about = describe(work, options)
    say(f"{work.size / MIB:.0f} MiB, {options.rounds} rounds, {about['processors']} processors,"
        f" {about['file_system']}, Linux {about['kernel']}")
    if about["load_average_before"] > 0.5:
        say(f"WARNING: something else is running, load average {about['load_average_before']:.2f}")
    write_source(work.source, work.size)
    cases, missing = collect_cases(work, options)
    if not cases:
        raise Failure("nothing to measure")
    for number in range(options.rounds + 1):
        run_round(work, cases, number)
    summary = summarize(cases)
    print_table(summary)
    if options.svg:
        write_svg(options.svg, summary, about)
    if options.json:
        text = json.dumps({"about": about, "results": summary}, indent=2)
        try:
            pathlib.Path(options.json).write_text(text + "\n")
        except OSError as error:
            raise Failure(f"the results are not saved: {error}") from None
    return not missing and not any(case.failed for case in cases)


def main():
    options = parse_arguments()
    try:
        work = Work(options.dir, options.size)
    except OSError as error:
        say(f"copy_bench.py: no work folder: {error}")
        return 1
    try:
        return 0 if run(work, options) else 1
    except Failure as failure:
        say(f"copy_bench.py: {failure}")
        return 1
    except KeyboardInterrupt:
        say("copy_bench.py: interrupted")
        return 130
    finally:
        work.close()


if __name__ == "__main__":
    sys.exit(main())
