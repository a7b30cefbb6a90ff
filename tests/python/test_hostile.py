"""Any value from Python gives scores or one of Python's errors, and never ends the process."""

from __future__ import annotations

from typing import Any

import lorank
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: Errors that a caller can expect.
EXPECTED = (TypeError, ValueError, LookupError, NotImplementedError)

#: Texts with every code point, lone surrogates included.
texts = st.text(st.characters(exclude_categories=()), max_size=60)
documents = texts | st.fixed_dictionaries({"text": texts}, optional={"title": texts | st.none(), "id": st.integers()})
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.binary(max_size=8)
    | texts
    | st.just(object())
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts, inner, max_size=3)
        | st.sets(texts, max_size=3)
        | st.builds(iter, st.lists(inner, max_size=3))
        | st.builds(np.array, st.lists(st.floats() | st.integers(-5, 5), max_size=4))
    ),
    max_leaves=12,
)
often = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_valid(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def all_texts(document: Any) -> list[str]:
    return (
        [document]
        if isinstance(document, str)
        else [text for key, text in document.items() if key != "id" and text is not None]
    )


@often
@given(pairs=st.lists(st.tuples(texts, documents), max_size=5))
def test_every_text_has_a_score_or_a_value_error(tiny: lorank.Reranker, pairs: list[tuple[str, Any]]) -> None:
    if all(is_valid(text) for query, document in pairs for text in [query, *all_texts(document)]):
        scores = tiny.predict(pairs)
        assert scores.shape == (len(pairs),) and bool(np.isfinite(scores).all())
        # Neither order nor batches change a score.
        alone = [float(tiny.predict([pair])[0]) for pair in pairs]
        assert scores.tolist() == alone == tiny.predict(pairs[::-1]).tolist()[::-1]
    else:
        with pytest.raises(ValueError, match="lone surrogate"):
            tiny.predict(pairs)


@often
@given(query=texts, list_of_documents=st.lists(documents, max_size=6), top_k=st.none() | st.integers(0, 8))
def test_a_ranking_is_a_permutation(
    tiny: lorank.Reranker, query: str, list_of_documents: list[Any], top_k: int | None
) -> None:
    if not all(
        is_valid(text) for text in [query, *(text for document in list_of_documents for text in all_texts(document))]
    ):
        return
    hits = tiny.rank(query, list_of_documents, top_k=top_k, adapter="b")
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    every = tiny.rank(query, list_of_documents, adapter="b")
    assert sorted(hit["corpus_id"] for hit in every) == list(range(len(list_of_documents)))
    assert hits == every[:top_k]


@often
@given(value=anything)
def test_any_value_for_pairs_is_an_expected_error(tiny: lorank.Reranker, value: Any) -> None:
    try:
        assert tiny.predict(value).dtype == np.float32
    except EXPECTED:
        pass


@often
@given(query=anything, list_of_documents=anything, top_k=anything, name=anything)
def test_any_values_for_a_ranking_are_an_expected_error(
    tiny: lorank.Reranker, query: Any, list_of_documents: Any, top_k: Any, name: Any
) -> None:
    for arguments in (
        {"top_k": top_k},
        {"adapter": name},
        {"activation": name},
        {"passages": name},
        {"instruction": name},
        {},
    ):
        try:
            assert isinstance(tiny.rank(query, list_of_documents, **arguments), list)
        except EXPECTED:
            pass


@often
@given(
    value=anything,
    name=st.sampled_from(["base", "adapters", "precision", "threads", "max_length", "cache_bytes", "device"]),
)
def test_any_setting_is_an_expected_error(tiny: lorank.Reranker, value: Any, name: str) -> None:
    # A huge model is not loaded here, and most values are refused before anything is.
    try:
        assert isinstance(lorank.Reranker(**{"base": "/nowhere", name: value}), lorank.Reranker)
    except (*EXPECTED, OSError, lorank.LorankError, OverflowError):
        pass


@often
@given(name=anything, source=anything)
def test_any_adapter_is_an_expected_error(tiny: lorank.Reranker, name: Any, source: Any) -> None:
    before = tiny.adapters
    for call in (lambda: tiny.add_adapter(name, source), lambda: tiny.remove_adapter(name)):
        try:
            call()
        except (*EXPECTED, OSError, lorank.LorankError):
            pass
    assert tiny.adapters == before


class Hostile:
    """An object whose every method raises."""

    def __iter__(self) -> Any:
        raise MemoryError("mine")

    def __str__(self) -> str:
        raise MemoryError("mine")

    def __index__(self) -> int:
        raise MemoryError("mine")

    def __fspath__(self) -> str:
        raise MemoryError("mine")


def test_an_objects_own_error_is_heard(tiny: lorank.Reranker) -> None:
    for call in (
        lambda: tiny.rank("q", ["d"], top_k=Hostile()),  # type: ignore[arg-type]
        lambda: lorank.Reranker(Hostile()),  # type: ignore[arg-type]
    ):
        with pytest.raises(MemoryError, match="mine"):
            call()
    with pytest.raises((MemoryError, TypeError)):
        tiny.predict(Hostile())  # type: ignore[arg-type]
