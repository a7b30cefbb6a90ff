#!/usr/bin/env python3
"""Runs the commands of the guide and of the README, word for word, each page in a fresh folder.

    LORANK_BIN=target/debug/lorank tests/docs/follow.py [PAGE...]

Every indented block that starts with a program is a command. Servers run in the background until the page starts another.
Commands run unchanged except for the port and the replacements in REPLACED. Commands in SKIPPED do not run and are listed.
The folder has a sample corpus, notes, and an adapter of the reader's own, `adapters/mine`.
A command that fails ends the run. Python's standard library, bash and curl are all that is needed.
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LORANK = Path(os.environ.get("LORANK_BIN", ROOT / "target/debug/lorank")).resolve()
PAGES = ["README.md", "docs/getting-started.md", "docs/searching.md", "docs/serving.md", "docs/adapters.md", "docs/experiments.md"]
PROGRAMS = ("lorank", "curl", "printf", "python3", "cargo", "docker", ".ci/release")
# Commands that do not run, by a part of their text, with the reason.
SKIPPED = {
    "cargo test": "the gate runs it",
    "cargo install": "builds the program",
    ".ci/release": "builds the program",
    "--example simulations": "takes minutes",
    "docker compose": "needs Docker",
    "completions SHELL": "has a placeholder",
    "ettin": "needs a model that is downloaded",
}
# The first uses the program under test instead of building another one; the second is fast enough for a debug build.
REPLACED = {"cargo run --release -- ": "lorank ", "--units 200": "--units 20 --server http://127.0.0.1:7788"}
ADAPTER = ROOT / "crates/lorank-starter/data/adapters/minilm-qa"
N_SECONDS_MAX = 300


def commands(page):
    """The commands of a page: indented lines up to a blank one, where the first starts with a program."""
    lines = []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines() + [""]:
        if line.startswith("    "):
            lines.append(line[4:])
            continue
        if lines and lines[0].split(" ")[0] in PROGRAMS:
            yield "\n".join(lines)
        lines = []


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Page:
    """A folder with a sample corpus and an adapter, and at most one server."""

    def __init__(self, folder):
        self.folder, self.port, self.server = Path(folder), free_port(), None
        (self.folder / "bin").mkdir()
        (self.folder / "bin/lorank").symlink_to(LORANK)
        for name in ["examples", "crates"]:
            (self.folder / name).symlink_to(ROOT / name)
        shutil.copytree(HERE, self.folder, ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True)
        shutil.copytree(ADAPTER, self.folder / "adapters/mine")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "LORANK_DATA": str(self.folder / "registry"),
                            "LORANK_LISTEN": f"127.0.0.1:{self.port}"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait()
            self.server = None

    def run(self, command):
        for old, new in {**REPLACED, "7788": str(self.port)}.items():
            command = command.replace(old, new)
        if command.startswith("lorank serve"):
            return self.serve(command)
        if command.startswith("lorank demo"):
            return self.serve(f"{command} --listen 127.0.0.1:{self.port}")
        script = ["bash", "-euo", "pipefail", "-c", re.sub(r"\bcurl ", "curl --fail-with-body -sS ", command)]
        done = subprocess.run(script, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=N_SECONDS_MAX)
        if done.returncode:
            raise SystemExit(f"failed with status {done.returncode}:\n{command}\n{done.stdout}{done.stderr}")

    def serve(self, command):
        self.stop()
        log = self.folder / "server.log"
        self.server = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment,
                                       stdout=log.open("w"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + N_SECONDS_MAX
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=10).read()
                return
            except OSError:
                if self.server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"no server:\n{command}\n{log.read_text()}") from None
                time.sleep(0.1)


def follow(page):
    skipped, n_run = [], 0
    with tempfile.TemporaryDirectory() as folder, Page(folder) as place:
        if page != "docs/getting-started.md":
            place.run("lorank index --index data/index corpus.jsonl")
            place.run("lorank index --index data/shop corpus.jsonl")
        for command in commands(page):
            reason = next((reason for part, reason in SKIPPED.items() if part in command), None)
            if reason:
                skipped.append((command.split("\n")[0], reason))
                continue
            start = time.monotonic()
            place.run(command)
            n_run += 1
            print(f"{time.monotonic() - start:6.1f} s  {command.split(chr(10))[0][:100]}", flush=True)
    if not n_run:
        raise SystemExit(f"{page} has no command that runs")
    for command, reason in skipped:
        print(f"   not run  {command[:80]} ({reason})")


if __name__ == "__main__":
    for page in sys.argv[1:] or PAGES:
        print(f"== {page}")
        follow(page)
