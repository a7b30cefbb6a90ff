"""Stores that several lorank servers share, and lorank servers before them, as processes on loopback."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LORANK = os.environ.get("LORANK_BIN", str(ROOT / "target/debug/lorank"))
START_SECONDS = 60


def free_port():
    # A cluster of Redis has a second port, 10,000 above.
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if port < 50_000:
            return port


def until(is_true, what, seconds=START_SECONDS):
    """Waits for a condition, and returns its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = is_true()
        if value:
            return value
        time.sleep(0.02)
    raise SystemExit(f"{what}: not within {seconds} s")


def call(url, body=None, method=None, timeout=60):
    """The status and the JSON of an answer; status 0 with the error where there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if answer.headers["content-type"].startswith("application/json") else text.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)


class Process:
    """A process with a folder of its own, which ends with the `with` block."""

    def __init__(self, name):
        self.home = Path(tempfile.mkdtemp(prefix=f"lorank-{name}-"))
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def send(self, sig):
        self.process.send_signal(sig)

    def kill(self):
        """A crash. A process that is stopped dies too."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def messages(self):
        return (self.home / "log").read_text()

    def spawn(self, command, **options):
        log = open(self.home / "log", "ab")
        self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        cwd=self.home, **options)
        log.close()


class Redis(Process):
    """Redis, or Valkey: `LORANK_REDIS` names the program, whose command line has the same options."""

    def __init__(self, *settings, tls=None):
        super().__init__("redis")
        self.port, self.settings, self.tls = free_port(), list(settings), tls

    def start(self):
        ports = ["--port", self.port]
        if self.tls:
            ports = ["--port", 0, "--tls-port", self.port, "--tls-cert-file", self.tls / "server.pem", "--tls-key-file",
                     self.tls / "server.key", "--tls-ca-cert-file", self.tls / "ca.pem", "--tls-auth-clients", "no"]
        program = os.environ.get("LORANK_REDIS", "redis-server")
        self.spawn([program, *ports, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.home, *self.settings])
        until(lambda: "eady to accept connections" in self.messages().rsplit("initialized", 1)[-1], "Redis starts")

    def cli(self, *arguments):
        access = ["-a", self.settings[self.settings.index("--requirepass") + 1]] if "--requirepass" in self.settings else []
        tls = ["--tls", "--cacert", self.tls / "ca.pem"] if self.tls else []
        command = ["redis-cli", "--no-auth-warning", "-h", "127.0.0.1", "-p", self.port, *access, *tls, *arguments]
        return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, errors="replace").stdout.strip()

    def info(self, section, key):
        return re.search(rf"^{key}:(.*?)\r?$", self.cli("info", section), re.M)


