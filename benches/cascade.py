#!/usr/bin/env python3
"""Two rerank stages against one: ranking quality, time, and latency under overload, as tables in Markdown.

    python3 benches/cascade.py --lorank target/release/lorank --adapter minilm-qa [--queries 50] [--seconds 60] [FOLDER]

FOLDER is a collection in BEIR layout; the default is the built-in corpus. Its documents are indexed, and the score cache is off.
The cascade is the bare base model on `--wide` candidates and then the adapter on `--narrow` of them; it is compared with the adapter
on all `--wide` candidates. The bare base model is in int8 and the adapter in f32, if `--precision` does not say otherwise.
nDCG@10 is trec_eval's, with linear gain; 95 % intervals of the differences are from 1,000 paired bootstrap samples. Times are the
server's own (`timings_millis.total`), one search at a time.

With `--seconds`, searches then arrive at `--load` times the cascade's measured throughput, at random (Poisson) times, each with the
deadline `--deadline-millis` (default: three times the cascade's median time). The latency is the client's.

Python's standard library is all that is needed.
"""
import argparse
import collections
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

STARTER = Path(__file__).resolve().parent.parent / "crates/lorank-starter/data/corpus"


def read_lines(path):
    return [json.loads(line) for line in path.open(encoding="utf-8") if line.strip()]


def read_collection(folder, n_queries):
    """(id, text) of every k-th question that has a relevant document, and the judgments by question."""
    qrels = collections.defaultdict(dict)
    for line in sorted(folder.glob("qrels/*.tsv"))[-1].read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels[query][document] = int(grade)
    judged = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    queries = [(query["_id"], query["text"]) for query in read_lines(folder / "queries.jsonl") if query["_id"] in judged]
    return queries[:: max(1, len(queries) // n_queries)][:n_queries], judged


def ndcg_at_10(ids, grades):
    gain = lambda values: sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:10]))
    ideal = gain(sorted((grade for grade in grades.values() if grade > 0), reverse=True))
    return gain([max(0, grades.get(id, 0)) for id in ids]) / ideal


def interval(differences):
    """The 95 % interval of the mean, by resampling the questions."""
    chance = random.Random(1)
    means = sorted(statistics.mean(chance.choices(differences, k=len(differences))) for _ in range(1_000))
    return means[25], means[974]


