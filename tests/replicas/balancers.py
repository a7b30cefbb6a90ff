"""nginx and HAProxy with the configurations in `ops/`, before lorank servers, as processes on loopback."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/stores"))

from harness import Process, free_port, until  # noqa: E402


class Balancer(Process):
    """A load balancer before servers. `edit` changes the text of its configuration, for comparisons; otherwise it runs as it is."""

    def __init__(self, servers, edit=lambda text: text):
        super().__init__(self.name)
        self.servers, self.edit, self.port = servers, edit, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def is_listening(self):
        assert self.process.poll() is None, self.messages()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0


class Nginx(Balancer):
    name = "nginx"

    def start(self):
        (self.home / "nginx.conf").write_text(self.edit((ROOT / "ops/nginx/nginx.conf").read_text()))
        # What differs between machines has files of its own, with the lines of ops/nginx and other addresses.
        lines = (ROOT / "ops/nginx/lorank-servers.conf").read_text().splitlines()
        assert len(lines) == len(self.servers), lines
        addresses = [f"127.0.0.1:{server.port}" for server in self.servers]
        lines = [line.replace(line.split()[1], address) for line, address in zip(lines, addresses)]
        (self.home / "lorank-servers.conf").write_text("\n".join(lines) + "\n")
        (self.home / "lorank-listen.conf").write_text(f"listen 127.0.0.1:{self.port};\n")
        # Its workers are another user's if root starts it.
        self.home.chmod(0o755)
        self.spawn([shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.home, "-c", self.home / "nginx.conf", "-g", "daemon off;"])
        until(self.is_listening, "nginx starts")

    def kill(self):
        # It ends its workers itself.
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def has_seen_failures(self):
        """Whether a server has failed to answer a request."""
        return re.search(r"Connection refused|prematurely closed|reset by peer", self.messages()) is not None

    def wait_until_used(self, server):
        """Servers that have failed are tried again after a second."""

    def wait_until_out(self, server):
        """nginx asks no server whether it is ready."""


class Haproxy(Balancer):
    name = "haproxy"

    def start(self):
        (self.home / "haproxy.cfg").write_text(self.edit((ROOT / "ops/haproxy/haproxy.cfg").read_text()))
        # A second file adds the socket that the checks below read.
        (self.home / "socket.cfg").write_text(f"global\n    stats socket {self.home}/socket level user\n")
        environment = {**os.environ, "BALANCER_LISTEN": f"127.0.0.1:{self.port}"}
        environment |= {f"LORANK_{n}": f"127.0.0.1:{server.port}" for n, server in enumerate(self.servers, 1)}
        self.spawn([shutil.which("haproxy") or "/usr/sbin/haproxy", "-f", self.home / "haproxy.cfg", "-f", self.home / "socket.cfg"],
                   env=environment)
        until(self.is_listening, "HAProxy starts")
        for server in self.servers:
            self.wait_until_used(server)

    def states(self):
        """The state of each server, and how often another server got one of its requests."""
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(self.home / "socket"))
            one.sendall(b"show stat\n")
            text = b"".join(iter(lambda: one.recv(65_536), b"")).decode()
        lines = [line.split(",") for line in text.removeprefix("# ").splitlines() if line]
        rows = [dict(zip(lines[0], line)) for line in lines[1:]]
        return {row["svname"]: (row["status"], int(row["wredis"] or 0)) for row in rows if row["pxname"] == "lorank"}

    def state(self, server):
        return self.states()[f"lorank-{self.servers.index(server) + 1}"][0]

    def has_seen_failures(self):
        return self.states()["BACKEND"][1] > 0

    def wait_until_used(self, server):
        until(lambda: self.state(server) == "UP", f"HAProxy sees {server.url} ready", 10)

    def wait_until_out(self, server):
        until(lambda: self.state(server) == "DOWN", f"HAProxy sees {server.url} not ready", 10)


def version(program):
    """The version of a balancer, for the output."""
    done = subprocess.run([shutil.which(program) or f"/usr/sbin/{program}", "-v"], capture_output=True, text=True, check=True)
    return re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)[0]
