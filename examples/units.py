#!/usr/bin/env python3
"""Simulates an experiment: many units search a running `lorank serve`, and send clicks.

    python3 examples/units.py --server http://127.0.0.1:7788 --units 200

Each unit searches for one question of the built-in corpus and reads the answer from the top. The probability of looking at a
rank is 1 / rank (position bias); a seen passage is clicked with probability 0.9 if it answers the question, else 0.05. The
random numbers are seeded, so runs are reproducible. Needs only Python's standard library.
"""
import argparse
import json
import os
import random
import sys
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "crates" / "lorank-starter" / "data" / "corpus"


def read_questions(qrels):
    """The questions of the corpus that are judged in a file, as (text, ids of the passages that answer it)."""
    queries = [json.loads(line) for line in (CORPUS / "queries.jsonl").open(encoding="utf-8")]
    answers = {}
    for line in qrels.open(encoding="utf-8"):
        query, passage, grade = line.split()[:3]
        if grade.isdigit() and int(grade) > 0:
            answers.setdefault(query, set()).add(passage)
    return [(query["text"], answers[query["_id"]]) for query in queries if query["_id"] in answers]


def post(server, path, body):
    headers = {"content-type": "application/json"}
    if key := os.environ.get("LORANK_KEY"):
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(server + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def clicks(answer, relevant, chance):
    """The hits that the unit clicks."""
    for hit in answer["hits"]:
        if chance.random() < 1 / hit["rank"] and chance.random() < (0.9 if hit["id"] in relevant else 0.05):
            yield hit


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--server", default="http://127.0.0.1:7788")
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first unit, to continue an earlier run")
    parser.add_argument("--questions", type=int, default=100, help="number of different questions")
    parser.add_argument("--qrels", type=Path, default=CORPUS / "qrels" / "test.tsv", help="search only questions judged in this file")
    parser.add_argument("--depth", type=int, default=10)
    args = parser.parse_args()
    questions = read_questions(args.qrels)
    random.Random(0).shuffle(questions)
    questions = questions[: args.questions]
    arms = {}
    for unit in range(args.first, args.first + args.units):
        chance = random.Random(unit)
        question, relevant = questions[unit % len(questions)]
        answer = post(args.server, "/v1/search", {
            "query": question, "unit_id": f"unit-{unit}", "depth": args.depth, "snippets": False, "fields": [],
        })  # fmt: skip
        part = answer["experiment"] or {}
        name = part.get("arm") or ("interleaved" if part.get("interleaved") else "no experiment")
        events = [
            {
                "action_name": "click", "query_id": answer["request_id"], "client_id": f"unit-{unit}",
                "event_id": f"{answer['request_id']}-{hit['rank']}",
                "timestamp": datetime.now(timezone.utc).isoformat(),
                "event_attributes": {"object": {"object_id": hit["id"]}, "position": {"ordinal": hit["rank"]}},
            }
            for hit in clicks(answer, relevant, chance)
        ]  # fmt: skip
        if events:
            post(args.server, "/v1/events", events)
        searched, clicked = arms.get(name, (0, 0))
        arms[name] = (searched + 1, clicked + bool(events))
        if sys.stderr.isatty():
            print(f"\r{unit - args.first + 1} of {args.units} units", end="", file=sys.stderr)
    for name, (searched, clicked) in sorted(arms.items()):
        print(f"{name}: {searched} searches, {clicked} of them clicked")


if __name__ == "__main__":
    main()
