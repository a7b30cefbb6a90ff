#!/usr/bin/env python3
"""Evaluates adapters on test collections, and prints BM25, the base model and each adapter in a table, with intervals.

    python3 benches/adapters.py FOLDER... [--adapter NAME ...] [--queries-max 300] [--depth 20] [--json FILE]

FOLDER is a collection in BEIR's layout. Adapters are named as in `lorank eval`; without any, those of the starter. Each cell is the
mean nDCG@10 of BM25's first `--depth` hits in the adapter's order, and the difference from the base model with its 95 % interval,
in bold if that excludes zero. `--queries-max` evaluates every k-th query of a collection with more. Scores are kept in `--scores`,
so that an interrupted run goes on. Needs only Python's standard library.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--lorank", default="target/release/lorank")
    parser.add_argument("--adapter", action="append", metavar="NAME", help="repeatable [default: minilm-qa, minilm-science]")
    parser.add_argument("--base", help="the base model, as in `lorank eval`")
    parser.add_argument("--split", default="test", help="the judgments: qrels/SPLIT.tsv")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--queries-max", type=int, help="the most queries of a collection")
    parser.add_argument("--scores", type=Path, help="keep the scores in this file")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    return parser.parse_args()


def evaluate(args, folder, adapters):
    command = [args.lorank, "eval", "--dataset", folder, "--split", args.split, "--depth", args.depth, "--precision", args.precision,
               "--baseline", "none", "--json"]
    command += [part for adapter in ("none", *adapters) for part in ("--adapter", adapter)]
    for flag in ("base", "scores"):
        if getattr(args, flag):
            command += [f"--{flag}", getattr(args, flag)]
    if args.queries_max:
        command += ["--sample", args.queries_max]
    # Progress goes to the terminal.
    process = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    if process.returncode != 0:
        sys.exit(process.returncode)
    return json.loads(process.stdout)


def cell(ranker):
    mean = f"{ranker['means'][0]:.3f}"
    if not ranker["comparisons"]:
        return mean
    beside = ranker["comparisons"][0]
    text = f"{mean} ({beside['difference']:+.3f}, {beside['low']:+.3f} to {beside['high']:+.3f})"
    return f"**{text}**" if beside["low"] > 0 or beside["high"] < 0 else text


def main():
    args = arguments()
    adapters = args.adapter or ["minilm-qa", "minilm-science"]
    results = {}
    for folder in args.folders:
        started = time.monotonic()
        results[folder.name] = evaluate(args, folder, adapters)
        print(f"{folder.name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    names = [adapter.split("=")[0] for adapter in adapters]
    print(f"| collection | queries | BM25 | {' | '.join(['base', *names])} |")
    print(f"|---|---:|{'---:|' * (len(names) + 2)}")
    for collection, result in results.items():
        by_name = {ranker["name"]: ranker for ranker in result["rankers"]}
        cells = [cell(by_name[name]) for name in ("first-stage", "none", *names)]
        print(f"| {collection} | {result['n_queries']} | {' | '.join(cells)} |")
    if args.json:
        options = {key: str(value) for key, value in vars(args).items()}
        figures = {name: {"n_queries": it["n_queries"], "rankers": it["rankers"]} for name, it in results.items()}
        args.json.write_text(json.dumps({"options": options, "collections": figures}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
