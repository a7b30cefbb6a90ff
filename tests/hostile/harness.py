"""A server under attack: starting it, talking to it, and watching how it fares for others meanwhile."""

import atexit
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LORANK = os.path.abspath(os.environ.get("LORANK_BIN", os.path.join(HERE, "../../target/debug/lorank")))
WORK = tempfile.mkdtemp(prefix="hostile-")
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
ENVIRONMENT = {**{name: value for name, value in os.environ.items() if not name.startswith("LORANK_")}, "HF_HUB_OFFLINE": "1"}

WORDS = ["amber", "basin", "cobalt", "delta", "ember", "fjord", "garnet", "harbor", "indigo", "juniper", "kelp", "lagoon",
         "marble", "nectar", "orchid", "pebble", "quartz", "ridge", "summit", "timber", "umber", "valley", "willow", "yarrow"]


def documents(n, seed=1):
    """Small documents of made-up text."""
    chance = random.Random(seed)
    return [{"id": f"d{i}", "title": chance.choice(WORDS), "text": " ".join(chance.choices(WORDS, k=12))} for i in range(n)]


def lines(objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def run(*arguments, stdin="", environment=(), check=True, prefix=(), timeout=120):
    """Runs a command of the program."""
    done = subprocess.run([*prefix, LORANK, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout,
                          env={**ENVIRONMENT, **dict(environment)})
    assert not check or done.returncode == 0, (arguments, done.returncode, done.stderr[-2000:])
    return done


def index(name, objects):
    """A new index of documents; its folder."""
    folder = os.path.join(WORK, name)
    shutil.rmtree(folder, ignore_errors=True)
    run("index", "--index", folder, "-", "-q", stdin=lines(objects))
    return folder


class Server:
    """A server that ends with the `with` block."""

    def __init__(self, index, *arguments, data=None, environment=(), prefix=(), config=None):
        self.data = data or tempfile.mkdtemp(prefix="data-", dir=WORK)
        self.log = tempfile.NamedTemporaryFile(mode="w+", prefix="log-", dir=WORK, delete=False)
        command = [*prefix, LORANK, "serve", "--index", index, "--data", self.data, "--listen", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env={**ENVIRONMENT, **dict(environment)})
        line = self.process.stdout.readline()
        assert "listening on http://" in line, (line, open(self.log.name).read()[-2000:])
        self.port = int(line.strip().rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def end(self):
        """Asks it to end, and gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def is_alive(self):
        return self.process.poll() is None

    def request(self, method, path, body=None, headers=(), timeout=60):
        """Status, body and headers of an answer, on a connection of its own."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            return exchange(connection, method, path, body, headers)

    def json(self, method, path, body=None, **more):
        status, answer, _ = self.request(method, path, body, **more)
        return status, json.loads(answer)

    def search(self, query, **keys):
        return self.json("POST", "/v1/search", {"query": query, **keys})

    def connect(self, timeout=30):
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def memory(self):
        """The memory that the process holds, in MB."""
        return self.status_number("VmRSS") / 1024

    def peak(self):
        """The most memory that it has held, in MB."""
        return self.status_number("VmHWM") / 1024

    def status_number(self, key):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(key + r":\s+(\d+)", status.read())[1])

    def metric(self, name):
        return float(re.search(rf"^{name} (\S+)$", self.request("GET", "/metrics")[1].decode(), re.M)[1])

    def warm_up(self):
        """So that what the first searches load does not count."""
        for n in range(3):
            assert self.search(f"{WORDS[n]} {WORDS[n + 1]}", depth=8)[0] == 200


def exchange(connection, method, path, body=None, headers=()):
    headers = dict(headers)
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        headers.setdefault("content-type", "application/json")
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Watch:
    """A small client beside an attack: searches and asks `/health` in turn, and looks at the server's memory."""

    def __init__(self, server, name):
        self.server, self.name, self.search_times, self.health_times, self.failures = server, name, [], [], []
        self.memory_before = server.memory()
        self.memory_during = self.memory_before
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        chance, connection = random.Random(7), None
        while not self.is_over.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            for path, times in [(f"/v1/search?q={chance.choice(WORDS)}+{chance.choice(WORDS)}&rerank=false&top_k=3", self.search_times),
                                ("/health", self.health_times)]:
                began = time.monotonic()
                try:
                    status, body, _ = exchange(connection, "GET", path)
                    if status != 200:
                        self.failures.append((path, status, body[:200]))
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append((path, repr(error)))
                    connection.close()
                    connection = None
                    break
                times.append((time.monotonic() - began) * 1e3)
            self.memory_during = max(self.memory_during, self.server.memory())
            self.is_over.wait(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        self.print()

    def settled(self, limit, seconds=30):
        """The memory once it has fallen to `limit` MB, or after some seconds."""
        until = time.monotonic() + seconds
        while self.server.memory() > limit and time.monotonic() < until:
            time.sleep(0.5)
        after = self.server.memory()
        print(f"    {self.name}: memory {after:.0f} MB afterwards", flush=True)
        return after

    def print(self):
        print(f"    {self.name}: search p99 {percentile(self.search_times, 0.99):.0f} ms and health p99 "
              f"{percentile(self.health_times, 0.99):.0f} ms of {len(self.search_times)}; memory {self.memory_before:.0f} MB "
              f"before, {self.memory_during:.0f} MB during", flush=True)


class MemoryLimit:
    """A control group with a limit on memory, where this process may make one: beyond it, the kernel kills."""

    def __init__(self, n_bytes):
        self.prefix, self.words, self.folder = (), "without a limit, since no control group can be made here", None
        name = f"hostile-{os.getpid()}"
        for mount, file in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]:
            folder = os.path.join(mount, name)
            try:
                os.mkdir(folder)
                with open(os.path.join(folder, file), "w") as limit:
                    limit.write(str(n_bytes))
            except OSError:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
                continue
            self.prefix = ["bash", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "-"]
            self.words, self.folder = f"under a limit of {n_bytes >> 20} MiB", folder
            break

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.folder:
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)


def in_threads(n, work):
    """Runs `work(0)` to `work(n - 1)` at once, and gives their results; an error of one is raised."""
    results, errors = [None] * n, []

    def one(i):
        try:
            results[i] = work(i)
        except Exception as error:  # whatever it is, it is raised below
            errors.append(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results

