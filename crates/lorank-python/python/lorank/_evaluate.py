"""The function `evaluate`."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lorank import _native
from lorank._arguments import at_least, text, texts
from lorank._index import Index
from lorank._progress import bar
from lorank._reranker import Reranker

#: The measures, unless others are given: those of `lorank eval`.
MEASURES = ("ndcg@10", "mrr@10", "recall@100")


def evaluate(
    source: Index | Mapping[str, Mapping[str, float]],
    queries: Mapping[str, str] | None,
    qrels: Mapping[str, Mapping[str, int]],
    *,
    reranker: Reranker | None = None,
    adapters: Iterable[str] | None = None,
    index: Index | None = None,
    measures: str | Iterable[str] = MEASURES,
    depth: int = 100,
    depths: Iterable[int] = (),
    ties: str = "trec-eval",
    baseline: str = "first-stage",
    fuzzy: str = "auto",
    instruction: str | None = None,
    passages: str | None = None,
    runs: bool = False,
    name: str = "collection",
    show_progress_bar: bool = False,
) -> dict[str, Any]:
    """Measures rankings by relevance judgments, with the numbers of `lorank eval` and trec_eval.

    The first ranker is the first stage: an index's BM25, or a run. Each adapter reranks its candidates and is compared with the
    baseline, by a paired bootstrap and a randomization test.

    Args:
        source: An index that retrieves the candidates; or a run: for each query's id, its documents' ids with their scores, as ranx,
            ir_measures and pytrec_eval have it.
        queries: The texts of the queries by their ids. `None` for a run that is measured as it is.
        qrels: For each query's id, the grades of its judged documents, as the same packages have it.
        reranker: The model that reranks.
        adapters: The names of the reranker's adapters to evaluate, `none` for the bare base model. By default all of them, or the base
            model if there is none.
        index: The documents of a run that is reranked.
        measures: As `lorank eval --measure` takes them: `ndcg@10`, `map`, `mrr@10`, `recall@100`, `p@10`, `success@1`, or trec_eval's
            names.
        depth: The number of candidates that are reranked.
        depths: Further depths for the first measure.
        ties: Which of two documents with equal scores is first: `trec-eval` for the greater id, or `input`.
        baseline: The ranker that the others are compared with: `first-stage` or an adapter.
        fuzzy: Typo tolerance of the index's search: `off`, `auto` or `on`.
        instruction: What the model shall judge, for models whose prompt has a place for it.
        passages: How long documents are scored: `first`, `max` or `mean-top-3`.
        runs: Whether the answer has each ranker's run in `runs`.
        name: The name of the collection in the answer.
        show_progress_bar: Whether to show progress with tqdm, if it is installed.

    Returns:
        What `lorank eval --json` prints: `rankers` with their `means`, in the order of `measures`, and their `comparisons`; `queries`
        with the values of each; and `runs`, if asked for.

    Raises:
        TypeError: A value of another type.
        ValueError: A judged query without a text, an unknown measure, or another invalid argument.
        LookupError: There is no adapter of this name, or a ranked document is not in the index.
    """
    run = None if isinstance(source, Index) else _by_query(source, "source", float)
    if isinstance(source, Index) and index is not None:
        raise ValueError("`index` is for a run; the candidates are those of the index `source`")
    documents = source if isinstance(source, Index) else index
    judged = _by_query(qrels, "qrels", operator.index)
    names = _adapters(reranker, adapters)
    if reranker is not None and documents is None:
        raise ValueError("to rerank a run, give the `index` of its documents")
    if queries is None and (run is None or reranker is not None):
        raise ValueError("`queries` is None; their texts are needed to search and to rerank")
    texts_of_queries = {query: "" for query, _ in judged} if queries is None else _texts(queries)
    progress, end = _progress(len(judged), show_progress_bar)
    try:
        printed = _native.evaluate(
            name=text(name, "name"),
            index=None if documents is None else documents._open(),
            run=run,
            queries=list(texts_of_queries.items()),
            qrels=judged,
            engine=None if reranker is None else reranker._engine,
            adapters=names,
            measures=[measures] if isinstance(measures, str) else texts(measures, "measures"),
            depth=at_least(depth, 1, "depth") or 1,
            depths=[at_least(one, 1, "depths") or 1 for one in depths],
            ties=text(ties, "ties"),
            baseline=text(baseline, "baseline"),
            fuzzy=text(fuzzy, "fuzzy"),
            instruction=instruction,
            passages=passages,
            runs=bool(runs),
            progress=progress,
        )
    finally:
        end()
    answer: dict[str, Any] = json.loads(printed)
    return answer


def _adapters(reranker: Reranker | None, adapters: Iterable[str] | None) -> list[str]:
    """The names of the rankers."""
    if reranker is None:
        if adapters is not None:
            raise ValueError("`adapters` has no effect without a `reranker`")
        return []
    if not isinstance(reranker, Reranker):
        raise TypeError(f"`reranker` is of type {type(reranker).__name__}, not Reranker")
    return (reranker.adapters or ["none"]) if adapters is None else texts(adapters, "adapters")


def _by_query(given: Any, name: str, number: Callable[[Any], Any]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Judgments or a run as lists."""
    if not isinstance(given, Mapping):
        raise TypeError(f"`{name}` is of type {type(given).__name__}, not a mapping of queries")
    whole = []
    for query, documents in given.items():
        if not isinstance(documents, Mapping):
            raise TypeError(
                f"`{name}` of query {query!r} is of type {type(documents).__name__}, not a mapping of documents"
            )
        try:
            values = [(text(document, name), number(value)) for document, value in documents.items()]
        except (TypeError, ValueError) as error:
            raise type(error)(f"`{name}` of query {query!r}: {error}") from error
        whole.append((text(query, name), values))
    return whole


def _texts(queries: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(queries, Mapping):
        raise TypeError(f"`queries` is of type {type(queries).__name__}, not a mapping of ids to texts")
    return {text(query, "queries"): text(words, "queries") for query, words in queries.items()}


def _progress(n_queries: int, show_progress_bar: bool) -> tuple[Callable[[], object] | None, Callable[[], object]]:
    """A function to call after each query, and one at the end."""
    progress = bar(show_progress_bar, total=n_queries, desc="Queries", unit=" queries")
    return (None, lambda: None) if progress is None else (progress.update, progress.close)
