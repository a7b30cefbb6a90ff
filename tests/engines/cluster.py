"""A cluster of real OpenSearch or Elasticsearch nodes on loopback, and a lorank server before it."""

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
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LORANK = os.environ.get("LORANK_BIN", str(ROOT / "target/debug/lorank"))
KEPT = ROOT / "target/engines"
START_SECONDS = 180
# Elasticsearch loads plugins only where it runs from a module path, as its own launcher starts it.
CLASSES = {
    "opensearch": lambda jars: ["-cp", f"{jars}/classes:{jars}/lib/*", "OpenSearchNode"],
    "elasticsearch": lambda jars: ["-cp", f"{jars}/classes", "--module-path", f"{jars}/lib", "--add-modules", "jdk.net,ALL-MODULE-PATH",
                                   "ElasticsearchNode"],
}


def free_ports(count):
    """The first of `count` adjacent ports that are free, with `count` more, a hundred above, for the nodes among themselves."""
    for first in range(19200, 32000, 211):
        with contextlib.ExitStack() as held:
            try:
                for port in [*range(first, first + count), *range(first + 100, first + 100 + count)]:
                    one = held.enter_context(socket.socket())
                    one.bind(("127.0.0.1", port))
                return first
            except OSError:
                continue
    raise SystemExit("no free ports for the engine")


def call(url, body=None, method=None, headers=(), timeout=60, context=None):
    """The status and the JSON of an answer; status 0 with the error where there is none."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json", **dict(headers)})
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        text = error.read()
        try:
            return error.code, json.loads(text)
        except ValueError:
            return error.code, {"text": text.decode(errors="replace")}
    except (OSError, http.client.HTTPException) as error:
        return 0, {"error": {"message": str(error)}}


class Cluster:
    """Nodes of one version, each in a process of its own. Ends with the `with` block."""

    def __init__(self, version, count, plugins=(), java_home=None, settings=(), tls=None, heap="384m", prepare=None, scheme="http",
                 engine="opensearch"):
        self.count, self.settings, self.tls, self.heap, self.engine = count, list(settings), tls, heap, engine
        self.java = str(Path(java_home) / "bin/java") if java_home else "java"
        name = "-".join([*([] if engine == "opensearch" else [engine]), version, *plugins])
        environment = {**os.environ, **({"JAVA_HOME": str(java_home)} if java_home else {})}
        subprocess.run([HERE / engine / "install.sh", version, KEPT / name, *plugins], check=True, env=environment)
        self.jars = KEPT / name
        self.home = Path(tempfile.mkdtemp(prefix=f"{engine}-"))
        for folder in ["modules", "plugins"]:
            if (self.jars / folder).exists():
                os.symlink(self.jars / folder, self.home / folder)
        self.port = free_ports(count)
        self.urls = [f"{scheme}://127.0.0.1:{self.port + node}" for node in range(count)]
        self.processes = [None] * count
        if prepare:
            prepare(self)

    def __enter__(self):
        try:
            for node in range(self.count):
                self.start(node)
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in range(self.count):
            self.kill(node)
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self, node):
        log = open(self.home / f"node{node}.log", "ab")
        command = [self.java, "-Xms256m", f"-Xmx{self.heap}", "-Djava.awt.headless=true", "-XX:TieredStopAtLevel=1",
                   *CLASSES[self.engine](self.jars), str(self.home), str(node), str(self.count), str(self.port), *self.settings]
        self.processes[node] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, node, sig=signal.SIGKILL):
        """A crash: no goodbye to the other nodes."""
        process = self.processes[node]
        if process and process.poll() is None:
            process.send_signal(sig)
            if sig == signal.SIGKILL:
                process.wait()

    def wait(self, nodes=None):
        """Until all nodes have joined and every shard has its copies."""
        until = time.monotonic() + START_SECONDS
        health = f"/_cluster/health?wait_for_nodes={nodes or self.count}&wait_for_status=green&timeout=2s"
        while time.monotonic() < until:
            for url in self.urls:
                status, answer = call(url + health, timeout=10, **self.access())
                if status == 200 and not answer["timed_out"]:
                    return
            time.sleep(0.5)
        logs = "".join((self.home / f"node{node}.log").read_text()[-2_000:] for node in range(self.count))
        raise SystemExit(f"{self.engine} did not start within {START_SECONDS} s:\n{logs}")

    def access(self):
        return {"context": self.tls["context"], "headers": self.tls["headers"]} if self.tls else {}

    def ask(self, path, body=None, method=None, node=0, **options):
        status, answer = call(self.urls[node] + path, body, method, **{**self.access(), **options})
        assert status in (200, 201), (path, status, answer)
        return answer

    def index(self, name, documents, shards=2, replicas=1, properties=None):
        mappings = {"properties": properties} if properties else {}
        settings = {"number_of_shards": shards, "number_of_replicas": replicas}
        self.ask(f"/{name}", {"settings": settings, "mappings": mappings}, "PUT")
        for start in range(0, len(documents), 1_000):
            lines = []
            for document in documents[start:start + 1_000]:
                fields = dict(document)
                lines += [json.dumps({"index": {"_id": fields.pop("_id")}}), json.dumps(fields)]
            answer = self.ask(f"/{name}/_bulk", ("\n".join(lines) + "\n").encode())
            assert not answer["errors"], answer
        self.ask(f"/{name}/_refresh", method="POST")


class Lorank:
    """`lorank serve` with an engine as its first stage."""

    def __init__(self, urls, index, *arguments, environment=()):
        self.data = tempfile.mkdtemp(prefix="lorank-")
        self.log = open(Path(self.data) / "log", "w+")
        urls = [flag for url in urls for flag in ("--elastic-url", url)]
        command = [LORANK, "serve", "--first-stage", "elastic", *urls, "--elastic-index", index, "--data", self.data,
                   "--listen", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=clean(environment))
        line = self.process.stdout.readline()
        found = re.search(r"listening on (http://\S+)", line)
        assert found, (line, self.messages())
        self.url = found[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.data, ignore_errors=True)

    def messages(self):
        self.log.flush()
        return (Path(self.data) / "log").read_text()

    def ask(self, path, body=None, method=None, **options):
        return call(self.url + path, body, method, **options)

    def search(self, **body):
        return self.ask("/v1/search", body)


def clean(environment=()):
    return {**{name: value for name, value in os.environ.items() if not name.startswith("LORANK_")}, "HF_HUB_OFFLINE": "1",
            **dict(environment)}


def run(*arguments, environment=(), check=True):
    """A command of lorank."""
    done = subprocess.run([LORANK, "--quiet", *arguments], capture_output=True, text=True, timeout=300, env=clean(environment))
    assert not check or done.returncode == 0, (arguments, done.returncode, done.stderr)
    return done
