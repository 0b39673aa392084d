#!/usr/bin/env python3
"""Commands on a server: landline and ssh, in alternation, on loopback.

    true         `run -- true` and `ssh HOST true`: a new connection each time, in milliseconds
    held         `run -- true` with the session of `landline hold`, `ssh HOST true` with that of ControlMaster
    output       `head -c SIZE /dev/zero` on the server, in MiB/s; ssh with its default cipher and with aes128-gcm
    load         `true` on 16 channels of one session for 5 s, from the library: commands a second, and milliseconds of processor
                 time for each, of the server with its supervisors and of the client
    git clone    a repository of SIZE/4 random bytes, in seconds

Medians of --rounds. What is measured is the whole client process.

    cargo build --profile dist && python3 bench/run_bench.py [--size 1GiB] [--rounds 20] [--landline PATH]

Python 3.11 or later; sshd, ssh and git have to be installed. Everything is kept in one fresh folder, which is removed at the
end, and only processes that this script started are ended.
"""

import argparse
import json
import os
import pathlib
import pwd
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {work}/host_key
AuthorizedKeysFile {work}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
LogLevel ERROR
"""
SSH = """
Host bench
    HostName 127.0.0.1
    Port {port}
    User {user}
    HostKeyAlias bench
    IdentityFile {work}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {work}/known_hosts
    GlobalKnownHostsFile /dev/null
    BatchMode yes
    LogLevel ERROR
"""
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def parse_size(text):
    for suffix, factor in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if text.endswith(suffix):
            return int(float(text.removesuffix(suffix)) * factor)
    return int(text)


def seconds(command, **more):
    start = time.monotonic()
    subprocess.run(command, check=True, **{**QUIET, **more})
    return time.monotonic() - start


def alternate(cases, rounds, **more):
    """The times of each case. Each round begins with the next one; one round before is not counted."""
    times = {name: [] for name in cases}
    names = list(cases)
    for number in range(rounds + 1):
        for name in names[number % len(names):] + names[:number % len(names)]:
            taken = seconds(cases[name], **more)
            if number:
                times[name].append(taken)
    return times


def processor_seconds(pid):
    """The processor time of a process, and of its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def load(program, state, server, rounds):
    rates, servers, clients = [], [], []
    for _ in range(max(1, rounds // 4)):
        before, children = processor_seconds(server), resource.getrusage(resource.RUSAGE_CHILDREN)
        rate = float(subprocess.run([program, state, "127.0.0.1", "16", "5"], check=True, capture_output=True, text=True).stdout)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        runs = rate * 5
        rates.append(rate)
        servers.append((processor_seconds(server) - before) / runs)
        clients.append((after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime) / runs)
    show("load, 16 channels", rates, "/s", lambda value: value)
    show("load, server", servers, "ms", lambda value: value * 1000)
    show("load, client", clients, "ms", lambda value: value * 1000)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_sshd(work):
    port, user = free_port(), pwd.getpwuid(os.geteuid()).pw_name
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / name], check=True)
    (work / "known_hosts").write_text("bench " + (work / "host_key.pub").read_text())
    (work / "sshd_config").write_text(SSHD.format(port=port, work=work))
    (work / "ssh_config").write_text(SSH.format(port=port, work=work, user=user))
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    server = subprocess.Popen([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", work / "sshd_config"])
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.05)
    raise SystemExit("sshd does not start")


def show(name, times, unit, convert):
    values = sorted(convert(value) for value in times)
    print(f"{name:<22} {statistics.median(values):9.1f} {unit}   ({values[0]:.1f}..{values[-1]:.1f})")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=parse_size, default=1 << 30)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--landline", default="target/dist/landline")
    options.add_argument("--load", default="target/dist/examples/run_load", help="the example of landline that makes the load")
    options = options.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="landline-run-"))
    (work / "home").mkdir()
    binary = os.path.abspath(options.landline)
    serve = [binary, "--state", work / "server", "serve", "--json", "--listen", "127.0.0.1:0"]
    if os.geteuid() == 0:
        serve.append("--allow-root")
    servers = []
    master = None
    try:
        servers.append(subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(work / "home")}))
        started = json.loads(servers[0].stdout.readline())
        environment = {**os.environ, "LANDLINE_STATE": str(work / "client")}
        invite = pathlib.Path(started["invite_file"]).read_text()
        subprocess.run([binary, "join", "-", "--as", "bench"], input=invite, text=True, check=True, env=environment,
                       stdout=subprocess.DEVNULL)
        # A client of its own, so that the other runs log in.
        shutil.copytree(work / "client", work / "holding-client")
        holding = [binary, "--state", work / "holding-client"]
        subprocess.run([*holding, "hold", "127.0.0.1", "--for", "1h"], check=True, stdout=subprocess.DEVNULL)
        servers.append(start_sshd(work))
        ssh = ["ssh", "-F", work / "ssh_config"]
        held = [*ssh, "-S", work / "master"]
        master = subprocess.Popen([*held, "-M", "-N", "bench"], **QUIET)
        time.sleep(1)
        run = [binary, "run", "127.0.0.1"]
        cases = {
            "true, landline": [*run, "--", "true"],
            "true, landline, held": [*holding, "run", "127.0.0.1", "--", "true"],
            "true, ssh": [*ssh, "bench", "true"],
            "true, ssh, held": [*held, "bench", "true"],
        }
        for name, times in alternate(cases, options.rounds, env=environment).items():
            show(name, times, "ms", lambda value: value * 1000)
        head = ["head", "-c", str(options.size), "/dev/zero"]
        cases = {
            "output, landline": [*run, "--", *head],
            "output, landline, held": [*holding, "run", "127.0.0.1", "--", *head],
            "output, ssh": [*ssh, "bench", *head],
            "output, ssh, aes-gcm": [*ssh, "-c", "aes128-gcm@openssh.com", "bench", *head],
        }
        rounds = max(3, options.rounds // 4)
        for name, times in alternate(cases, rounds, env=environment).items():
            show(name, times, "MiB/s", lambda value: options.size / value / (1 << 20))
        load(os.path.abspath(options.load), work / "client", servers[0].pid, rounds)
        git = ["git", "-C", work, "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "init", "-q", "-b", "main", work / "repository"], check=True)
        (work / "repository" / "file").write_bytes(os.urandom(options.size // 4))
        for words in (["add", "file"], ["commit", "-q", "-m", "file"]):
            subprocess.run([*git, "-C", work / "repository", *words], check=True)
        for name, command, host in (
            ("git clone, landline", f"{binary} run", f"bench@{started['listening']}"),
            ("git clone, ssh", f"ssh -F {work / 'ssh_config'}", "bench"),
        ):
            times = []
            for _ in range(rounds):
                url = f"ssh://{host}{work / 'repository'}"
                times.append(seconds(["git", "clone", "-q", "--bare", url, work / "clone"],
                                     env={**environment, "GIT_SSH_COMMAND": command}))
                shutil.rmtree(work / "clone")
            show(name, times, "s", lambda value: value)
    finally:
        # The process that holds the session ends with its server.
        for process in [master, *servers]:
            if process:
                process.kill()
                process.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
