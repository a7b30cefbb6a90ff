#!/usr/bin/env python3
"""Trains an adapter from simulated clicks, with and without a correction of position bias, and evaluates both on other queries.

    python3 benches/clicks.py --lorank target/release/lorank --dataset FOLDER [--json FILE]

A server splits searchers between two rankers, the first stage and the base model (`--arms`). Each query is searched `--searches`
times. A searcher examines rank k with probability k^-eta, and clicks an examined hit with probability 0.9 if it is relevant by the
collection's judgments, else `--noise`. From that log, `lorank train --clicks` trains two adapters with the same options and seed:
with propensities estimated from the log, and from raw click rates. Both are evaluated by the judgments of queries that were not
searched, a third of all. Options after `--` are given to both trainings.

`--dataset` is a collection in BEIR's layout with one relevant document per query or more. Needs only Python's standard library.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timezone
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lorank", default="target/release/lorank")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--split", default="test", help="the judgments: qrels/SPLIT.tsv")
    parser.add_argument("--arms", default="first-stage,none", help="the rankers of the experiment: first-stage, none or adapters")
    parser.add_argument("--queries", type=int, default=600, help="the number of queries that are searched")
    parser.add_argument("--searches", type=int, default=30, help="searches of each query")
    parser.add_argument("--eta", type=float, default=1.0)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--test-queries", type=int, default=1000)
    parser.add_argument("--depth", type=int, default=20, help="the depth of searches and of the evaluation")
    parser.add_argument("--work", type=Path, help="keep the index, the log and the adapters in this folder")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("options", nargs="*", help="options of `lorank train`, after --")
    return parser.parse_args()


def read_lines(path):
    return [json.loads(line) for line in path.open(encoding="utf-8") if line.strip()]


def collection(args):
    """Queries with relevant documents, in random order: (id, text, ids of the relevant documents)."""
    relevant = {}
    for line in (args.dataset / f"qrels/{args.split}.tsv").read_text(encoding="utf-8").splitlines():
        fields = line.split("\t") if "\t" in line else line.split()
        if fields[-1].isdigit() and int(fields[-1]) > 0:
            relevant.setdefault(fields[0], set()).add(fields[-2])
    queries = [(query["_id"], query["text"], relevant[query["_id"]]) for query in read_lines(args.dataset / "queries.jsonl")
               if query["_id"] in relevant]
    random.Random(0).shuffle(queries)
    return queries


class Server:
    """`lorank serve` with an experiment between the arms."""

    def __init__(self, args, work):
        self.process = None
        if not (work / "index").exists():
            run(args.lorank, "index", "--index", work / "index", args.dataset / "corpus.jsonl")
        arms = [part for n, arm in enumerate(args.arms.split(",")) for part in ("--arm", f"arm-{n}={arm}")]
        run(args.lorank, "experiments", "create", "clicks", *arms, "--start", "--data", work / "data")
        command = [args.lorank, "serve", "--index", work / "index", "--data", work / "data", "--listen", "127.0.0.1:0"]
        command = [str(part) for part in command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if "http://" in line:
                self.url = "http://" + line.split("http://")[1].split()[0].rstrip("/.,")
                return
        sys.exit("the server did not start")

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run(*command):
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{process.stderr}")
    return process.stdout


def clicked(hits, relevant, args, chance):
    for hit in hits:
        is_examined = chance.random() < hit["rank"] ** -args.eta
        if is_examined and chance.random() < (0.9 if hit["id"] in relevant else args.noise):
            yield hit


def simulate(args, queries, work):
    """Searches and clicks, in the log of the data folder."""
    server = Server(args, work)
    n_clicks = 0
    started = time.monotonic()
    try:
        for number, (_, text, relevant) in enumerate(queries):
            events = []
            for search in range(args.searches):
                unit = f"{number}-{search}"
                chance = random.Random(unit)
                body = {"query": text, "unit_id": unit, "depth": args.depth, "top_k": 10, "snippets": False, "fields": []}
                answer = server.post("/v1/search", body)
                events += [
                    {
                        "action_name": "click", "query_id": answer["request_id"], "client_id": unit,
                        "event_id": f"{answer['request_id']}-{hit['rank']}",
                        "timestamp": datetime.now(timezone.utc).isoformat(),
                        "event_attributes": {"object": {"object_id": hit["id"]}, "position": {"ordinal": hit["rank"]}},
                    }
                    for hit in clicked(answer["hits"], relevant, args, chance)
                ]
            if events:
                server.post("/v1/events", events)
            n_clicks += len(events)
            left = (time.monotonic() - started) / (number + 1) * (len(queries) - number - 1)
            print(f"\r{number + 1} of {len(queries)} queries searched, {left:.0f} s left ", end="", file=sys.stderr)
        print(file=sys.stderr)
    finally:
        server.stop()
    return n_clicks


def main():
    args = arguments()
    folder = tempfile.TemporaryDirectory() if args.work is None else None
    work = args.work or Path(folder.name)
    work.mkdir(parents=True, exist_ok=True)
    queries = collection(args)
    n_log = min(args.queries, len(queries) * 2 // 3)
    searched, others = queries[:n_log], queries[n_log:][: args.test_queries]
    if not (work / "data").exists():
        simulate(args, searched, work)
    common = ["--clicks", "--index", work / "index", "--data", work / "data"]
    dry = json.loads(run(args.lorank, "--quiet", "train", *common, "--dry-run", "--json"))
    found = dry["examination"]["probabilities"][:10]
    error = max(abs(p - (rank + 1) ** -args.eta) for rank, p in enumerate(found))
    print(f"{dry['n_searches']:,} searches of {dry['n_queries']:,} queries, {dry['n_clicks']:,} clicks; examination of ranks 1 to 10 "
          f"{' '.join(f'{p:.2f}' for p in found)}, largest error {error:.3f}")
    ends = {}
    for name, how in (("propensities", "estimate"), ("raw", "ignore")):
        if not (work / name / "adapter_config.json").exists():
            output = run(args.lorank, "--quiet", "train", *common, "--position-bias", how, "--output", work / name, "--json",
                         *args.options)
            ends[name] = json.loads(output.splitlines()[-1])
    (work / "test.tsv").write_text("".join(f"{id}\t{document}\t1\n" for id, _, relevant in others for document in sorted(relevant)),
                                   encoding="utf-8")
    adapters = [part for name in ("none", "propensities", "raw")
                for part in ("--adapter", "none" if name == "none" else f"{name}={work / name}")]
    evaluation = json.loads(run(args.lorank, "--quiet", "eval", "--dataset", args.dataset, "--qrels", work / "test.tsv", *adapters,
                                "--baseline", "raw", "--depth", args.depth, "--scores", work / "scores", "--json"))
    print(f"\n| ranker | nDCG@10 of {evaluation['n_queries']} other queries | beside raw clicks (95 % interval) |\n|---|---:|---|")
    titles = {"first-stage": "BM25", "none": "the base", "propensities": "trained with propensities", "raw": "trained on raw clicks"}
    for ranker in evaluation["rankers"]:
        beside = "; ".join(f"{c['difference']:+.4f} ({c['low']:+.4f} to {c['high']:+.4f})" for c in ranker["comparisons"][:1])
        print(f"| {titles[ranker['name']]} | {ranker['means'][0]:.4f} | {beside} |")
    if args.json:
        options = {key: str(value) for key, value in vars(args).items()}
        figures = {"options": options, "log": dry, "trainings": ends, "rankers": evaluation["rankers"]}
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
