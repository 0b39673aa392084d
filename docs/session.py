#!/usr/bin/env python3
"""Draw docs/session.svg: a terminal in which two machines are joined and a file is copied.

Everything in the picture is the output of a real run. The script starts a server and a terminal
(tmux) in a network namespace of its own, in which the server has the address 192.0.2.7. It types
the commands, and draws what the terminal then shows.

How to run it (Linux, Python 3.11 or later, tmux, unshare):

    cargo xtask picture

or, with a binary that is built already:

    python3 docs/session.py target/dist/landline
"""

import html
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

COLUMNS = 108
ROWS = 60
ADDRESS = "192.0.2.7"
FILE_BYTES = 2 << 30
PROMPT = "$ "
# What a terminal shows for the eight colors.
COLORS = ["#1b1f24", "#d1242f", "#1a7f37", "#9a6700", "#0969da", "#8250df", "#1b7c83", "#6e7781"]
FOREGROUND, BACKGROUND, FRAME = "#1f2328", "#ffffff", "#d0d7de"
CHARACTER, LINE = 8.0, 19


class Terminal:
    """A shell in tmux, with its own tmux server. `home` is its home and working folder."""

    def __init__(self, home, environment):
        self.socket = home / ".tmux"
        self.environment = environment | {"HOME": str(home)}
        self.home = home
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        shell = f"exec env PS1='{PROMPT}' bash --norc --noprofile"
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, shell)
        self.wait_for_prompts(1)

    def tmux(self, *arguments):
        command = ["tmux", "-S", str(self.socket), *arguments]
        done = subprocess.run(
            command,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            env=self.environment,
            cwd=self.home,
        )
        return done.stdout

    def text(self):
        """What is on the screen, with wrapped lines joined."""
        return self.tmux("capture-pane", "-p", "-J")

    def screen(self):
        """The lines on the screen, with their colors as escape sequences."""
        return self.tmux("capture-pane", "-p", "-e").rstrip("\n").split("\n")

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def run(self, text):
        """Types a command and waits until it has ended."""
        prompts = self.prompts()
        self.type(text)
        self.wait_for_prompts(prompts + 1)

    def prompts(self):
        return sum(line.startswith(PROMPT.rstrip()) for line in self.screen())

    def wait_for_prompts(self, number):
        self.wait(lambda: self.prompts() >= number)

    def wait(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                sys.exit("the terminal did not get on:\n" + "\n".join(self.screen()))
            time.sleep(0.02)

    def close(self):
        # A server takes the end of its terminal for a request to read its settings again.
        self.tmux("send-keys", "C-c")
        self.wait(lambda: self.tmux("display", "-p", "#{pane_current_command}").strip() == "bash")
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], env=self.environment)


def record(landline, folder):
    """Runs the session and returns the lines of the terminal."""
    # In this namespace both machines are one, with a home for the user of each.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/home"], check=True)
    near, far, binaries = pathlib.Path("/home/you"), pathlib.Path("/home/alice"), folder / "bin"
    for each in (near, far, binaries):
        each.mkdir()
    shutil.copy(landline, binaries / "landline")
    with open(near / "backup.tar", "wb") as backup:
        block = os.urandom(1 << 20)
        for _ in range(FILE_BYTES >> 20):
            backup.write(block)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", ADDRESS, "dev", "lo"], check=True)
    path = f"{binaries}:{os.environ['PATH']}"
    environment = {"PATH": path, "USER": "alice", "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    server = client = None
    try:
        server = Terminal(far, environment)
        server.type(f"landline serve --allow-root --public-name {ADDRESS}")
        invites = []
        server.wait(lambda: invites.extend(re.findall(r"landline://[^\s']+(?=')", server.text())) or invites)
        client = Terminal(near, environment)
        client.run(f"landline join '{invites[0]}' --name nas")
        # The connection is cut in the middle, by Ctrl-C.
        prompts = client.prompts()
        client.type("landline cp backup.tar nas:")
        client.wait(lambda: re.search(r"#{16}.*> ", client.text()))
        client.tmux("send-keys", "C-c")
        client.wait_for_prompts(prompts + 1)
        client.run("landline cp backup.tar nas:")
        client.run("landline who nas")
        return client.screen()
    finally:
        for terminal in filter(None, (client, server)):
            terminal.close()


def spans(line):
    """The parts of a line, each with its color and whether it is bold."""
    color, is_bold = FOREGROUND, False
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", part)
        if not code:
            if part:
                yield part, color, is_bold
            continue
        for number in (int(number or 0) for number in code[1].split(";")):
            if number == 0:
                color, is_bold = FOREGROUND, False
            elif number == 1:
                is_bold = True
            elif number == 39:
                color = FOREGROUND
            elif 30 <= number <= 37:
                color = COLORS[number - 30]


def draw(lines):
    """The picture of a terminal with these lines."""
    width, top = COLUMNS * CHARACTER + 32, 44
    height = top + len(lines) * LINE + 16
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13">',
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1}" rx="8" fill="{BACKGROUND}" stroke="{FRAME}"/>',
    ]
    for at, color in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        out.append(f'<circle cx="{20 + 20 * at}" cy="20" r="6" fill="{color}"/>')
    for at, line in enumerate(lines):
        x, y = 16.0, top + at * LINE + 10
        is_command = line.startswith(PROMPT)
        for text, color, is_bold in spans(line):
            weight = ' font-weight="bold"' if is_bold or is_command else ""
            if text.strip():
                length = len(text) * CHARACTER
                out.append(
                    f'<text x="{x:g}" y="{y}" fill="{color}"{weight} xml:space="preserve" '
                    f'textLength="{length:g}">{html.escape(text)}</text>'
                )
            x += len(text) * CHARACTER
    return "\n".join([*out, "</svg>", ""])


def main():
    if len(sys.argv) == 2:
        # Start again with a network and mounts of its own.
        me = str(pathlib.Path(__file__).resolve())
        binary = str(pathlib.Path(sys.argv[1]).resolve())
        os.execvp("unshare", ["unshare", "-rnm", sys.executable, me, binary, "in-namespace"])
    picture = pathlib.Path(__file__).resolve().parent / "session.svg"
    with tempfile.TemporaryDirectory() as folder:
        lines = record(sys.argv[1], pathlib.Path(folder))
    # The last prompt is empty.
    while lines and lines[-1].strip() in ("", PROMPT.strip()):
        lines.pop()
    picture.write_text(draw(lines))


if __name__ == "__main__":
    main()
