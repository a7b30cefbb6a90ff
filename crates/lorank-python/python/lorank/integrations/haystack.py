"""Haystack: `LorankRanker` is a ranker component for pipelines. It needs haystack-ai."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from haystack import Document as HaystackDocument
from haystack import component, default_from_dict, default_to_dict

from lorank import Document, Hit, Reranker
from lorank._arguments import at_least, path_text, text, texts
from lorank.integrations._common import settings, with_title


@component
class LorankRanker:
    """Ranks the documents of retrievers, and keeps the best.

    Documents come back as copies, best first, with the reranker's scores; equal scores keep their order. Of documents with the same
    id, which come from several retrievers, the first one is ranked.

        ranker = LorankRanker("minilm", {"qa": "minilm-qa"}, top_k=3)
        documents = ranker.run("how long is the nile", documents)["documents"]
    """

    def __init__(
        self,
        base: str | os.PathLike[str] = "minilm",
        adapters: Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]] | None = None,
        *,
        top_k: int | None = None,
        adapter: str | None = None,
        activation: str | None = None,
        score_threshold: float | None = None,
        meta_fields_to_embed: Sequence[str] = (),
        embedding_separator: str = "\n",
        title_field: str | None = None,
        instruction: str | None = None,
        passages: str | None = None,
        precision: str = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        cache_bytes: int | None = None,
        device: str = "auto",
    ) -> None:
        """Takes the settings. `warm_up`, which `run` calls if need be, loads the model.

        Args:
            base: The base model, as for `Reranker`.
            adapters: The adapters, as for `Reranker`.
            top_k: The number of documents to return. By default all.
            adapter: The name of an adapter, or `none` for the bare base model. By default the first adapter.
            activation: `sigmoid` for scores from 0 to 1. By default the model's logits.
            score_threshold: The minimum score of a document.
            meta_fields_to_embed: The keys of metadata to prepend to a document's content, if the document has them.
            embedding_separator: What separates them from each other and from the content.
            title_field: The key of the metadata that has a document's title, which models with a prompt for titles tell apart.
            instruction: What the model shall judge, for models whose prompt has a place for it.
            passages: How long documents are scored: `first`, `max` or `mean-top-3`.
            precision: As for `Reranker`.
            threads: As for `Reranker`.
            max_length: As for `Reranker`.
            cache_bytes: As for `Reranker`.
            device: As for `Reranker`.

        Raises:
            TypeError: An argument of another type.
            ValueError: `top_k` below 1.
        """
        self.base = path_text(base, "base")
        self.adapters: dict[str, str] | list[str] | None = None
        if isinstance(adapters, Mapping):
            self.adapters = {name: path_text(source, "adapters") for name, source in adapters.items()}
        elif adapters is not None:
            if isinstance(adapters, str):
                raise TypeError(f"`adapters` is the text {adapters!r}, not a mapping or a list; write [{adapters!r}]")
            self.adapters = [path_text(source, "adapters") for source in adapters]
        self.top_k = at_least(top_k, 1, "top_k")
        self.adapter = adapter
        self.activation = activation
        self.score_threshold = score_threshold
        self.meta_fields_to_embed = texts(meta_fields_to_embed, "meta_fields_to_embed")
        self.embedding_separator = text(embedding_separator, "embedding_separator")
        self.title_field = title_field
        self.instruction = instruction
        self.passages = passages
        self._settings: dict[str, Any] = {
            "precision": precision,
            "threads": threads,
            "max_length": max_length,
            "cache_bytes": cache_bytes,
            "device": device,
        }
        self._reranker: Reranker | None = None

    def warm_up(self) -> None:
        """Loads the model, if it is not loaded. Raises what `Reranker` raises."""
        self._loaded()

    def to_dict(self) -> dict[str, Any]:
        """The settings, for Haystack's files of pipelines."""
        settings: dict[str, Any] = default_to_dict(
            self,
            base=self.base,
            adapters=self.adapters,
            top_k=self.top_k,
            adapter=self.adapter,
            activation=self.activation,
            score_threshold=self.score_threshold,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
            title_field=self.title_field,
            instruction=self.instruction,
            passages=self.passages,
            **self._settings,
        )
        return settings

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LorankRanker:
        """A ranker with these settings: the inverse of `to_dict`."""
        ranker: LorankRanker = default_from_dict(cls, data)
        return ranker

    @component.output_types(documents=list[HaystackDocument])
    def run(
        self,
        query: str,
        documents: list[HaystackDocument],
        top_k: int | None = None,
        adapter: str | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[HaystackDocument]]:
        """Ranks documents for a query.

        Args:
            query: The query.
            documents: The documents, each with a text in `content`.
            top_k: The number of documents to return, instead of the component's.
            adapter: The name of an adapter, instead of the component's.
            score_threshold: The minimum score of a document, instead of the component's.

        Returns:
            `documents`: the best documents, best first.

        Raises:
            TypeError: A query or a title that is not a text.
            ValueError: A document without a text, `top_k` below 1, or what `Reranker.rank` refuses.
            LookupError: There is no adapter of this name.
        """
        unique, read = self._read(documents)
        hits = self._loaded().rank(query, read, **self._arguments(top_k, adapter))
        return {"documents": self._ranked(unique, hits, score_threshold)}

    @component.output_types(documents=list[HaystackDocument])
    async def run_async(
        self,
        query: str,
        documents: list[HaystackDocument],
        top_k: int | None = None,
        adapter: str | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[HaystackDocument]]:
        """Ranks documents as `run` does, without blocking the event loop. Cancelling the task cancels the scoring."""
        unique, read = self._read(documents)
        hits = await self._loaded().arank(query, read, **self._arguments(top_k, adapter))
        return {"documents": self._ranked(unique, hits, score_threshold)}

    def _loaded(self) -> Reranker:
        if self._reranker is None:
            self._reranker = Reranker(self.base, self.adapters, **self._settings)
        return self._reranker

    def _arguments(self, top_k: int | None, adapter: str | None) -> dict[str, Any]:
        own: dict[str, Any] = {"top_k": self.top_k if top_k is None else at_least(top_k, 1, "top_k")}
        if adapter is not None:
            own["adapter"] = adapter
        return settings(self) | own

    def _read(self, documents: list[HaystackDocument]) -> tuple[list[HaystackDocument], list[Document]]:
        """The documents without those that repeat an id, and their texts."""
        unique: dict[str, HaystackDocument] = {}
        for n, document in enumerate(documents):
            if not isinstance(document, HaystackDocument):
                raise TypeError(f"document {n} is of type {type(document).__name__}, not haystack.Document")
            unique.setdefault(document.id, document)
        return list(unique.values()), [self._text(document) for document in unique.values()]

    def _text(self, document: HaystackDocument) -> Document:
        if document.content is None:
            raise ValueError(f"document `{document.id}` has no text in `content`; only texts can be ranked")
        parts = [str(document.meta[key]) for key in self.meta_fields_to_embed if document.meta.get(key)]
        whole = self.embedding_separator.join([*parts, document.content])
        return with_title(whole, document.meta, self.title_field, f"document `{document.id}`")

    def _ranked(
        self, documents: list[HaystackDocument], hits: list[Hit], score_threshold: float | None
    ) -> list[HaystackDocument]:
        least = self.score_threshold if score_threshold is None else score_threshold
        return [
            dataclasses.replace(documents[hit["corpus_id"]], score=hit["score"])
            for hit in hits
            if least is None or hit["score"] >= least
        ]
