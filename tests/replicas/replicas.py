#!/usr/bin/env python3
"""Two lorank servers behind nginx and HAProxy: `replicas.py`. Prints each check; a failed one ends the run."""

import http.client
import json
import random
import subprocess
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from balancers import Haproxy, Nginx, version
from harness import LORANK, Load, Lorank, Redis, call, free_port, until

# Longer than two checks of HAProxy.
DRAIN = ["--drain-millis", "2500"]
N_DOCUMENTS = 40
DEPTH = 8
N_QUERIES, N_ASKED = 12, 4


def an_index(folder):
    """An index in which every document matches every query."""
    documents = folder / "documents.jsonl"
    lines = [json.dumps({"id": f"d{n}", "text": f"Boil egg number {n} for {n % 12} minutes."}) for n in range(N_DOCUMENTS)]
    documents.write_text("\n".join(lines) + "\n")
    subprocess.run([LORANK, "--quiet", "index", "--index", folder / "index", documents], check=True)
    return folder / "index"


def replica(index, *arguments):
    return Lorank("--index", str(index), "--adapter", "none", "--threads", "1", "--depth", str(DEPTH), *DRAIN, *arguments, port=free_port())


class Client:
    """A client that keeps its connection, as most do, and never repeats a request."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method, path, body=None):
        """The status, the headers and the JSON of an answer; status 0 with the error where there is none."""
        data = None if body is None else json.dumps(body)
        try:
            self.connection.request(method, path, data, {"content-type": "application/json"} if data else {})
            answer = self.connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.connection.close()
            return 0, {}, repr(error)


def a_request(n):
    """Requests that a balancer may repeat: of three kinds, never the same one twice."""
    query = f"how many minutes for egg {n}"
    return [
        ("GET", "/v1/search?" + urllib.parse.urlencode({"q": query, "depth": 3}), None),
        ("POST", "/v1/search", {"query": query, "depth": 3}),
        ("POST", "/rerank", {"query": query, "texts": ["Boil it.", "Fry it."]}),
    ][n % 3]


def load_on(balancer):
    """Clients that ask without a pause."""
    clients = threading.local()

    def one(n):
        if not hasattr(clients, "it"):
            clients.it = Client(balancer.port)
        return clients.it.ask(*a_request(n))

    return Load(one, n_threads=4)


def none_failed(load, what):
    failed = [(status, answer) for _, _, (status, _, answer) in load.results if status != 200]
    assert not failed, (what, len(failed), len(load.results), failed[:3])
    slowest = max(took for _, took, _ in load.results)
    print(f"   {what}: {len(load.results)} requests, none failed, the slowest took {slowest:.2f} s")


def n_requests(server):
    status, text = server.ask("/metrics")
    assert status == 200, text
    lines = [line for line in text.splitlines() if line.startswith("lorank_requests_total{") and "/ready" not in line and "/metrics" not in line]
    return sum(float(line.split()[-1]) for line in lines)


def is_ready(server):
    return server.ask("/ready")[0] == 200


def no_request_fails_in_a_rolling_restart(balancer, servers):
    with load_on(balancer) as load:
        load.wait_for_more(20)
        for server in servers:
            server.send(15)
            balancer.wait_until_out(server)
            until(lambda: server.process.poll() is not None, "the server ends", 30)
            assert server.process.returncode == 0, server.messages()
            assert "closed connections that were not done in time" not in server.messages(), server.messages()
            load.wait_for_more(10)
            server.start()
            until(lambda: is_ready(server), "the server is ready again")
            balancer.wait_until_used(server)
            n_before = n_requests(server)
            until(lambda: n_requests(server) > n_before + 5, "it gets requests again", 20)
    none_failed(load, "rolling restart")


def a_server_is_out_before_it_refuses_connections(balancer, server):
    """HAProxy asks `/ready`, and sends no requests to a server that still answers them."""
    server.send(15)
    balancer.wait_until_out(server)
    status, answer = server.ask("/ready")
    assert (status, answer["checks"]["server"]) == (503, "the server is shutting down"), answer
    assert server.ask("/v1/search?q=egg")[0] == 200, "it still answers"
    assert server.process.wait(30) == 0, server.messages()
    server.start()
    balancer.wait_until_used(server)


def no_request_fails_when_a_server_is_killed(balancer, servers):
    with load_on(balancer) as load:
        for server in servers:
            load.wait_for_more(20)
            server.kill()
            load.wait_for_more(20)
            balancer.wait_until_out(server)
            server.start()
            balancer.wait_until_used(server)
            until(lambda: n_requests(server) > 5, "it gets requests again", 20)
    assert balancer.has_seen_failures(), "another server got requests that the killed one had not answered"
    none_failed(load, "kill -9")


def a_full_server_is_spared(balancer, full, n=30):
    """One server is at its limit. Clients that wait as `Retry-After` says get all answers, and mostly at once."""
    stop = threading.Event()

    def fill(k):
        client, m = Client(full.port), 0
        while not stop.is_set():
            texts = [f"Text {k}.{m}.{j}: boil the egg for {j} minutes, then cool it in cold water." for j in range(100)]
            status, _, _ = client.ask("POST", "/rerank", {"query": f"fill {k} {m}", "texts": texts})
            m += 1
            if status == 429:
                time.sleep(0.05)

    fillers = [threading.Thread(target=fill, args=(k,)) for k in range(8)]
    [filler.start() for filler in fillers]
    until(lambda: full.ask("/v1/search?q=egg&depth=1")[0] == 429, "the server is at its limit", 20)
    client, n_refused = Client(balancer.port), 0
    try:
        for k in range(n):
            status, headers, answer = client.ask(*a_request(1_000_000 + k))
            while status in (429, 503):
                n_refused += 1
                assert int(headers["retry-after"]) >= 1, (headers, answer)
                time.sleep(int(headers["retry-after"]))
                status, headers, answer = client.ask(*a_request(1_000_000 + k))
            assert status == 200, answer
    finally:
        stop.set()
        [filler.join() for filler in fillers]
    # nginx asks the other server. HAProxy needs a second to see that `/ready` has changed.
    assert n_refused <= (0 if isinstance(balancer, Nginx) else n // 4), n_refused
    print(f"   one server is full: {n} requests are answered, {n_refused} of them after the time in Retry-After")


def changes_of_one_server_are_refused(balancer, server):
    """Of the routes in the OpenAPI document, changes of documents and adapters are refused, and reads pass."""
    status, api = server.ask("/openapi.json")
    assert status == 200, api
    client, n_refused = Client(balancer.port), 0
    for path, operations in api["paths"].items():
        for method in operations:
            url = path.replace("{", "").replace("}", "")
            is_of_one = any(f"/{part}" in path for part in ["adapters", "aliases", "documents"]) and method != "get"
            if is_of_one or method == "get":
                status, _, answer = client.ask(method.upper(), url, {} if method != "get" else None) if is_of_one else (0, 0, "")
                is_refused = status == 403 and "belong to each server" in str(answer)
                assert is_refused == is_of_one, (method, path, status, answer)
                n_refused += is_of_one
    assert n_refused >= 8, n_refused
    for path in ["/v1/documents/d1", "/v1/adapters", "/v1/indexes/default/documents/d1", "/health"]:
        assert client.ask("GET", path)[0] == 200, path


def hit_rate(ask, has_one_form):
    """The share of scores from a cache, in searches that repeat each query in a shuffled order, in both forms of a search."""
    order = [n for n in range(N_QUERIES)] * N_ASKED
    random.Random(7).shuffle(order)
    hits = misses = 0
    for k, n in enumerate(order):
        query = f"minutes for a \"soft\" egg, question {n}"
        if (n if has_one_form else k) % 2:
            status, answer = ask("/v1/search?" + urllib.parse.urlencode({"q": query, "depth": DEPTH}), None)
        else:
            status, answer = ask("/v1/search", {"query": query, "depth": DEPTH, "top_k": 1 + k % 5})
        assert status == 200 and answer["reranked"], answer
        hits, misses = hits + answer["cache"]["hits"], misses + answer["cache"]["misses"]
    assert hits + misses == len(order) * DEPTH, (hits, misses)
    return hits / (hits + misses)


def in_turns(kind):
    """The same configuration without hashing: the servers take turns."""
    if kind is Nginx:
        return lambda text: text.replace("hash $query_or_any consistent;", "")
    return lambda text: text.replace("balance hash var(txn.query)", "balance roundrobin")


def hashing_keeps_caches_warm(kind, index):
    best = (N_ASKED - 1) / N_ASKED

    def rate(edit=lambda text: text, *arguments):
        with replica(index, *arguments) as one, replica(index, *arguments) as other, kind([one, other], edit) as balancer:
            # nginx does not decode the query of an address, so that it is another one than the same query in a body.
            found = hit_rate(lambda path, body: call(balancer.url + path, body), has_one_form=kind is Nginx)
            assert n_requests(one) > 5 and n_requests(other) > 5, "both servers have a share"
            return found

    hashed, turns = rate(), rate(in_turns(kind))
    print(f"   hit rate of {N_QUERIES} queries, each asked {N_ASKED} times: {hashed:.2f} with hashing by query, {turns:.2f} in turns; "
          f"{best:.2f} is possible")
    assert abs(hashed - best) < 0.01, hashed
    assert turns < hashed - 0.1, turns
    if kind is Haproxy:
        with Redis() as redis:
            shared = rate(in_turns(kind), "--cache-url", f"redis://127.0.0.1:{redis.port}")
        print(f"   hit rate in turns with shared scores: {shared:.2f}")
        # A query may be repeated before its scores are stored.
        assert shared > best - 0.05, shared


def main():
    with tempfile.TemporaryDirectory() as folder:
        index = an_index(Path(folder))
        for kind in [Haproxy, Nginx]:
            began = time.monotonic()
            print(f"{kind.name} {version(kind.name)}")
            limits = ["--n-searches-max", "8", "--queue-max", "2"]
            with replica(index) as one, replica(index) as other, kind([one, other]) as balancer:
                changes_of_one_server_are_refused(balancer, one)
                print("ok changes of documents and adapters are refused")
                if kind is Haproxy:
                    a_server_is_out_before_it_refuses_connections(balancer, one)
                    print("ok /ready takes a server out before it refuses connections")
                no_request_fails_in_a_rolling_restart(balancer, [one, other])
                print("ok no request fails in a rolling restart")
                no_request_fails_when_a_server_is_killed(balancer, [one, other])
                print("ok no request fails when a server is killed")
            with replica(index, *limits) as one, replica(index) as other, kind([one, other]) as balancer:
                a_full_server_is_spared(balancer, one)
                print("ok a full server is spared, and Retry-After is right")
            hashing_keeps_caches_warm(kind, index)
            print(f"ok hashing by query keeps caches warm ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
