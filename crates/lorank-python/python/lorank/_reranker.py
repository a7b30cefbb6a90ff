"""The class `Reranker`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar

from lorank._arguments import at_least, listed, path_text, sources, text
from lorank._native import Cancellation, Engine

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

T = TypeVar("T")

#: A document: a text, or a mapping with `text` and an optional `title`. Other keys have no effect.
Document: TypeAlias = str | Mapping[str, Any]

#: What becomes of a model's logit. `None` leaves it as it is.
Activation = Literal["sigmoid", "identity"]

#: The memory of the score cache: a million scores.
CACHE_BYTES = 128 << 20


class _RankedDocument(TypedDict):
    corpus_id: int
    score: float


class Hit(_RankedDocument, total=False):
    """A ranked document: its index in the list, its score, and `text` if documents were asked for."""

    text: Document


class Reranker:
    """A cross-encoder with any number of LoRA adapters, which score pairs of a query and a document.

    Threads share a reranker: their pairs are scored in the same batches, with Python's interpreter released. Scores do not depend
    on batches, threads or the order of pairs, and are those of the program's `lorank score`, bit for bit.

    Args:
        base: The base model: the built-in `minilm`, a folder, or `hf://owner/name[@revision]`. Downloads use the variables of
            Hugging Face's tools, such as `HF_HOME` and `HF_TOKEN`.
        adapters: The adapters: a mapping of names to folders, `hf://owner/name[@revision]` or the names of built-in adapters
            (`minilm-qa`, `minilm-science`); or a sequence of these, each named after its folder or repository. The first one is the
            default of calls that name none; without adapters, the bare base model is.
        precision: `auto`, `f32`, `bf16`, `int8` or `fp8` (NVIDIA GPUs). `auto` is the fastest precision that preserves the ranking.
        threads: The number of compute threads, which all models of a process share; the first model decides. By default one per core.
        max_length: The maximum length of a query and a document together, in tokens. By default the adapter's or the model's.
        cache_bytes: The memory of the score cache in bytes; 0 disables it. By default 128 MiB, which is taken as scores come.
        device: `auto` and `cpu` are the CPU. `cuda:0` is the first NVIDIA GPU, which needs `pip install lorank[cuda]` and a driver;
            this has not yet run on a GPU.

    Raises:
        FileNotFoundError: A folder or a built-in name does not exist.
        ModelError: A model's files cannot be used.
        OSError: The hub cannot be reached, or the GPU cannot be used.
        ValueError: An invalid argument.
        RuntimeError: The process was forked from one that used lorank; use multiprocessing's method `spawn`.

    A reranker is pickled by its settings, so it is loaded anew where it is unpickled.
    """

    def __init__(
        self,
        base: str | os.PathLike[str] = "minilm",
        adapters: Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]] | None = None,
        *,
        precision: str = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        cache_bytes: int | None = None,
        device: str = "auto",
    ) -> None:
        if isinstance(adapters, str):
            raise TypeError(f"`adapters` is the text {adapters!r}, not a mapping or a list; write [{adapters!r}]")
        self._settings: dict[str, Any] = {
            "base": path_text(base, "base"),
            "precision": precision,
            "threads": threads,
            "max_length": max_length,
            "cache_bytes": cache_bytes,
            "device": device,
        }
        self._engine = Engine(
            base=self._settings["base"],
            adapters=sources(adapters),
            precision=text(precision, "precision"),
            device=text(device, "device"),
            threads=at_least(threads, 1, "threads"),
            max_length=at_least(max_length, 1, "max_length"),
            cache_bytes=CACHE_BYTES if cache_bytes is None else at_least(cache_bytes, 0, "cache_bytes") or 0,
            hub_cache=None,
            hub_token=None,
            hub_offline=False,
        )

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        top_k: int | None = None,
        return_documents: bool = False,
        adapter: str | None = None,
        *,
        activation: Activation | None = None,
        instruction: str | None = None,
        passages: str | None = None,
    ) -> list[Hit]:
        """Ranks documents for a query.

        Args:
            query: The query.
            documents: Texts, or mappings with `text` and an optional `title`.
            top_k: The number of documents to return. By default all.
            return_documents: Whether hits have their document in `text`.
            adapter: The name of an adapter, or `none` for the bare base model. By default the first adapter that was given.
            activation: `sigmoid` for scores from 0 to 1. By default the model's logits.
            instruction: What the model shall judge, for models whose prompt has a place for it.
            passages: How documents beyond the model's limit are scored: `first` (their beginning), `max` or `mean-top-3`. By default
                as the model's author says, mostly `first`.

        Returns:
            The documents' indices (`corpus_id`) with their scores, best first; equal scores in the order of the documents.

        Raises:
            TypeError: A query or document of another type.
            ValueError: A text with a lone surrogate, or another invalid argument.
            LookupError: There is no adapter of this name.
        """
        documents = listed(documents, "documents")
        many = self._rank([query], [documents], top_k, adapter, activation, instruction, passages, None)
        return _hits(many[0], documents, return_documents)

    def rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[Document]],
        top_k: int | None = None,
        return_documents: bool = False,
        adapter: str | None = None,
        *,
        activation: Activation | None = None,
        instruction: str | None = None,
        passages: str | None = None,
    ) -> list[list[Hit]]:
        """Ranks each query's documents, in shared batches.

        Args:
            queries: The queries.
            documents: For each query, its documents.
            top_k: The number of documents to return for each query. By default all.
            return_documents: As in `rank`.
            adapter: As in `rank`.
            activation: As in `rank`.
            instruction: As in `rank`.
            passages: As in `rank`.

        Returns:
            For each query, what `rank` returns.

        Raises:
            ValueError: The numbers of queries and of lists differ, or as in `rank`.
            TypeError: As in `rank`.
            LookupError: As in `rank`.
        """
        lists = [listed(one, f"documents[{n}]") for n, one in enumerate(listed(documents, "documents"))]
        many = self._rank(listed(queries, "queries"), lists, top_k, adapter, activation, instruction, passages, None)
        return [_hits(ranked, one, return_documents) for ranked, one in zip(many, lists, strict=True)]

    def predict(
        self,
        pairs: Iterable[Sequence[Any]],
        activation: Activation | None = None,
        adapter: str | None = None,
        *,
        instruction: str | None = None,
    ) -> npt.NDArray[np.float32]:
        """Scores pairs of a query and a document, each cut to the model's limit.

        Args:
            pairs: Pairs of a query and a document; documents as in `rank`.
            activation: `sigmoid` for scores from 0 to 1. By default the model's logits.
            adapter: As in `rank`.
            instruction: As in `rank`.

        Returns:
            The score of each pair, in their order: an array of float32 of the shape (number of pairs,).

        Raises:
            TypeError: Something else than pairs of texts.
            ValueError: As in `rank`.
            LookupError: As in `rank`.
        """
        return self._predict(pairs, activation, adapter, instruction, None)

    async def arank(
        self,
        query: str,
        documents: Iterable[Document],
        top_k: int | None = None,
        return_documents: bool = False,
        adapter: str | None = None,
        *,
        activation: Activation | None = None,
        instruction: str | None = None,
        passages: str | None = None,
    ) -> list[Hit]:
        """Ranks documents for a query as `rank` does, without blocking the event loop. Cancelling the task cancels the scoring."""
        documents = listed(documents, "documents")

        def rank(cancellation: Cancellation) -> list[list[tuple[int, float]]]:
            return self._rank([query], [documents], top_k, adapter, activation, instruction, passages, cancellation)

        return _hits((await in_thread(rank))[0], documents, return_documents)

    async def apredict(
        self,
        pairs: Iterable[Sequence[Any]],
        activation: Activation | None = None,
        adapter: str | None = None,
        *,
        instruction: str | None = None,
    ) -> npt.NDArray[np.float32]:
        """Scores pairs as `predict` does, without blocking the event loop. Cancelling the task cancels the scoring."""
        return await in_thread(lambda cancel: self._predict(pairs, activation, adapter, instruction, cancel))

    def add_adapter(self, name: str, source: str | os.PathLike[str]) -> None:
        """Loads an adapter: a folder, `hf://owner/name[@revision]` or the name of a built-in one. Calls in progress go on.

        Raises:
            ValueError: The name is invalid or taken.
            FileNotFoundError: There is no such folder or built-in adapter.
            ModelError: The files cannot be used, or do not fit the base model.
        """
        self._engine.add_adapter(text(name, "name"), path_text(source, "source"))

    def remove_adapter(self, name: str) -> None:
        """Drops an adapter from memory. Calls in progress go on.

        Raises:
            LookupError: There is no such adapter.
            ValueError: It is the default adapter.
        """
        self._engine.remove_adapter(text(name, "name"))

    @property
    def adapters(self) -> list[str]:
        """The names of the adapters in the order in which they came; the first one that was given at the start is the default."""
        return [name for name, _ in self._engine.adapters() if name is not None]

    def verify(self) -> list[str]:
        """Checks the model, and that the adapters' files are still those that were loaded.

        Returns:
            A text for each problem: files that are gone or have changed, and scores that are not finite or all equal. An empty list
            means that all is well.
        """
        return self._engine.verify()

    def info(self) -> dict[str, Any]:
        """Facts about the model, its adapters and the score cache: the member `model` of `lorank info --json`, and more."""
        info: dict[str, Any] = json.loads(self._engine.info())
        return info

    def __repr__(self) -> str:
        """The base model and the adapters."""
        return f"Reranker({self._settings['base']!r}, adapters={self.adapters!r})"

    def __reduce__(self) -> tuple[Callable[..., Reranker], tuple[Any, ...]]:
        """The settings: a copy in another process loads the model by itself."""
        return _load, (type(self), self._settings, self._engine.adapters())

    def _rank(
        self,
        queries: list[str],
        documents: list[list[Document]],
        top_k: int | None,
        adapter: str | None,
        activation: str | None,
        instruction: str | None,
        passages: str | None,
        cancellation: Cancellation | None,
    ) -> list[list[tuple[int, float]]]:
        return self._engine.rank(
            queries,
            documents,
            top_k=at_least(top_k, 0, "top_k"),
            activation=activation,
            adapter=adapter,
            instruction=instruction,
            passages=passages,
            cancellation=cancellation,
        )

    def _predict(
        self,
        pairs: Iterable[Sequence[Any]],
        activation: str | None,
        adapter: str | None,
        instruction: str | None,
        cancellation: Cancellation | None,
    ) -> npt.NDArray[np.float32]:
        # Only here: the program and `rank` do without, and importing it takes as long as loading a small model.
        import numpy as np

        scores = self._engine.score(
            pairs, activation=activation, adapter=adapter, instruction=instruction, cancellation=cancellation
        )
        return np.frombuffer(scores, dtype=np.float32)


def _load(kind: type[Reranker], settings: dict[str, Any], adapters: list[tuple[str | None, str]]) -> Reranker:
    """A reranker with these settings: the inverse of `Reranker.__reduce__`."""
    return kind(adapters=[source if name is None else f"{name}={source}" for name, source in adapters], **settings)


async def in_thread(call: Callable[[Cancellation], T]) -> T:
    """The result of a call in a thread, which is cancelled with the task that waits for it."""
    # Its caller has imported it; others do not wait for it.
    import asyncio

    cancellation = Cancellation()
    try:
        return await asyncio.to_thread(call, cancellation)
    except asyncio.CancelledError:
        cancellation.cancel()
        raise


def _hits(ranked: list[tuple[int, float]], documents: list[Document], return_documents: bool) -> list[Hit]:
    if return_documents:
        return [{"corpus_id": at, "score": score, "text": documents[at]} for at, score in ranked]
    return [{"corpus_id": at, "score": score} for at, score in ranked]
