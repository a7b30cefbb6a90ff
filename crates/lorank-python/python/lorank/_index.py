"""The class `Index`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lorank import _native
from lorank._arguments import at_least, path_text, stage_texts, text, texts
from lorank._progress import bar
from lorank._reranker import Reranker, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

#: The documents that are handed to the writer at once.
_CHUNK = 256


class Index:
    """Documents in a folder, which BM25 searches and a `Reranker` reranks: the index of the program.

    Other processes, such as a running `lorank serve`, can search it at the same time, and see changes at once. One process writes
    at a time; another one gets an error.

    Use `Index.create` or `Index.open`. An index is a context manager, which closes it at the end.
    """

    def __init__(self, path: str | os.PathLike[str], native: _native.Index) -> None:
        """For `create` and `open`."""
        self._path = os.path.abspath(path)
        self._native: _native.Index | None = native

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        fields: Iterable[str] | None = None,
        id_field: str | None = None,
        language: str | None = None,
    ) -> Index:
        """Creates an empty index.

        Args:
            path: A folder that does not exist, or is empty.
            fields: The fields to search, with an optional boost, as `title^2`. By default `title` and `text`.
            id_field: The field with the id of a document. By default `id` or `_id`.
            language: The language of stemming and stop words, or `none`. By default `english`.

        Raises:
            ValueError: Invalid settings, or a folder with other files.
            LorankError: There is an index already.
            OSError: The folder cannot be written.
        """
        native = _native.Index(
            _folder(path),
            create=True,
            fields=None if fields is None else texts(fields, "fields"),
            id_field=None if id_field is None else text(id_field, "id_field"),
            language=None if language is None else text(language, "language"),
        )
        return cls(path, native)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Index:
        """Opens an index.

        Raises:
            FileNotFoundError: There is no index in the folder.
            OSError: The folder cannot be read.
        """
        return cls(path, _native.Index(_folder(path), create=False, fields=None, id_field=None, language=None))

    def add(
        self,
        documents: Iterable[Mapping[str, Any]],
        *,
        commit_every: int | None = None,
        show_progress_bar: bool = False,
    ) -> int:
        """Adds documents. One replaces the document with the same id.

        Args:
            documents: Mappings of values that JSON has: an id, the searched fields, and others to filter, sort and return. Dates are
                texts in ISO 8601.
            commit_every: Commit after so many documents. By default once, at the end.
            show_progress_bar: Whether to show progress with tqdm, if it is installed.

        Returns:
            The number of documents.

        Raises:
            TypeError: A document that is no mapping, or has a value that JSON does not have.
            ValueError: A document that the index cannot hold. The index has the state of the last commit then.
            LorankError: Another process is writing.
        """
        commit_every = at_least(commit_every, 1, "commit_every")
        n = n_committed = 0
        writer = self._open().writer()
        try:
            chunk: list[bytes] = []
            for document in _with_progress(_iterable(documents), show_progress_bar):
                chunk.append(_json(document, n + len(chunk)))
                is_due = commit_every is not None and n + len(chunk) - n_committed >= commit_every
                if len(chunk) >= _CHUNK or is_due:
                    writer.add(chunk, n)
                    n, chunk = n + len(chunk), []
                if is_due:
                    writer.commit()
                    n_committed = n
            writer.add(chunk, n)
            writer.commit()
        except BaseException:
            writer.discard()
            raise
        writer.close()
        return n + len(chunk)

    def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: str | Iterable[str] | None = None,
        query: str | None = None,
        syntax: str = "plain",
        all: bool = False,
    ) -> int:
        """Deletes documents by their ids, by filters and a query, or all of them.

        Args:
            ids: The ids. Unknown ones have no effect.
            filter: Filters as in `search`, which all match.
            query: A query that matches.
            syntax: The query's syntax: `plain` or `advanced`.
            all: Every document.

        Returns:
            The number of deleted documents.

        Raises:
            ValueError: None or several of the kinds of arguments, or an invalid filter or query.
            LorankError: Another process is writing.
        """
        is_selected = filter is not None or query is not None
        if (ids is not None) + is_selected + all != 1:
            raise ValueError("give `ids`, or `filter` and `query`, or `all=True`")
        filters = _filters(filter)
        names = None if ids is None else texts(ids, "ids")
        native = self._open()
        writer = native.writer()
        try:
            before = native.n_documents()
            if names is not None:
                writer.delete(names)
            else:
                writer.delete_matching(filters, query, syntax)
            writer.commit()
        except BaseException:
            writer.discard()
            raise
        writer.close()
        return before - native.n_documents()

    def search(
        self,
        query: str | None,
        top_k: int = 10,
        depth: int | None = None,
        filter: str | Iterable[str] | None = None,
        reranker: Reranker | None = None,
        adapter: str | None = None,
        deadline: float | None = None,
        *,
        offset: int = 0,
        sort: str | Iterable[str] | None = None,
        syntax: str = "plain",
        fuzzy: str = "auto",
        blend: float | None = None,
        rank_by: str | None = None,
        min_rerank_score: float | None = None,
        instruction: str | None = None,
        passages: str | None = None,
        stages: Iterable[str | Mapping[str, Any]] | None = None,
        explain: bool = False,
    ) -> dict[str, Any]:
        """Searches: BM25 finds candidates, and the reranker orders the first of them.

        Args:
            query: The query; `None` matches every document, which is not reranked.
            top_k: The number of hits.
            depth: The number of candidates to rerank. By default 100; with `stages`, each stage has its own.
            filter: One or several filters by fields, such as `lang=en` or `year>=1990`, which all match.
            reranker: The model. Without one, hits are in BM25's order.
            adapter: The name of an adapter of the reranker, or `none`. By default the reranker's first one.
            deadline: The time in seconds after which the answer is in BM25's order, with the reason in `fallback`.
            offset: The number of hits to skip.
            sort: Fields to sort by instead of scores, such as `year:desc`; not reranked.
            syntax: `plain`, or `advanced` for tantivy's query language.
            fuzzy: Typo tolerance: `off`, `auto` or `on`.
            blend: The weight of the rerank score against BM25's in the order, from 0 to 1. By default 1.
            rank_by: An expression to order by, as of `lorank search --rank-by`.
            min_rerank_score: The minimum rerank score of a hit.
            instruction: What the model shall judge, for models whose prompt has a place for it.
            passages: How long documents are scored: `first`, `max` or `mean-top-3`.
            stages: Models of the reranker that rerank one after the other, each the best candidates of the stage before: texts as of
                `lorank search --stage`, such as `none:100` and `qa:10:0.6`, or mappings with `depth`, and optionally `adapter`, `base`
                and `deadline_share`. At most four, none deeper than the one before; instead of `adapter` and `depth`. `stages` of
                the answer says what each did, and a hit's `stages`, if `explain` is true, its rank and score after each.
            explain: Whether hits have an explanation.

        Returns:
            What `lorank search --json` prints: `hits` with `id`, `rank`, `rerank_score`, `fields` and more, `reranked`, `fallback`,
            `total_hits`, `timings_millis`, and others.

        Raises:
            ValueError: An invalid query, filter or argument, or one that has no effect without a reranker.
            LookupError: There is no adapter of this name.
        """
        return self._search(
            None,
            query=query,
            top_k=top_k,
            depth=depth,
            filter=filter,
            reranker=reranker,
            adapter=adapter,
            deadline=deadline,
            offset=offset,
            sort=sort,
            syntax=syntax,
            fuzzy=fuzzy,
            blend=blend,
            rank_by=rank_by,
            min_rerank_score=min_rerank_score,
            instruction=instruction,
            passages=passages,
            stages=stages,
            explain=explain,
        )

    async def asearch(
        self,
        query: str | None,
        top_k: int = 10,
        depth: int | None = None,
        filter: str | Iterable[str] | None = None,
        reranker: Reranker | None = None,
        adapter: str | None = None,
        deadline: float | None = None,
        *,
        offset: int = 0,
        sort: str | Iterable[str] | None = None,
        syntax: str = "plain",
        fuzzy: str = "auto",
        blend: float | None = None,
        rank_by: str | None = None,
        min_rerank_score: float | None = None,
        instruction: str | None = None,
        passages: str | None = None,
        stages: Iterable[str | Mapping[str, Any]] | None = None,
        explain: bool = False,
    ) -> dict[str, Any]:
        """Searches as `search` does, without blocking the event loop. Cancelling the task cancels the search."""
        return await in_thread(
            lambda cancellation: self._search(
                cancellation,
                query=query,
                top_k=top_k,
                depth=depth,
                filter=filter,
                reranker=reranker,
                adapter=adapter,
                deadline=deadline,
                offset=offset,
                sort=sort,
                syntax=syntax,
                fuzzy=fuzzy,
                blend=blend,
                rank_by=rank_by,
                min_rerank_score=min_rerank_score,
                instruction=instruction,
                passages=passages,
                stages=stages,
                explain=explain,
            )
        )

    def info(self) -> dict[str, Any]:
        """Facts about the index: the member `index` of `lorank info --json`."""
        return _answer(self._open().info())

    @property
    def path(self) -> str:
        """The folder."""
        return self._path

    def close(self) -> None:
        """Closes the index. Later calls raise a `ValueError`."""
        self._native = None

    def __len__(self) -> int:
        """The number of documents."""
        return self._open().n_documents()

    def __enter__(self) -> Index:
        """The index itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the index."""
        self.close()

    def __repr__(self) -> str:
        """The folder."""
        return f"Index({self._path!r}{', closed' if self._native is None else ''})"

    def __reduce__(self) -> tuple[Callable[[str], Index], tuple[str]]:
        """The folder: a copy in another process opens it by itself."""
        return Index.open, (self._path,)

    def _open(self) -> _native.Index:
        if self._native is None:
            raise ValueError(f"the index {self._path!r} is closed")
        return self._native

    def _search(
        self,
        cancellation: _native.Cancellation | None,
        *,
        query: str | None,
        reranker: Reranker | None,
        filter: str | Iterable[str] | None,
        sort: str | Iterable[str] | None,
        **arguments: Any,
    ) -> dict[str, Any]:
        sort_keys = [sort] if isinstance(sort, str) else [] if sort is None else texts(sort, "sort")
        _check_effect(query, sort_keys, reranker, arguments)
        if reranker is not None and not isinstance(reranker, Reranker):
            raise TypeError(f"`reranker` is of type {type(reranker).__name__}, not Reranker")
        for name, least in (("top_k", 1), ("offset", 0)):
            if at_least(arguments[name], least, name) is None:
                raise TypeError(f"`{name}` is None; give a number")
        at_least(arguments["depth"], 1, "depth")
        if arguments["stages"] is not None:
            arguments["stages"] = stage_texts(arguments["stages"])
        answer = self._open().search(
            None if query is None else text(query, "query"),
            filters=_filters(filter),
            sort=sort_keys,
            reranker=None if reranker is None else reranker._engine,
            cancellation=cancellation,
            **arguments,
        )
        return _answer(answer)


def _check_effect(query: str | None, sort: list[str], reranker: Reranker | None, arguments: Mapping[str, Any]) -> None:
    """Refuses arguments without an effect, as the program does."""
    if reranker is None:
        of_rerankers = ("adapter", "blend", "min_rerank_score", "instruction", "passages", "stages")
        given = [name for name in of_rerankers if arguments[name] is not None]
        if given:
            raise ValueError(f"`{given[0]}` has no effect without a `reranker`")
    elif query is None or sort:
        raise ValueError("a search without a query, or with `sort`, is not reranked; leave `reranker` out")


def _filters(given: str | Iterable[str] | None) -> list[str]:
    if given is None:
        return []
    return [given] if isinstance(given, str) else texts(given, "filter")


def _folder(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path_text(path, "path"))


def _iterable(documents: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    if isinstance(documents, (str, bytes, Mapping)) or not isinstance(documents, Iterable):
        raise TypeError(f"`documents` is of type {type(documents).__name__}, not an iterable of mappings")
    return documents


def _json(document: Mapping[str, Any], n: int) -> bytes:
    """A document as JSON."""
    if not isinstance(document, Mapping):
        raise TypeError(f"document {n} is of type {type(document).__name__}, not a mapping")
    try:
        return json.dumps(dict(document), ensure_ascii=False, allow_nan=False).encode()
    except TypeError as error:
        raise TypeError(f"document {n} has a value that JSON does not have: {error}") from error
    except RecursionError as error:
        raise ValueError(f"document {n} is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"document {n} has a lone surrogate, which is not valid Unicode") from error
    except ValueError as error:
        raise ValueError(f"document {n} is not valid: {error}") from error


def _with_progress(documents: Iterable[Mapping[str, Any]], show_progress_bar: bool) -> Iterable[Mapping[str, Any]]:
    progress: Iterable[Mapping[str, Any]] | None = bar(
        show_progress_bar, documents, desc="Documents", unit=" documents"
    )
    return documents if progress is None else progress


def _answer(printed: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(printed)
    return answer
