#!/usr/bin/env python3
"""Records two rankings of a test collection's questions, with grades: what simulated users of an experiment search.

    record_rankings.py COLLECTION OUT --lorank BINARY [--adapter ADAPTER] [--precision int8] [--depth 50] [--every 16]

COLLECTION is a folder in BEIR's layout. OUT gets one line a question, tab-separated: its id, the grades of its relevant documents
(`p1=1`), the first ten of the first stage, and the first ten of the reranker over `--depth` candidates. Prints nDCG@10 of both.

The fixture crates/lorank-experiments/tests/fixtures/boolq.tsv: the dev questions of BoolQ (Clark et al. 2019, CC BY-SA 3.0,
github.com/google-research-datasets/boolean-questions), each with its own Wikipedia paragraph for relevant, 2,938 paragraphs in all;
`--adapter minilm-qa`, the rest as above.
"""
import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path


def ndcg_at_10(ranking, grades):
    def dcg(gains):
        return sum(gain / math.log2(n + 2) for n, gain in enumerate(gains[:10]))
    return dcg([grades.get(document, 0) for document in ranking]) / dcg(sorted(grades.values(), reverse=True))


def read_judgments(folder):
    grades = {}
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        question, document, grade = line.split("\t")
        if int(grade) > 0:
            grades.setdefault(question, {})[document] = int(grade)
    questions = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    return [(q["_id"], q["text"], grades[q["_id"]]) for q in questions if q["_id"] in grades]


def search(args, index, text):
    command = [args.lorank, "search", "--quiet", "--json", "--index", index, "--adapter", args.adapter, "--precision",
               args.precision, "--depth", str(args.depth), "--top-k", str(args.depth), "--", text]
    hits = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["hits"]
    first_stage = sorted(hits, key=lambda hit: hit["first_stage_rank"])
    return [hit["id"] for hit in first_stage[:10]], [hit["id"] for hit in hits[:10]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lorank", required=True)
    parser.add_argument("--adapter", default="none")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--every", type=int, default=16)
    args = parser.parse_args()

    measured = []
    with tempfile.TemporaryDirectory() as index, args.out.open("w") as out:
        corpus = args.collection / "corpus.jsonl"
        subprocess.run([args.lorank, "index", "--quiet", "--index", index, corpus], check=True, stdout=subprocess.DEVNULL)
        for question, text, grades in read_judgments(args.collection)[:: args.every]:
            rankings = search(args, index, text)
            judged = " ".join(f"{document}={grade}" for document, grade in grades.items())
            print(question, judged, *map(" ".join, rankings), sep="\t", file=out, flush=True)
            measured.append([ndcg_at_10(ranking, grades) for ranking in rankings])
    means = [sum(column) / len(measured) for column in zip(*measured)]
    print(f"{len(measured)} questions, nDCG@10 {means[0]:.4f} first stage, {means[1]:.4f} reranked", file=sys.stderr)


if __name__ == "__main__":
    main()