class Postgres(Process):
    """PostgreSQL with a database of its own. It does not run as root, so root runs it as the user `postgres`."""

    def __init__(self, *settings, tls=None):
        super().__init__("postgres")
        self.port, self.settings, self.tls = free_port(), list(settings), tls
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self.bin = Path(os.environ.get("LORANK_POSTGRES_BIN") or (found[-1] if found else Path(shutil.which("initdb") or "initdb").parent))
        self.user = {"user": "postgres"} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(self.home, "postgres")
        self.data = self.home / "data"
        (self.home / "password").write_text("open-sesame\n")
        (self.home / "password").chmod(0o644)
        made = [self.bin / "initdb", "-D", self.data, "-U", "lorank", "-A", "scram-sha-256", f"--pwfile={self.home / 'password'}", "-E", "UTF8",
                "--no-sync", "--locale=C"]
        subprocess.run([str(part) for part in made], check=True, capture_output=True, **self.user)
        if tls:
            for name in ["server.pem", "server.key"]:
                shutil.copy(tls / name, self.home / name)
                shutil.chown(self.home / name, self.user.get("user"), None) if self.user else None
                (self.home / name).chmod(0o600)
        self.url = f"postgres://lorank:open-sesame@127.0.0.1:{self.port}/postgres"

    def start(self):
        tls = ["-c", "ssl=on", "-c", f"ssl_cert_file={self.home}/server.pem", "-c", f"ssl_key_file={self.home}/server.key"] if self.tls else []
        settings = ["-c", "max_connections=60", "-c", "shared_buffers=256MB", "-c", f"unix_socket_directories={self.home}", *tls, *self.settings]
        (self.home / "log").touch()
        self.spawn([self.bin / "postgres", "-D", self.data, "-p", self.port, "-c", "listen_addresses=127.0.0.1", *settings], **self.user)
        until(lambda: self.query("select 1", check=False) == "1", "PostgreSQL starts")

    def query(self, sql, check=True):
        environment = {**os.environ, "PGPASSWORD": "open-sesame", "PGCONNECT_TIMEOUT": "2"}
        command = [self.bin / "psql", "-h", "127.0.0.1", "-p", self.port, "-U", "lorank", "-d", "postgres", "-At", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run([str(part) for part in command], input=sql, capture_output=True, text=True, env=environment)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def signal_all(self, sig):
        """A signal to the server and to all its processes."""
        server = self.process.pid
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        for pid in [server, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)

    def kill(self):
        """A crash of the server and of all its processes."""
        if self.process and self.process.poll() is None:
            self.signal_all(signal.SIGKILL)
            self.process.wait()
            (self.data / "postmaster.pid").unlink(missing_ok=True)


class Lorank(Process):
    """`lorank serve` with the built-in model and, unless the arguments name another one, an empty index."""

    def __init__(self, *arguments, data=None, environment=(), port=0, address="127.0.0.1", pinned_to=None):
        super().__init__("serve")
        self.arguments, self.environment, self.data = arguments, dict(environment), data or self.home / "data"
        self.port, self.address, self.pinned_to = port, address, pinned_to

    def start(self):
        (self.home / "log").write_text("")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LORANK_")}
        environment |= {"HF_HUB_OFFLINE": "1", "LORANK_LOG": "info", **self.environment}
        pin = [] if self.pinned_to is None else ["taskset", "--cpu-list", self.pinned_to]
        command = [*pin, LORANK, "serve", "--data", self.data, "--listen", f"{self.address}:{self.port}", *self.arguments]
        self.spawn(command, env=environment)
        found = until(self.listening, "lorank starts")
        self.url = found[1]

    def listening(self):
        assert self.process.poll() is None, self.messages()
        return re.search(r"listening on (http://\S+)", self.messages())

    def ask(self, path, body=None, method=None, **options):
        return call(self.url + path, body, method, **options)

    def stop(self):
        """An ordinary end, which finishes what was begun."""
        self.send(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.messages()


def certificates(folder):
    """An authority, and a certificate that it has signed for 127.0.0.1 and localhost."""
    run = lambda *arguments: subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=authority",
        "-keyout", "ca.key", "-out", "ca.pem", "-addext", "keyUsage=critical,keyCertSign")
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key",
        "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names", "-out", "server.pem")
    return folder


class Load:
    """Threads that call a function with ever new numbers until the `with` block ends, and keep its results with their times."""

    def __init__(self, one, n_threads=2):
        self.one, self.n_threads, self.results, self.is_over = one, n_threads, [], threading.Event()

    def __enter__(self):
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(self.n_threads)]
        [thread.start() for thread in self.threads]
        return self

    def __exit__(self, *_):
        self.is_over.set()
        [thread.join() for thread in self.threads]

    def run(self, thread):
        n = thread
        while not self.is_over.is_set():
            began = time.monotonic()
            result = self.one(n)
            self.results.append((began, time.monotonic() - began, result))
            n += self.n_threads

    def wait_for_more(self, count):
        n_before = len(self.results)
        until(lambda: len(self.results) >= n_before + count, f"{count} more results")
