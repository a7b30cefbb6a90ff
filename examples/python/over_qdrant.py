#!/usr/bin/env python3
"""Searches Qdrant, in its local mode, and reranks what it finds.

    pip install lorank qdrant-client
    python examples/python/over_qdrant.py "does ethanol take more energy make that produces"

The first stage is BM25 with sparse vectors, which needs no model of embeddings; dense vectors are reranked in the same way. The
documents are those of the sample corpus, or of another file with a document in JSON on each line.
"""

import argparse
import json
import re
import zlib
from collections import Counter
from pathlib import Path

from lorank import Reranker
from qdrant_client import QdrantClient, models

CORPUS = Path(__file__).resolve().parents[2] / "crates/lorank-starter/data/corpus/corpus.jsonl"
#: Parameters of BM25: the saturation of term frequencies, and the influence of a document's length.
K1, B = 1.2, 0.75


def terms(text: str) -> Counter[int]:
    """The frequencies of a text's words, which are hashed to the 32 bits of Qdrant's indices."""
    return Counter(zlib.crc32(word.encode()) for word in re.findall(r"\w+", text.lower()))


def collection_of(documents: list[dict[str, str]]) -> QdrantClient:
    """A collection in memory: BM25's weight of each word, which Qdrant multiplies with its inverse document frequency."""
    client = QdrantClient(":memory:")
    bm25 = models.SparseVectorParams(modifier=models.Modifier.IDF)
    client.create_collection("documents", vectors_config={}, sparse_vectors_config={"bm25": bm25})
    frequencies = [terms(f"{document['title']} {document['text']}") for document in documents]
    mean_length = sum(map(Counter.total, frequencies)) / len(frequencies)
    points = []
    for number, (document, counts) in enumerate(zip(documents, frequencies, strict=True)):
        norm = K1 * (1 - B + B * counts.total() / mean_length)
        weights = [count * (K1 + 1) / (count + norm) for count in counts.values()]
        vector = models.SparseVector(indices=list(counts), values=weights)
        points.append(models.PointStruct(id=number, vector={"bm25": vector}, payload=document))
    client.upsert("documents", points)
    return client


def candidates(client: QdrantClient, query: str, depth: int) -> list[dict[str, str]]:
    """The documents that BM25 finds, best first."""
    counts = terms(query)
    vector = models.SparseVector(indices=list(counts), values=[float(count) for count in counts.values()])
    found = client.query_points("documents", query=vector, using="bm25", limit=depth, with_payload=True)
    return [point.payload or {} for point in found.points]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("query", nargs="?", default="does ethanol take more energy make that produces")
    parser.add_argument("--documents", type=Path, default=CORPUS)
    parser.add_argument("--depth", type=int, default=20, help="the number of documents to rerank")
    arguments = parser.parse_args()

    documents = [json.loads(line) for line in arguments.documents.read_text(encoding="utf-8").splitlines()]
    client = collection_of(documents)
    reranker = Reranker("minilm", adapters=["minilm-qa"])

    found = candidates(client, arguments.query, arguments.depth)
    hits = reranker.rank(arguments.query, found, top_k=5, return_documents=True)
    for rank, hit in enumerate(hits, start=1):
        print(f"{rank}. (BM25: {hit['corpus_id'] + 1}.) {hit['score']:6.2f}  {hit['text']['text'][:80]}")


if __name__ == "__main__":
    main()
