"""The native module: what `lorank`'s classes are built on. Use those instead."""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import final

__all__ = [
    "Cancellation",
    "Engine",
    "Index",
    "IndexWriter",
    "LorankError",
    "ModelError",
    "__version__",
    "evaluate",
    "main",
]

__version__: str

def main(args: list[str]) -> int:
    """Runs the command in these arguments, the first of which is the program's name, and returns the exit status."""

class LorankError(Exception):
    """An error of lorank that none of Python's own exceptions fits."""

class ModelError(LorankError):
    """A base model or an adapter whose files cannot be used."""

@final
class Cancellation:
    """Cancels a call from another thread."""

    def __new__(cls) -> Cancellation: ...
    def cancel(self) -> None:
        """Cancels the calls that were given this object. Scores that are computed stay in the cache."""

@final
class Engine:
    """A base model with adapters, a score cache and a queue."""

    def __new__(
        cls,
        *,
        base: str | None,
        adapters: list[tuple[str | None, str]],
        precision: str,
        device: str,
        threads: int | None,
        max_length: int | None,
        cache_bytes: int,
        hub_cache: str | PathLike[str] | None,
        hub_token: str | None,
        hub_offline: bool,
    ) -> Engine: ...
    def score(
        self,
        pairs: Iterable[object],
        *,
        activation: str | None,
        adapter: str | None,
        instruction: str | None,
        cancellation: Cancellation | None,
    ) -> bytearray:
        """The scores of pairs as float32 in the machine's byte order."""

    def rank(
        self,
        queries: Iterable[object],
        documents: Iterable[object],
        *,
        top_k: int | None,
        activation: str | None,
        adapter: str | None,
        instruction: str | None,
        passages: str | None,
        cancellation: Cancellation | None,
    ) -> list[list[tuple[int, float]]]:
        """For each query, the indices of its documents with their scores, best first; the first `top_k`."""

    def add_adapter(self, name: str, source: str) -> None:
        """Loads an adapter under a name."""

    def remove_adapter(self, name: str) -> None:
        """Drops an adapter."""

    def verify(self) -> list[str]:
        """What is wrong with the adapters."""

    def adapters(self) -> list[tuple[str | None, str]]:
        """The adapters with their names, in the order in which they came; without a name, the bare base model."""

    def info(self) -> str:
        """Facts about the model and the cache, as JSON."""

@final
class Index:
    """An index in a folder."""

    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        create: bool,
        fields: list[str] | None,
        id_field: str | None,
        language: str | None,
    ) -> Index: ...
    def search(
        self,
        query: str | None,
        *,
        top_k: int | None,
        depth: int | None,
        stages: list[str] | None,
        offset: int,
        filters: list[str],
        sort: list[str],
        syntax: str,
        fuzzy: str,
        blend: float | None,
        rank_by: str | None,
        min_rerank_score: float | None,
        instruction: str | None,
        passages: str | None,
        explain: bool,
        deadline: float | None,
        reranker: Engine | None,
        adapter: str | None,
        cancellation: Cancellation | None,
    ) -> str:
        """The answer to a search as JSON."""

    def writer(self) -> IndexWriter:
        """Opens the writer."""

    def n_documents(self) -> int:
        """The number of documents."""

    def info(self) -> str:
        """Facts about the index, as JSON."""

@final
class IndexWriter:
    """The one writer of an index. Changes count from `commit` on; dropping it discards others."""

    def add(self, documents: list[bytes], n_before: int) -> None:
        """Adds documents, which are JSON objects. `n_before` is the number of those before them, for errors."""

    def delete(self, ids: list[str]) -> None:
        """Deletes documents by their ids."""

    def delete_matching(self, filters: list[str], query: str | None, syntax: str) -> None:
        """Deletes the documents that match filters and a query; without both, all documents."""

    def commit(self) -> None:
        """Makes all changes durable and visible."""

    def close(self) -> None:
        """Waits for merges, and releases the index. Changes since the last commit are discarded."""

    def discard(self) -> None:
        """Releases the index without waiting. Changes since the last commit are discarded."""

def evaluate(
    *,
    name: str,
    index: Index | None,
    run: list[tuple[str, list[tuple[str, float]]]] | None,
    queries: list[tuple[str, str]],
    qrels: list[tuple[str, list[tuple[str, int]]]],
    engine: Engine | None,
    adapters: list[str],
    measures: list[str],
    depth: int,
    depths: list[int],
    ties: str,
    baseline: str,
    fuzzy: str,
    instruction: str | None,
    passages: str | None,
    runs: bool,
    progress: Callable[[], object] | None,
) -> str:
    """The evaluation as JSON, with the rankings of each ranker if they are asked for."""
