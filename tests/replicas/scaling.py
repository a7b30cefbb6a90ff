#!/usr/bin/env python3
"""The throughput of one server and of two, each pinned to a core: `scaling.py [--seconds N]`.

No score is in a cache. LORANK_STRICT=1, for a machine that does nothing else, checks that two servers answer at least 1.8 times the
searches of one, and that the capacity model (ops/capacity.py), given what `lorank bench` measures on one core, predicts them within
20 %. Other work on the machine takes time from the servers. Without LORANK_STRICT, therefore, the kernel's counts of the time that each
server ran and waited for its core give what it would have answered with the core for itself, and 1.4 times is enough.

    scaling.py --documents N

measures the first stage instead, for the capacity model: time and bytes of an index with N documents, without the model.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from balancers import ROOT, Haproxy
from harness import LORANK, Load, Lorank, call, free_port

sys.path.insert(0, str(ROOT / "ops"))
import capacity  # noqa: E402

CORPUS = ROOT / "crates/lorank-starter/data/corpus"
DEPTH = 10
# With few clients, hashing would often leave one of two servers without a request.
N_CLIENTS_PER_SERVER = 12
ROUNDS = 3
IS_STRICT = os.environ.get("LORANK_STRICT") == "1"


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def an_index(folder, documents):
    (folder / "documents.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    subprocess.run([LORANK, "--quiet", "index", "--index", folder / "index", folder / "documents.jsonl"], check=True)
    return folder / "index"


def pinned(index, core):
    return Lorank("--index", str(index), "--adapter", "none", "--threads", "1", "--depth", str(DEPTH), port=free_port(), pinned_to=str(core))


def pairs_per_second(core):
    """What `lorank bench` measures on one core."""
    command = ["taskset", "--cpu-list", str(core), LORANK, "--quiet", "bench", "--adapter", "none", "--threads", "1", "--runs", "1", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return json.loads(done.stdout)["pairs_per_second"]


def seconds_on_core(server):
    """The seconds that the server's threads have run, and that they have waited for the core."""
    lines = []
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        # A thread may end meanwhile. The one that scores does not.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines.append((task / "schedstat").read_text().split())
    return [sum(int(line[k]) for line in lines) / 1e9 for k in [0, 1]]


def alone_on_core(before, after, took):
    """The factor by which a server would have answered more with its core for itself: of the time in which it had work, it ran a part."""
    ran, waited = (end - start for start, end in zip(before, after))
    return min(took, ran + waited) / ran


def measured(balancer, servers, queries, seconds):
    """Searches per second as the clients see them, and with the cores for the servers alone."""
    lock = threading.Lock()

    def one(_):
        with lock:
            query = next(queries)
        status, answer = call(balancer.url + "/v1/search", {"query": query, "depth": DEPTH})
        assert status == 200 and answer["reranked"] and answer["cache"]["hits"] == 0, answer
        return answer["cache"]["misses"]

    with Load(one, n_threads=N_CLIENTS_PER_SERVER * len(servers)) as load:
        load.wait_for_more(4)
        began, first, before = time.monotonic(), len(load.results), [seconds_on_core(server) for server in servers]
        time.sleep(seconds)
        counted, took, after = load.results[first:], time.monotonic() - began, [seconds_on_core(server) for server in servers]
    rate = len(counted) / took
    factors = [alone_on_core(start, end, took) for start, end in zip(before, after)]
    return rate, rate * statistics.mean(factors)


def two_servers_are_twice_one(seconds):
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this machine has one core; the comparison needs two")
    queries = itertools.chain(question["text"] for question in read(CORPUS / "queries.jsonl"))
    rates, alone_rates = {1: [], 2: []}, {1: [], 2: []}
    bench = pairs_per_second(cores[0])
    with tempfile.TemporaryDirectory() as folder:
        index = an_index(Path(folder), read_documents())
        with pinned(index, cores[0]) as one, pinned(index, cores[1]) as other:
            # Servers that are not used cost nothing, so both run all the time and the rounds take turns.
            with Haproxy([one, one]) as alone, Haproxy([one, other]) as both:
                for _ in range(ROUNDS):
                    for n, balancer in [(1, alone), (2, both)]:
                        rate, alone_rate = measured(balancer, [one, other][:n], queries, seconds)
                        rates[n].append(rate)
                        alone_rates[n].append(alone_rate)
    ratios = {}
    for name, of in [("as clients see them", rates), ("with the cores for the servers alone", alone_rates)]:
        ratios[name] = statistics.median(of[2]) / statistics.median(of[1])
        print(f"   searches per second at depth {DEPTH}, {name}: {shown(of[1])} by one server, {shown(of[2])} by two; "
              f"{ratios[name]:.2f} times")
    load = capacity.Load(0, DEPTH, documents=len(read_documents()))
    for n in [1, 2]:
        predicted = capacity.searches_per_second(load, capacity.Server(bench, cores=1), n)
        found = statistics.median(rates[n])
        print(f"   {n} server{'s' * (n > 1)}: {found:.2f} searches per second, and the model says {predicted:.2f}")
        assert not IS_STRICT or abs(found / predicted - 1) < 0.2, (found, predicted)
    name, least = ("as clients see them", 1.8) if IS_STRICT else ("with the cores for the servers alone", 1.4)
    assert ratios[name] >= least, ratios


def read_documents():
    return [{"id": document["_id"], "text": document["text"]} for document in read(CORPUS / "corpus.jsonl")]


def shown(numbers):
    return ", ".join(f"{number:.2f}" for number in numbers)


def first_stage(n_documents):
    """Milliseconds of a search without the model, and bytes of the index, with documents that repeat the corpus's texts."""
    texts = [document["text"] for document in read_documents()]
    documents = ({"id": str(n), "text": f"{texts[n % len(texts)]} {n // len(texts)}"} for n in range(n_documents))
    with tempfile.TemporaryDirectory() as folder:
        index = an_index(Path(folder), documents)
        n_bytes = sum(file.stat().st_size for file in index.rglob("*") if file.is_file())
        with pinned(index, sorted(os.sched_getaffinity(0))[0]) as server:
            millis = []
            for question in read(CORPUS / "queries.jsonl")[:200]:
                # The shortest of five: other work on the machine only adds.
                millis.append(min(first_stage_millis(server, question["text"]) for _ in range(5)))
    print(f"{n_documents} documents: {statistics.mean(millis):.2f} ms a search on one core, {n_bytes / n_documents:.0f} bytes a document")


def first_stage_millis(server, query):
    status, answer = server.ask("/v1/search", {"query": query, "rerank": False, "top_k": 10})
    assert status == 200, answer
    return answer["timings_millis"]["total"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4, help="of each of six measurements")
    parser.add_argument("--documents", type=int)
    options = parser.parse_args()
    if options.documents:
        return first_stage(options.documents)
    two_servers_are_twice_one(options.seconds)
    print("ok two servers answer more than one" + (", as the capacity model says" if IS_STRICT else ""))


if __name__ == "__main__":
    main()
