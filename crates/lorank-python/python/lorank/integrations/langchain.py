"""LangChain: `LorankRerank` is a document compressor, such as `ContextualCompressionRetriever` takes. It needs langchain-core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LangChainDocument
from pydantic import ConfigDict, Field

from lorank import Document, Hit, Reranker
from lorank.integrations._common import settings, with_title


class LorankRerank(BaseDocumentCompressor):
    """Ranks the documents of a retriever, and keeps the best.

    The documents come back as copies, best first, with their scores in `metadata["relevance_score"]`; equal scores keep the order of
    the retriever. Invalid settings raise pydantic's `ValidationError`, a `ValueError`; calls raise what `Reranker.rank` raises.

        compressor = LorankRerank(reranker=Reranker("minilm", adapters={"qa": "minilm-qa"}), top_n=3)
        documents = compressor.compress_documents(documents, "how long is the nile")
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    #: The model. Several compressors, with other adapters, can share it.
    reranker: Reranker
    #: The number of documents to return. By default all.
    top_n: int | None = Field(default=None, ge=1)
    #: The name of an adapter, or `none` for the bare base model. By default the reranker's first one.
    adapter: str | None = None
    #: `sigmoid` for scores from 0 to 1. By default the model's logits.
    activation: Literal["sigmoid", "identity"] | None = None
    #: What the model shall judge, for models whose prompt has a place for it.
    instruction: str | None = None
    #: How documents beyond the model's limit are scored: `first`, `max` or `mean-top-3`. By default as the model's author says.
    passages: str | None = None
    #: The key of the metadata that has a document's title. By default documents have none.
    title_key: str | None = None

    def compress_documents(
        self, documents: Sequence[LangChainDocument], query: str, callbacks: Callbacks | None = None
    ) -> list[LangChainDocument]:
        """The best documents for a query. Callbacks are not called."""
        hits = self.reranker.rank(
            query,
            self._read(documents),
            self.top_n,
            **settings(self),
        )
        return _ranked(documents, hits)

    async def acompress_documents(
        self, documents: Sequence[LangChainDocument], query: str, callbacks: Callbacks | None = None
    ) -> list[LangChainDocument]:
        """The best documents for a query, without blocking the event loop. Cancelling the task cancels the scoring."""
        hits = await self.reranker.arank(
            query,
            self._read(documents),
            self.top_n,
            **settings(self),
        )
        return _ranked(documents, hits)

    def _read(self, documents: Sequence[LangChainDocument]) -> list[Document]:
        read = []
        for n, document in enumerate(documents):
            if not isinstance(document, LangChainDocument):
                raise TypeError(
                    f"document {n} is of type {type(document).__name__}, not langchain_core.documents.Document"
                )
            read.append(with_title(document.page_content, document.metadata, self.title_key, f"document {n}"))
        return read


def _ranked(documents: Sequence[LangChainDocument], hits: list[Hit]) -> list[LangChainDocument]:
    ranked = []
    for hit in hits:
        document = documents[hit["corpus_id"]]
        metadata = {**document.metadata, "relevance_score": hit["score"]}
        ranked.append(document.model_copy(update={"metadata": metadata}))
    return ranked
