#!/usr/bin/env python3
"""Searches documents with tantivy-py, and reranks what it finds.

    pip install lorank tantivy
    python examples/python/over_tantivy.py "does ethanol take more energy make that produces"

The documents are those of the sample corpus, or of another file with a document in JSON on each line.
"""

import argparse
import json
from pathlib import Path

import tantivy
from lorank import Reranker

CORPUS = Path(__file__).resolve().parents[2] / "crates/lorank-starter/data/corpus/corpus.jsonl"


def index_of(documents: list[dict[str, str]]) -> tantivy.Index:
    """An index in memory. It stores the number of each document; the documents stay in the list."""
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("number", stored=True)
    builder.add_text_field("title", tokenizer_name="en_stem")
    builder.add_text_field("text", tokenizer_name="en_stem")
    index = tantivy.Index(builder.build())
    with index.writer(num_threads=1) as writer:
        for number, document in enumerate(documents):
            writer.add_document(tantivy.Document(number=number, title=document["title"], text=document["text"]))
    index.reload()
    return index


def candidates(index: tantivy.Index, query: str, depth: int) -> list[int]:
    """The numbers of the documents that BM25 finds, best first."""
    searcher = index.searcher()
    # Lenient: a question mark or a quotation mark in a question is no error.
    parsed, _ = index.parse_query_lenient(query, ["title", "text"])
    return [searcher.doc(address)["number"][0] for _, address in searcher.search(parsed, depth).hits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("query", nargs="?", default="does ethanol take more energy make that produces")
    parser.add_argument("--documents", type=Path, default=CORPUS)
    parser.add_argument("--depth", type=int, default=20, help="the number of documents to rerank")
    arguments = parser.parse_args()

    documents = [json.loads(line) for line in arguments.documents.read_text(encoding="utf-8").splitlines()]
    index = index_of(documents)
    reranker = Reranker("minilm", adapters=["minilm-qa"])

    found = candidates(index, arguments.query, arguments.depth)
    hits = reranker.rank(arguments.query, [documents[number] for number in found], top_k=5, return_documents=True)
    for rank, hit in enumerate(hits, start=1):
        print(f"{rank}. (BM25: {hit['corpus_id'] + 1}.) {hit['score']:6.2f}  {hit['text']['text'][:80]}")


if __name__ == "__main__":
    main()