class Server:
    """`lorank serve` over a new index of the collection, without a score cache."""

    def __init__(self, options, work):
        index, config = work / "index", work / "lorank.toml"
        config.write_text(f"[cache]\nentries_max = 0\n[search]\ndepth_max = {max(1_000, options.wide)}\n")
        index_command = [options.lorank, "index", "--index", index, options.folder / "corpus.jsonl"]
        subprocess.run(index_command, check=True, stdout=subprocess.DEVNULL)
        command = [options.lorank, "serve", "--config", config, "--index", index, "--data", work / "data",
                   "--listen", "127.0.0.1:0", "--base", options.base, "--adapter", "none", "--adapter", options.adapter,
                   "--precision", options.precision]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if "http://" not in line:
            sys.exit("the server did not start")
        self.url = "http://" + line.split("http://")[1].split()[0].rstrip("/.,")

    def search(self, text, **keys):
        body = json.dumps({"query": text, "top_k": 10, "snippets": False, **keys}).encode()
        request = urllib.request.Request(self.url + "/v1/search", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def stages(options):
    return [{"adapter": "none", "depth": options.wide}, {"adapter": options.name, "depth": options.narrow}]


def quality(server, options, queries, judged):
    """The table of nDCG@10 and times, and the cascade's median time in milliseconds."""
    rankers = {"cascade": {"stages": stages(options)},
               "adapter": {"stages": [{"adapter": options.name, "depth": options.wide}]}}
    values, millis, precisions = collections.defaultdict(list), collections.defaultdict(list), {}
    for n, (query, text) in enumerate(queries, 1):
        for name, keys in rankers.items():
            answer = server.search(text, **keys)
            if answer["fallback"]:
                sys.exit(f"not reranked: {answer['fallback']}")
            values[name].append(ndcg_at_10([hit["id"] for hit in answer["hits"]], judged[query]))
            millis[name].append(answer["timings_millis"]["total"])
            precisions[name] = ", ".join(f"{stage['precision']} on {stage['depth']}" for stage in answer["stages"])
        print(f"\r{n} of {len(queries)} questions ", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(f"{len(queries)} questions, load average {os.getloadavg()[0]:.1f}\n")
    print("| Ranker | Precision | nDCG@10 | Time, median | Time, total |\n|---|---|---:|---:|---:|")
    for name in rankers:
        row = [name, precisions[name], f"{statistics.mean(values[name]):.4f}", f"{statistics.median(millis[name]):,.0f} ms",
               f"{sum(millis[name]) / 1_000:,.1f} s"]
        print("| " + " | ".join(row) + " |")
    differences = [cascade - adapter for cascade, adapter in zip(values["cascade"], values["adapter"])]
    low, high = interval(differences)
    print(f"\nnDCG@10 of the cascade minus the adapter's: {statistics.mean(differences):+.4f} ({low:+.4f} to {high:+.4f})")
    print(f"Time of the cascade to the adapter's: {sum(millis['cascade']) / sum(millis['adapter']):.3f}\n")
    return statistics.median(millis["cascade"])


def overload(server, options, queries, median_millis):
    """Searches at `--load` times the throughput of one search at a time, which keeps the model busy."""
    deadline = options.deadline_millis or round(3 * median_millis)
    rate = options.load * 1_000 / median_millis
    latencies, outcomes, threads, lock = [], collections.Counter(), [], threading.Lock()

    def ask(text):
        start = time.monotonic()
        answer = server.search(text, stages=stages(options), deadline_millis=deadline, on_overload="fallback")
        took = (time.monotonic() - start) * 1_000
        fallen = [str(n) for n, stage in enumerate(answer["stages"], 1) if stage["fallback"]]
        with lock:
            latencies.append(took)
            outcomes["stages that fell back: " + (", ".join(fallen) or "none")] += 1

    chance, end = random.Random(1), time.monotonic() + options.seconds
    while time.monotonic() < end:
        # The words in another order are another query for the model.
        words = chance.choice(queries)[1].split()
        chance.shuffle(words)
        threads.append(threading.Thread(target=ask, args=(" ".join(words),)))
        threads[-1].start()
        time.sleep(chance.expovariate(rate))
    for thread in threads:
        thread.join()
    latencies.sort()
    at = lambda share: latencies[min(len(latencies) - 1, int(share * len(latencies)))]
    print(f"{len(latencies)} searches in {options.seconds} s, {options.load} times the throughput, deadline {deadline} ms\n")
    print("| Latency | ms | of the deadline |\n|---|---:|---:|")
    for name, value in [("median", at(0.5)), ("p99", at(0.99)), ("maximum", latencies[-1])]:
        print(f"| {name} | {value:,.0f} | {value / deadline:.3f} |")
    print("\n| Outcome | Searches |\n|---|---:|")
    for outcome, n in sorted(outcomes.items()):
        print(f"| {outcome} | {n} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=STARTER, metavar="FOLDER")
    parser.add_argument("--lorank", default="target/release/lorank")
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--adapter", default="minilm-qa", metavar="[ID=]ADAPTER")
    parser.add_argument("--precision", help="of the server (int8 with the adapter in f32)")
    parser.add_argument("--queries", type=int, default=50, help="number of questions (%(default)s)")
    parser.add_argument("--wide", type=int, default=1_000, help="depth of the first stage of the cascade (%(default)s)")
    parser.add_argument("--narrow", type=int, default=100, help="depth of its second stage (%(default)s)")
    parser.add_argument("--seconds", type=int, default=0, help="duration of the overload; 0 leaves it out (%(default)s)")
    parser.add_argument("--load", type=float, default=1.5, help="arrivals to throughput (%(default)s)")
    parser.add_argument("--deadline-millis", type=int)
    options = parser.parse_args()
    options.name = options.adapter.split("=")[0].split("@")[0]
    options.precision = options.precision or f"int8,{options.name}=f32"
    queries, judged = read_collection(options.folder, options.queries)
    with tempfile.TemporaryDirectory() as work:
        server = Server(options, Path(work))
        try:
            median_millis = quality(server, options, queries, judged)
            if options.seconds:
                overload(server, options, queries, median_millis)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
