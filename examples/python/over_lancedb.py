#!/usr/bin/env python3
"""Searches a table of LanceDB by its texts, and reranks what it finds.

    pip install lorank lancedb
    python examples/python/over_lancedb.py "does ethanol take more energy make that produces"

A search by vectors, or by both, is reranked in the same way. The documents are those of the sample corpus, or of another file with
a document in JSON on each line.
"""

import argparse
import json
import tempfile
from pathlib import Path

import lancedb
from lancedb.index import FTS
from lorank import Reranker
from lorank.integrations.lancedb import LorankReranker

CORPUS = Path(__file__).resolve().parents[2] / "crates/lorank-starter/data/corpus/corpus.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("query", nargs="?", default="does ethanol take more energy make that produces")
    parser.add_argument("--documents", type=Path, default=CORPUS)
    parser.add_argument("--depth", type=int, default=20, help="the number of documents to rerank")
    arguments = parser.parse_args()

    documents = [json.loads(line) for line in arguments.documents.read_text(encoding="utf-8").splitlines()]
    reranker = LorankReranker(Reranker("minilm", adapters=["minilm-qa"]), column="text", title_column="title")
    with tempfile.TemporaryDirectory() as folder:
        table = lancedb.connect(folder).create_table("documents", documents)
        table.create_index("text", config=FTS())
        query = table.search(arguments.query, query_type="fts").limit(arguments.depth)
        for rank, row in enumerate(query.rerank(reranker).to_list()[:5], start=1):
            print(f"{rank}. {row['_relevance_score']:6.2f}  {row['text'][:80]}")


if __name__ == "__main__":
    main()
