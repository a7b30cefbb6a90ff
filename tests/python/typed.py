"""A program that uses the whole package, for mypy: it is not run."""

from pathlib import Path

import lorank
import numpy as np
import numpy.typing as npt
from lorank import CrossEncoder, Document, Hit, Index, Reranker, evaluate


async def rerank(reranker: Reranker, documents: list[Document]) -> list[Hit]:
    """Every argument by its type."""
    reranker.add_adapter("science", Path("adapters") / "science")
    scores: npt.NDArray[np.float32] = reranker.predict([("query", "text")], activation="sigmoid", adapter="science")
    many: list[list[Hit]] = reranker.rank_many(["query"], [documents], top_k=3, instruction="Judge", passages="max")
    hits: list[Hit] = await reranker.arank(
        "query", [*documents, {"title": "Nile", "text": "A river"}], return_documents=True
    )
    findings: list[str] = reranker.verify()
    reranker.remove_adapter("science")
    first: int = hits[0]["corpus_id"]
    print(scores, many, findings, first, hits[0]["score"], hits[0].get("text"), reranker.info()["precision"])
    return hits


def cross_encoder() -> float:
    """The replacement of sentence-transformers' class."""
    try:
        model = CrossEncoder("owner/name", max_length=512, activation_fn="sigmoid")
    except lorank.ModelError as error:
        raise SystemExit(str(error)) from error
    hits = model.rank("query", ["text"], top_k=1, return_documents=True)
    return hits[0]["score"] + float(np.sum(model.predict([("query", "text")])))


def search(reranker: Reranker) -> list[str]:
    """An index and an evaluation."""
    with Index.create(Path("index"), fields=["title^2", "text"], language="english") as index:
        n: int = index.add({"id": number, "text": "text"} for number in range(3))
        n += index.delete(["1"]) + len(index)
        answer = index.search("query", top_k=3, filter=["year>=1990"], reranker=reranker, deadline=0.5)
        report = evaluate(index, {"q": "query"}, {"q": {"1": 1}}, reranker=reranker, measures="ndcg@10")
    return [hit["id"] for hit in answer["hits"]] + [ranker["name"] for ranker in report["rankers"]]
