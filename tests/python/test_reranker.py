"""`Reranker`: scores, orders, adapters, errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lorank
import numpy as np
import pytest

from conftest import ADAPTERS, FIXTURES, PAIRS, TINY


def same(found: Any, expected: Any) -> bool:
    """Whether scores are equal bit by bit."""
    return np.asarray(found, dtype=np.float32).tobytes() == np.asarray(expected, dtype=np.float32).tobytes()


@pytest.mark.parametrize("adapter", ["none", "a", "b"])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_scores_are_those_of_the_program(
    tiny: lorank.Reranker, program_scores: Any, adapter: str, activation: Any
) -> None:
    source = ADAPTERS.get(adapter, "none")
    expected = program_scores(PAIRS, "--base", TINY, "--adapter", source, "--activation", activation or "identity")
    assert same(tiny.predict(PAIRS, activation=activation, adapter=adapter), expected)


@pytest.mark.parametrize("precision", ["f32", "int8", "auto"])
def test_scores_of_the_built_in_model_are_those_of_the_program(program_scores: Any, precision: str) -> None:
    reranker = lorank.Reranker(adapters={"qa": "minilm-qa"}, precision=precision)
    expected = program_scores(PAIRS, "--adapter", "minilm-qa", "--precision", precision)
    assert same(reranker.predict(PAIRS), expected)
    # From the cache.
    assert same(reranker.predict(PAIRS), expected)
    assert reranker.info()["cache"]["hits"] >= len(PAIRS)


def test_the_first_adapter_is_the_default(tiny: lorank.Reranker, starter: lorank.Reranker) -> None:
    assert tiny.adapters == ["a", "b"]
    assert same(tiny.predict(PAIRS), tiny.predict(PAIRS, adapter="a"))
    assert not same(tiny.predict(PAIRS), tiny.predict(PAIRS, adapter="b"))
    assert starter.adapters == ["minilm-qa", "minilm-science"]
    assert same(starter.predict(PAIRS), starter.predict(PAIRS, adapter="none"))
    assert tiny.info()["default_adapter"] == "a" and starter.info()["default_adapter"] is None


def test_rank_orders_by_score_and_index(tiny: lorank.Reranker) -> None:
    query, documents = (
        "how long is the nile",
        ["It flows north.", "The Nile is 6,650 km long.", "It flows north.", "no"],
    )
    scores = tiny.predict([(query, document) for document in documents])
    order = sorted(range(len(documents)), key=lambda at: (-scores[at], at))
    hits = tiny.rank(query, documents)
    assert hits == [{"corpus_id": at, "score": float(scores[at])} for at in order]
    assert tiny.rank(query, documents, top_k=2) == hits[:2]
    assert tiny.rank(query, documents, top_k=0) == []
    assert [hit["text"] for hit in tiny.rank(query, documents, return_documents=True)] == [
        documents[at] for at in order
    ]
    titled = {"title": "Nile", "text": "A river."}
    assert tiny.rank(query, [titled], return_documents=True)[0]["text"] is titled
    sigmoid = tiny.rank(query, documents, activation="sigmoid")
    assert [hit["corpus_id"] for hit in sigmoid] == order
    assert sigmoid[0]["score"] == pytest.approx(1 / (1 + np.exp(-hits[0]["score"])))


def test_rank_many_is_many_ranks(tiny: lorank.Reranker) -> None:
    queries, lists = ["one", "two", "three"], [["a", "b", "c"], [], ["d"]]
    expected = [
        tiny.rank(query, documents, top_k=2, adapter="b") for query, documents in zip(queries, lists, strict=True)
    ]
    assert tiny.rank_many(queries, lists, top_k=2, adapter="b") == expected
    # Iterables of all kinds.
    assert tiny.rank_many(iter(queries), (iter(one) for one in lists), top_k=2, adapter="b") == expected
    with pytest.raises(ValueError, match="3 queries, but 2 lists of documents"):
        tiny.rank_many(queries, lists[:2])


def test_predict_takes_pairs_of_all_kinds(tiny: lorank.Reranker) -> None:
    pairs = [("one", "first text"), ("two", "second text")]
    expected = tiny.predict(pairs)
    assert expected.shape == (2,) and expected.dtype == np.float32 and expected.flags.writeable
    for same_pairs in (
        [list(pair) for pair in pairs],
        iter(pairs),
        (pair for pair in pairs),
        np.array(pairs),
        np.array(pairs, dtype=object),
        dict(pairs).items(),
    ):
        assert same(tiny.predict(same_pairs), expected)
    assert tiny.predict([]).shape == (0,)


def test_passages_are_those_of_the_program(tiny: lorank.Reranker, program: Callable[..., str], tmp_path: Path) -> None:
    query, long = "how long is the nile", "It flows north. " * 100 + "The Nile is 6,650 km long."
    documents = tmp_path / "documents.jsonl"
    documents.write_text(json.dumps({"text": long}) + "\n", encoding="utf-8")
    arguments = (
        "rerank",
        "--query",
        query,
        documents,
        "--json",
        "--base",
        TINY,
        "--adapter",
        ADAPTERS["a"],
        "--precision",
        "f32",
    )
    for rule in ("first", "max", "mean-top-3"):
        [hit] = json.loads(program(*arguments, "--passages", rule))["hits"]
        assert same([tiny.rank(query, [long], passages=rule)[0]["score"]], [hit["rerank_score"]])


def test_adapters_come_and_go(tmp_path: Path) -> None:
    reranker = lorank.Reranker(TINY, precision="f32")
    base = reranker.predict(PAIRS)
    copy = tmp_path / "mine"
    shutil.copytree(ADAPTERS["a"], copy)
    reranker.add_adapter("mine", copy)
    with_adapter = reranker.predict(PAIRS, adapter="mine")
    assert reranker.adapters == ["mine"] and not same(with_adapter, base)
    assert same(reranker.predict(PAIRS), base), "the default stays"
    assert reranker.verify() == []
    with pytest.raises(ValueError, match="two adapters have the id `mine`"):
        reranker.add_adapter("mine", copy)
    shutil.copytree(ADAPTERS["b"], copy, dirs_exist_ok=True)
    [finding] = reranker.verify()
    assert finding == "adapter `mine` has other files than when it was loaded"
    shutil.rmtree(copy)
    [finding] = reranker.verify()
    assert "`mine`" in finding and str(copy) in finding
    assert same(reranker.predict(PAIRS, adapter="mine"), with_adapter), "what is loaded stays"
    reranker.remove_adapter("mine")
    assert reranker.adapters == []
    with pytest.raises(LookupError, match="no adapter `mine`"):
        reranker.remove_adapter("mine")
    with pytest.raises(LookupError, match="`mine` cannot be used"):
        reranker.predict(PAIRS, adapter="mine")


def test_the_default_adapter_cannot_be_removed() -> None:
    reranker = lorank.Reranker(TINY, adapters=ADAPTERS)
    with pytest.raises(ValueError, match="`a` is the default adapter"):
        reranker.remove_adapter("a")
    reranker.remove_adapter("b")
    assert reranker.adapters == ["a"]


def test_info_is_that_of_the_program(tiny: lorank.Reranker, program: Callable[..., str]) -> None:
    arguments = [f"--adapter={name}={folder}" for name, folder in ADAPTERS.items()]
    printed = json.loads(program("info", "--json", "--base", TINY, "--precision", "f32", *arguments))
    info = tiny.info()
    assert {key: info[key] for key in printed["model"]} == printed["model"]
    assert info["version"] == lorank.__version__ == printed["version"]
    assert info["cache"]["entries"] == 0, "the cache is off"


def test_a_maximum_length_cuts_texts() -> None:
    short = lorank.Reranker(TINY, max_length=16)
    assert short.info()["max_length"] == 16
    pairs = [("q", "one two three four five six seven eight nine ten eleven twelve " + end) for end in ("x", "y")]
    first, second = short.predict(pairs)
    assert first == second
    first, second = lorank.Reranker(TINY).predict(pairs)
    assert first != second


def test_instructions_need_a_place(tmp_path: Path) -> None:
    # A known model, by the name of its folder.
    folder = tmp_path / "Qwen3-Reranker-0.6B"
    base = FIXTURES / "tiny-decoders" / "causal" / "qwen3-reranker" / "base"
    shutil.copytree(base, folder)
    reranker = lorank.Reranker(folder, precision="f32")
    pairs = [("q", "d")]
    assert not same(reranker.predict(pairs, instruction="Find poems"), reranker.predict(pairs))
    with pytest.raises(ValueError, match="no place for an instruction"):
        lorank.Reranker(TINY).predict(pairs, instruction="Find poems")
    with pytest.raises(lorank.ModelError, match="no score head"):
        lorank.Reranker(base).predict(pairs)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"base": "minilmm"}, FileNotFoundError, "did you mean `minilm`"),
        ({"base": "/nowhere"}, FileNotFoundError, "/nowhere"),
        ({"base": str(FIXTURES / "tiny-bert")}, lorank.ModelError, "config.json"),
        ({"base": "hf://x"}, ValueError, "hf://"),
        ({"base": None}, TypeError, "`base` is of type NoneType"),
        ({"base": 3}, TypeError, "`base` is of type int"),
        ({"base": "mini\0lm"}, TypeError, "zero character"),
        ({"base": "mini\ud800lm"}, ValueError, "surrogate"),
        ({"adapters": "minilm-qa"}, TypeError, "write \\['minilm-qa'\\]"),
        ({"adapters": {"qa": "minilm-qaa"}}, FileNotFoundError, "minilm-qaa"),
        ({"adapters": {"none": "minilm-qa"}}, ValueError, "reserved"),
        ({"adapters": {"a b": "minilm-qa"}}, ValueError, "`adapters` is invalid"),
        ({"adapters": {1: "minilm-qa"}}, TypeError, "`adapters` is of type int"),
        ({"adapters": ["minilm-qa", "minilm-qa"]}, ValueError, "two adapters have the id"),
        ({"adapters": {"a": ADAPTERS["a"]}}, lorank.ModelError, "adapter"),
        ({"precision": "int4"}, ValueError, "`precision` is invalid"),
        ({"precision": None}, TypeError, "`precision`"),
        ({"device": "tpu"}, ValueError, "`device` is invalid"),
        ({"device": "cuda:0"}, OSError, "cuda"),
        ({"threads": 0}, ValueError, "below the minimum of 1"),
        ({"threads": 10_000}, ValueError, "threads"),
        ({"threads": 1.5}, TypeError, "`threads` is of type float"),
        ({"threads": True}, TypeError, "`threads` is of type bool"),
        ({"max_length": 1 << 20}, lorank.ModelError, "max_length"),
        ({"max_length": -1}, ValueError, "`max_length` is -1"),
        ({"cache_bytes": -1}, ValueError, "`cache_bytes` is -1"),
    ],
)
def test_what_cannot_be_loaded_is_named(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        lorank.Reranker(**arguments)


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        (None, TypeError, "`pairs` is of type NoneType"),
        ("text", TypeError, "`pairs` is of type str"),
        ({"q": "d"}, TypeError, "`pairs` is of type dict"),
        ([("q", "d"), None], TypeError, "pair 1 is of type NoneType"),
        (["qd"], TypeError, "pair 0 is of type str"),
        ([("q",)], TypeError, "pair 0 is of 1 items"),
        ([("q", "d", "e")], TypeError, "pair 0 is of more than two items"),
        ([(1, "d")], TypeError, "query of pair 0 is of type int"),
        ([("q", 2.5)], TypeError, "document 0 is of type float"),
        ([("q", b"bytes")], TypeError, "document 0 is of type bytes"),
        ([("q", None)], TypeError, "document 0 is of type NoneType"),
        ([("q", {"title": "t"})], ValueError, "document 0 has no key `text`"),
        ([("q", {"text": 1})], TypeError, "`text` of document 0 is of type int"),
        ([("q", {"text": "t", "title": 1})], TypeError, "`title` of document 0 is of type int"),
        ([("q\ud800", "d")], ValueError, "query of pair 0 has a lone surrogate"),
        ([("q", "d\udfff")], ValueError, "document 0 has a lone surrogate"),
        (np.zeros((2, 2)), TypeError, "query of pair 0 is of type float64"),
        (np.zeros(3), TypeError, "pair 0 is of type float64"),
    ],
)
def test_what_is_no_pair_is_named(tiny: lorank.Reranker, pairs: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        tiny.predict(pairs)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"query": None}, TypeError, "query 0 is of type NoneType"),
        ({"documents": "text"}, TypeError, "`documents` is of type str"),
        ({"documents": None}, TypeError, "`documents` is of type NoneType"),
        ({"documents": {"text": "t"}}, TypeError, "`documents` is of type dict"),
        ({"top_k": -1}, ValueError, "`top_k` is -1"),
        ({"top_k": "3"}, TypeError, "`top_k` is of type str"),
        ({"adapter": "c"}, LookupError, "`c` cannot be used: .*loaded are `a`, `b`"),
        ({"adapter": "no name"}, ValueError, "`adapter` is invalid"),
        ({"activation": "softmax"}, ValueError, "not an activation"),
        ({"passages": "all"}, ValueError, "not a rule for passages"),
    ],
)
def test_what_cannot_be_ranked_is_named(
    tiny: lorank.Reranker, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        tiny.rank(**{"query": "q", "documents": ["d"], **arguments})


def test_an_iterator_that_raises_is_heard(tiny: lorank.Reranker) -> None:
    def failing() -> Any:
        yield ("q", "d")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tiny.predict(failing())
