"""`Index` and `evaluate`: the program's answers and numbers."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lorank
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ADAPTERS, REPOSITORY, TINY

CORPUS = REPOSITORY / "crates" / "lorank-starter" / "data" / "corpus"
#: What differs between two runs.
VOLATILE = ("request_id", "timings_millis", "cache")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def passages(n: int) -> Iterator[dict[str, Any]]:
    yield from (
        {**passage, "year": 1900 + at % 120, "even": at % 2 == 0}
        for at, passage in enumerate(lines(CORPUS / "corpus.jsonl")[:n])
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> lorank.Index:
    index = lorank.Index.create(tmp_path_factory.mktemp("indexes") / "passages")
    assert index.add(passages(500)) == len(index) == 500
    return index


def stable(answer: dict[str, Any]) -> dict[str, Any]:
    for hit in answer["hits"]:
        hit.pop("score_origin", None)
        for stage in hit.get("stages", []):
            stage.pop("score_origin")
    for stage in answer.get("stages", []):
        for key in ("cache", "timings_millis"):
            stage.pop(key)
    return {key: value for key, value in answer.items() if key not in VOLATILE}


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        ({}, []),
        ({"top_k": 3, "depth": 20, "offset": 2}, ["--top-k", 3, "--depth", 20, "--offset", 2]),
        ({"filter": "year>=1950", "explain": True}, ["--filter", "year>=1950", "--explain"]),
        ({"filter": ["year>=1950", "even=true"]}, ["--filter", "year>=1950", "--filter", "even=true"]),
        ({"blend": 0.25}, ["--blend", 0.25]),
        ({"rank_by": "rerank_score + year / 1000"}, ["--rank-by", "rerank_score + year / 1000"]),
        ({"min_rerank_score": -5.0, "passages": "max"}, ["--min-rerank-score", -5, "--passages", "max"]),
        ({"syntax": "advanced", "adapter": "b"}, ["--syntax", "advanced"]),
        (
            {"stages": ["none:20:0.5", "a:5"], "explain": True},
            ["--stage", "none:20:0.5", "--stage", "a:5", "--explain"],
        ),
        (
            {"stages": [{"adapter": "none", "depth": 20, "deadline_share": 0.5}, {"depth": 5}]},
            ["--stage", "none:20:0.5", "--stage", "default:5"],
        ),
    ],
)
def test_a_search_answers_as_the_program(
    index: lorank.Index, tiny: lorank.Reranker, program: Callable[..., str], arguments: dict[str, Any], flags: list[Any]
) -> None:
    query = "light bulb"
    adapter = arguments.get("adapter", "a")
    model = ["--base", TINY, "--adapter", f"{adapter}={ADAPTERS[adapter]}", "--precision", "f32"]
    expected = json.loads(program("search", "--index", index.path, query, "--json", *flags, *model))
    answer = index.search(query, reranker=tiny, **arguments)
    assert answer["reranked"]
    assert stable(answer) == stable(expected)


def test_a_search_without_a_reranker_is_bm25(index: lorank.Index, program: Callable[..., str]) -> None:
    expected = json.loads(program("search", "--index", index.path, "light bulb", "--json", "--no-rerank"))
    answer = index.search("light bulb")
    assert not answer["reranked"] and stable(answer) == stable(expected)
    by_year = index.search(None, sort="year:desc", filter="even=true", top_k=3)
    assert [hit["fields"]["year"] for hit in by_year["hits"]] == sorted(
        (hit["fields"]["year"] for hit in by_year["hits"]), reverse=True
    )
    assert asyncio.run(index.asearch("light bulb"))["hits"] == answer["hits"]


def test_a_deadline_falls_back(index: lorank.Index) -> None:
    answer = index.search("light bulb", reranker=lorank.Reranker(TINY, cache_bytes=0), deadline=0.0)
    assert not answer["reranked"] and answer["fallback"]["reason"] == "deadline_passed"


def test_documents_come_and_go(tmp_path: Path) -> None:
    with lorank.Index.create(
        tmp_path / "index", fields=["title^2", "body"], id_field="key", language="german"
    ) as index:
        assert index.info()["text_fields"] == ["title^2", "body"] and index.info()["language"] == "german"
        assert index.add({"key": n, "body": f"Haus {n}"} for n in range(1000)) == 1000
        assert index.add([{"key": 1, "body": "Boot"}], commit_every=1) == 1
        assert len(index) == 1000, "the second replaced the first"
        assert [hit["id"] for hit in index.search("Boot")["hits"]] == ["1"]
        assert index.delete(["1", "2", "unknown"]) == 2
        assert index.delete(query="Haus", all=False) == 998
        assert index.delete(all=True) == len(index) == 0
        assert repr(index).endswith("index')")
    assert "closed" in repr(index)
    for call in (lambda: len(index), lambda: index.search("q"), lambda: index.add([])):
        with pytest.raises(ValueError, match="is closed"):
            call()
    with lorank.Index.open(tmp_path / "index") as again:
        assert len(pickle.loads(pickle.dumps(again))) == 0
    with pytest.raises(lorank.LorankError, match="index"):
        lorank.Index.create(tmp_path / "index")


def test_a_failed_change_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    index = lorank.Index.create(tmp_path / "index")
    index.add([{"id": 1, "text": "one"}])

    def failing() -> Iterator[dict[str, Any]]:
        for n in range(600):
            yield {"id": n, "text": "other"}
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        index.add(failing())
    assert len(index) == 1 and index.search("one")["total_hits"] == 1
    # The writer is free again, and earlier commits stay.
    with pytest.raises(ValueError, match="document 3: "):
        index.add([{"id": n if n < 3 else 1.5, "text": "t"} for n in range(5)], commit_every=2)
    assert len(index) == 2


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    index = lorank.Index.create(tmp_path / "index")
    other = lorank.Index.open(tmp_path / "index")

    def while_writing() -> Iterator[dict[str, Any]]:
        with pytest.raises(lorank.LorankError, match="writ"):
            other.add([{"id": 2, "text": "t"}])
        yield {"id": 1, "text": "t"}

    index.add(while_writing())
    assert len(other) == 1
    other.add([{"id": 2, "text": "t"}])
    assert len(index) == 2


@pytest.mark.parametrize(
    ("document", "kind", "message"),
    [
        (None, TypeError, "document 0 is of type NoneType"),
        ("text", TypeError, "document 0 is of type str"),
        ({"text": object()}, TypeError, "document 0 has a value that JSON does not have"),
        ({"text": "t", "x": float("nan")}, ValueError, "document 0 is not valid"),
        ({"text": "a\ud800"}, ValueError, "document 0 has a lone surrogate"),
        ({"id": 1.5, "text": "t"}, ValueError, "document 0: "),
        ({"id": 1 << 70, "text": "t"}, ValueError, "document 0: "),
    ],
)
def test_what_is_no_document_is_named(index: lorank.Index, document: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        index.add([document])
    assert len(index) == 500


def test_a_document_in_itself_is_refused(index: lorank.Index) -> None:
    circular: dict[str, Any] = {"text": "t"}
    circular["x"] = circular
    nested: Any = "deep"
    for _ in range(100_000):
        nested = [nested]
    for document in (circular, {"text": "t", "x": nested}):
        with pytest.raises(ValueError, match="document 0"):
            index.add([document])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda index, _: index.search(3), TypeError, "`query` is of type int"),
        (lambda index, _: index.search("q", top_k=0), ValueError, "`top_k` is 0"),
        (lambda index, _: index.search("q", top_k=None), TypeError, "`top_k`"),
        (
            lambda index, _: index.search("q", stages=["none:5"]),
            ValueError,
            "`stages` has no effect without a `reranker`",
        ),
        (
            lambda index, tiny: index.search("q", reranker=tiny, stages=[]),
            ValueError,
            "`stages` is invalid: there are no stages",
        ),
        (lambda index, tiny: index.search("q", reranker=tiny, stages="none:5"), TypeError, "`stages` is of type str"),
        (lambda index, tiny: index.search("q", reranker=tiny, stages=["none"]), ValueError, "it has no depth"),
        (
            lambda index, tiny: index.search("q", reranker=tiny, stages=["none:5", "a:6"]),
            ValueError,
            "the depth of stage 2 is 6",
        ),
        (
            lambda index, tiny: index.search("q", reranker=tiny, stages=[{"depth": 5, "k": 1}]),
            ValueError,
            "unknown key `k`",
        ),
        (lambda index, tiny: index.search("q", reranker=tiny, stages=[{"adapter": "a"}]), ValueError, "has no `depth`"),
        (
            lambda index, tiny: index.search("q", reranker=tiny, stages=[{"depth": 5, "deadline_share": 2}]),
            ValueError,
            "a share of the deadline must be a number from 0.01 to 1",
        ),
        (
            lambda index, tiny: index.search("q", reranker=tiny, stages=["a:5"], depth=9),
            ValueError,
            "cannot be combined with `depth`",
        ),
        (lambda index, tiny: index.search("q", reranker=tiny, stages=["x:5"]), LookupError, "x"),
        (lambda index, _: index.search("q", filter="year"), ValueError, "`filter` is invalid"),
        (lambda index, _: index.search("q", filter="nothing=1"), ValueError, "nothing"),
        (
            lambda index, _: index.search("q", syntax="lucene"),
            ValueError,
            "`syntax` is `lucene`; it can be `plain`, `advanced`",
        ),
        (lambda index, _: index.search('"', syntax="advanced"), ValueError, "query"),
        (lambda index, _: index.search("q", adapter="a"), ValueError, "`adapter` has no effect without a `reranker`"),
        (lambda index, tiny: index.search("q", reranker=tiny, adapter="c"), LookupError, "`c`"),
        (lambda index, tiny: index.search(None, reranker=tiny), ValueError, "leave `reranker` out"),
        (lambda index, tiny: index.search("q", reranker=tiny, deadline=-1.0), ValueError, "`deadline` is invalid"),
        (lambda index, tiny: index.search("q", reranker=tiny, blend=1.5), ValueError, "`blend` is invalid"),
        (lambda index, tiny: index.search("q", reranker=tiny, rank_by="nothing +"), ValueError, "`rank_by` is invalid"),
        (lambda index, _: index.search("q", reranker="minilm"), TypeError, "`reranker` is of type str"),
        (lambda index, _: index.add("text"), TypeError, "`documents` is of type str"),
        (lambda index, _: index.add(None), TypeError, "`documents` is of type NoneType"),
        (lambda index, _: index.delete(), ValueError, "give `ids`"),
        (lambda index, _: index.delete(["1"], all=True), ValueError, "give `ids`"),
        (lambda index, _: index.delete("1"), TypeError, "`ids` is of type str"),
        (lambda index, _: lorank.Index.open(index.path + "x"), FileNotFoundError, "no index"),
        (lambda index, _: lorank.Index.create(index.path + "y", fields=["id"]), ValueError, "`id`"),
        (lambda index, _: lorank.Index.create(index.path + "z", language="klingon"), ValueError, "klingon"),
    ],
)
def test_what_an_index_cannot_do_is_named(
    index: lorank.Index, tiny: lorank.Reranker, call: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        call(index, tiny)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(exclude_categories=()), max_size=30), syntax=st.sampled_from(["plain", "advanced"]))
def test_any_query_is_answered_or_a_value_error(index: lorank.Index, query: str, syntax: str) -> None:
    try:
        assert index.search(query, syntax=syntax)["hits"] is not None
    except ValueError:
        pass


def test_an_evaluation_has_the_numbers_of_the_program(
    tiny: lorank.Reranker, program: Callable[..., str], tmp_path: Path
) -> None:
    index = lorank.Index.create(tmp_path / "index")
    index.add(lines(CORPUS / "corpus.jsonl"))
    queries = {query["_id"]: query["text"] for query in lines(CORPUS / "queries.jsonl")}
    judged = [line.split("\t") for line in (CORPUS / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    kept = set(list(queries)[::100])
    qrels: dict[str, dict[str, int]] = {}
    for query, document, grade in judged:
        if query in kept:
            qrels.setdefault(query, {})[document] = int(grade)
    qrels_file = tmp_path / "qrels.tsv"
    qrels_file.write_text(
        "".join(f"{q}\t{d}\t{g}\n" for q, ds in qrels.items() for d, g in ds.items()), encoding="utf-8"
    )
    measures = ["ndcg@10", "map", "mrr@10", "recall@100", "p@5"]
    flags = [flag for measure in measures for flag in ("--measure", measure)]
    models = [
        "--base",
        TINY,
        "--precision",
        "f32",
        "--adapter",
        f"a={ADAPTERS['a']}",
        "--adapter",
        f"b={ADAPTERS['b']}",
    ]
    files = ["--queries", CORPUS / "queries.jsonl", "--qrels", qrels_file, "--index", tmp_path / "index"]
    common = ["--depth", 20, "--depths", "5,10", *flags, *models, "--json", "--runs", tmp_path / "runs"]
    expected = json.loads(program("eval", *files, *common))
    seen = 0

    report = lorank.evaluate(
        index,
        queries,
        qrels,
        reranker=tiny,
        measures=measures,
        depth=20,
        depths=[10, 5],
        runs=True,
        show_progress_bar=True,
    )
    for ranker in (*report["rankers"], *expected["rankers"]):
        ranker.pop("seconds_per_query")
    for key in (
        "n_queries",
        "n_without_relevant",
        "depth",
        "baseline",
        "measures",
        "rankers",
        "depths",
        "queries",
        "precision",
    ):
        assert report[key] == expected[key], key
        seen += 1
    assert seen == 9
    # A run in the form of other packages has the same numbers as what it was made of.
    run = report["runs"]["first-stage"]
    again = lorank.evaluate(run, None, qrels, measures=measures, depth=20)
    assert again["rankers"][0]["means"] == report["rankers"][0]["means"]
    reranked = lorank.evaluate(
        run, queries, qrels, reranker=tiny, adapters=["b"], index=index, measures=measures, depth=20
    )
    assert reranked["rankers"][1]["means"] == report["rankers"][2]["means"]
    as_it_is = lorank.evaluate(report["runs"]["b"], None, qrels, measures=measures, depth=20)
    assert as_it_is["rankers"][0]["means"] == report["rankers"][2]["means"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"qrels": {}}, ValueError, "`qrels` has no judgments"),
        ({"qrels": {"q2": {"d": 1}}}, ValueError, "no query `q2`"),
        ({"qrels": {"q1": {"d": 1.5}}}, TypeError, "`qrels` of query 'q1'"),
        ({"qrels": None}, TypeError, "`qrels` is of type NoneType"),
        ({"qrels": {"q1": ["d"]}}, TypeError, "`qrels` of query 'q1' is of type list"),
        ({"source": {"q1": {"d": float("nan")}}}, ValueError, "the score NaN for document `d`"),
        ({"source": {"q1": {"d": "high"}}}, ValueError, "`source` of query 'q1'"),
        ({"source": [1]}, TypeError, "`source` is of type list"),
        ({"measures": "quality"}, ValueError, "`measures` is invalid"),
        ({"adapters": ["a"]}, ValueError, "`adapters` has no effect"),
        ({"baseline": "a"}, ValueError, "`baseline` `a` is not evaluated; it can be first-stage"),
        ({"ties": "random"}, ValueError, "`ties` is `random`"),
        ({"depth": 0}, ValueError, "`depth` is 0"),
    ],
)
def test_what_cannot_be_evaluated_is_named(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    given = {"source": {"q1": {"d": 1.0}}, "queries": {"q1": "text"}, "qrels": {"q1": {"d": 1}}, **arguments}
    with pytest.raises(kind, match=message):
        lorank.evaluate(**given)
    with pytest.raises(ValueError, match="give the `index`"):
        lorank.evaluate({"q1": {"d": 1.0}}, {"q1": "t"}, {"q1": {"d": 1}}, reranker=lorank.Reranker(TINY))
