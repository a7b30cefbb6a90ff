"""The package rerankers: `LorankRanker` is a ranker of its interface. It needs rerankers, without any of its extras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rerankers.documents import Document as RerankersDocument
from rerankers.models.ranker import BaseRanker
from rerankers.results import RankedResults, Result

from lorank import Hit, Reranker
from lorank._arguments import listed
from lorank.integrations._common import checked


class LorankRanker(BaseRanker):  # type: ignore[misc] # The package has no types.
    """A ranker of the package rerankers.

    ranker = LorankRanker(Reranker("minilm", adapters={"qa": "minilm-qa"}))
    results = ranker.rank("how long is the nile", ["It flows north.", "The Nile is 6,650 km long."])
    print(results.top_k(1)[0].text)
    """

    def __init__(
        self,
        reranker: Reranker,
        *,
        adapter: str | None = None,
        activation: Literal["sigmoid", "identity"] | None = None,
        instruction: str | None = None,
        passages: str | None = None,
    ) -> None:
        """Takes the model and the settings of all calls.

        Args:
            reranker: The model.
            adapter: The name of an adapter, or `none` for the bare base model. By default the reranker's first one.
            activation: `sigmoid` for scores from 0 to 1. By default the model's logits.
            instruction: What the model shall judge, for models whose prompt has a place for it.
            passages: How long documents are scored: `first`, `max` or `mean-top-3`.

        Raises:
            TypeError: `reranker` is of another type.
        """
        self.reranker = checked(reranker)
        self._arguments: dict[str, Any] = {
            "adapter": adapter,
            "activation": activation,
            "instruction": instruction,
            "passages": passages,
        }

    def score(self, query: str, doc: str) -> float:
        """The score of one document."""
        return self.reranker.rank(query, [doc], **self._arguments)[0]["score"]

    def rank(
        self,
        query: str,
        docs: str | RerankersDocument | Sequence[str | RerankersDocument],
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """Ranks documents for a query.

        Args:
            query: The query.
            docs: Texts or documents.
            doc_ids: Their ids, instead of their own. By default documents without an id have their index.
            metadata: Their metadata, instead of their own.

        Returns:
            The results, best first, with documents that are copies; equal scores in the order of the documents.

        Raises:
            TypeError: A document that is not a text.
            ValueError: A document of images, or numbers of ids or metadata that are not the number of documents.
            LookupError: There is no adapter of this name.
        """
        documents = _documents(docs, doc_ids, metadata)
        hits = self.reranker.rank(query, [document.text for document in documents], **self._arguments)
        return _results(query, documents, hits)

    async def rank_async(
        self,
        query: str,
        docs: str | RerankersDocument | Sequence[str | RerankersDocument],
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """Ranks documents as `rank` does, without blocking the event loop. Cancelling the task cancels the scoring."""
        documents = _documents(docs, doc_ids, metadata)
        hits = await self.reranker.arank(query, [document.text for document in documents], **self._arguments)
        return _results(query, documents, hits)


def _documents(
    docs: str | RerankersDocument | Sequence[str | RerankersDocument],
    doc_ids: Sequence[str | int] | None,
    metadata: Sequence[dict[str, Any]] | None,
) -> list[RerankersDocument]:
    # The package's own `prep_docs` fails for empty lists and for documents with new metadata, and changes its arguments.
    given = [docs] if isinstance(docs, (str, RerankersDocument)) else listed(docs, "docs")
    for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
        if values is not None and len(values) != len(given):
            raise ValueError(f"`{name}` has {len(values)} entries for {len(given)} documents")
    documents = []
    for n, document in enumerate(given):
        own = RerankersDocument(document) if isinstance(document, str) else document
        if not isinstance(own, RerankersDocument):
            raise TypeError(f"document {n} is of type {type(own).__name__}, neither str nor rerankers.Document")
        if own.document_type != "text":
            raise ValueError(f"document {n} is of the type `{own.document_type}`; only texts can be ranked")
        own_id = n if own.doc_id is None else own.doc_id
        documents.append(
            RerankersDocument(
                own.text,
                doc_id=own_id if doc_ids is None else doc_ids[n],
                metadata=own.metadata if metadata is None else metadata[n],
            )
        )
    return documents


def _results(query: str, documents: list[RerankersDocument], hits: list[Hit]) -> RankedResults:
    results = [
        Result(document=documents[hit["corpus_id"]], score=hit["score"], rank=rank)
        for rank, hit in enumerate(hits, start=1)
    ]
    return RankedResults(results=results, query=query, has_scores=True)
