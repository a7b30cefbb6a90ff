"""Each integration ranks as `Reranker.rank` does, bit for bit, inside its framework's own retrieval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import lorank
import pytest
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from lorank.integrations import haystack, lancedb, langchain, llama_index, rerankers

from conftest import ADAPTERS, TINY

QUERY = "how long is the nile"
TEXTS = [
    "It flows north. " * 40,
    "The Nile is 6,650 km long.",
    "",
    "東京は日本の首都です。 😀",
    "The Nile is 6,650 km long.",
]
TITLES = ["Nile", "Rivers", None, "東京", None]

#: For each framework: (index of the document, score) in its order, from settings in lorank's terms.
Rank = Callable[..., list[tuple[int, float]]]


def rank_langchain(
    reranker: lorank.Reranker, top: int | None, is_async: bool, **settings: Any
) -> list[tuple[int, float]]:
    compressor = langchain.LorankRerank(reranker=reranker, top_n=top, **settings)
    documents = [LangChainDocument(text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    if is_async:
        ranked = asyncio.run(compressor.acompress_documents(documents, QUERY))
    else:
        ranked = compressor.compress_documents(documents, QUERY)
    assert all("relevance_score" not in document.metadata for document in documents), (
        "the retriever's documents changed"
    )
    return [(document.metadata["n"], document.metadata["relevance_score"]) for document in ranked]


def rank_llama_index(
    reranker: lorank.Reranker, top: int | None, is_async: bool, **settings: Any
) -> list[tuple[int, float]]:
    postprocessor = llama_index.LorankRerank(reranker=reranker, top_n=top, **settings)
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(n)), score=0.5) for n, text in enumerate(TEXTS)]
    if is_async:
        ranked = asyncio.run(postprocessor.apostprocess_nodes(nodes, query_str=QUERY))
    else:
        ranked = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    assert all(node.score == 0.5 for node in nodes), "the retriever's nodes changed"
    return [(int(node.node.node_id), float(node.score or 0)) for node in ranked]


def rank_haystack(
    reranker: lorank.Reranker, top: int | None, is_async: bool, **settings: Any
) -> list[tuple[int, float]]:
    from haystack import Document

    ranker = haystack.LorankRanker(TINY, ADAPTERS, precision="f32", top_k=top, **settings)
    documents = [Document(id=str(n), content=text) for n, text in enumerate(TEXTS)]
    answer = asyncio.run(ranker.run_async(QUERY, documents)) if is_async else ranker.run(QUERY, documents)
    ranked = answer["documents"]
    assert all(document.score is None for document in documents), "the retriever's documents changed"
    return [(int(document.id), float(document.score or 0)) for document in ranked]


def rank_rerankers(
    reranker: lorank.Reranker, top: int | None, is_async: bool, **settings: Any
) -> list[tuple[int, float]]:
    ranker = rerankers.LorankRanker(reranker, **settings)
    results = asyncio.run(ranker.rank_async(QUERY, TEXTS)) if is_async else ranker.rank(QUERY, TEXTS)
    assert [result.rank for result in results] == list(range(1, len(TEXTS) + 1))
    return [(result.doc_id, result.score) for result in results.top_k(len(TEXTS) if top is None else top)]


def rank_lancedb(
    reranker: lorank.Reranker, top: int | None, is_async: bool, **settings: Any
) -> list[tuple[int, float]]:
    import pyarrow as pa

    rows = pa.table({"n": list(range(len(TEXTS))), "text": TEXTS, "_score": [0.5] * len(TEXTS)})
    ranked = lancedb.LorankReranker(reranker, **settings).rerank_fts(QUERY, rows)
    assert "_score" not in ranked.column_names
    return [(row["n"], row["_relevance_score"]) for row in ranked.to_pylist()[:top]]


FRAMEWORKS = [rank_langchain, rank_llama_index, rank_haystack, rank_rerankers, rank_lancedb]


@pytest.mark.parametrize("rank", FRAMEWORKS)
@pytest.mark.parametrize(
    ("top", "settings"),
    [
        (None, {}),
        (2, {"adapter": "b"}),
        (3, {"adapter": "none", "activation": "sigmoid"}),
        (None, {"passages": "max"}),
    ],
)
def test_ranks_as_the_reranker(rank: Rank, top: int | None, settings: dict[str, Any], tiny: lorank.Reranker) -> None:
    expected = [(hit["corpus_id"], hit["score"]) for hit in tiny.rank(QUERY, TEXTS, top, **settings)]
    assert rank(tiny, top, False, **settings) == expected
    assert rank(tiny, top, True, **settings) == expected


@pytest.mark.parametrize("rank", FRAMEWORKS)
def test_unknown_adapter_is_an_error(rank: Rank, tiny: lorank.Reranker) -> None:
    with pytest.raises(LookupError, match="missing"):
        rank(tiny, None, False, adapter="missing")


def test_no_documents_have_no_ranking(tiny: lorank.Reranker) -> None:
    import pyarrow as pa

    assert langchain.LorankRerank(reranker=tiny).compress_documents([], QUERY) == []
    assert llama_index.LorankRerank(reranker=tiny).postprocess_nodes([], query_str=QUERY) == []
    assert haystack.LorankRanker(TINY).run(QUERY, []) == {"documents": []}
    assert list(rerankers.LorankRanker(tiny).rank(QUERY, [])) == []
    empty = pa.table({"text": pa.array([], pa.string()), "_score": pa.array([], pa.float32())})
    assert lancedb.LorankReranker(tiny).rerank_fts(QUERY, empty).column_names == ["text", "_relevance_score"]


def test_titles_are_scored(tiny: lorank.Reranker) -> None:
    import pyarrow as pa
    from haystack import Document

    whole = [
        text if title is None else {"title": title, "text": text} for title, text in zip(TITLES, TEXTS, strict=True)
    ]
    expected = [(hit["corpus_id"], hit["score"]) for hit in tiny.rank(QUERY, whole)]
    assert expected != [(hit["corpus_id"], hit["score"]) for hit in tiny.rank(QUERY, TEXTS)]

    metadata = [{"n": n} if title is None else {"n": n, "title": title} for n, title in enumerate(TITLES)]
    documents = [LangChainDocument(text, metadata=meta) for text, meta in zip(TEXTS, metadata, strict=True)]
    ranked = langchain.LorankRerank(reranker=tiny, title_key="title").compress_documents(documents, QUERY)
    assert [(document.metadata["n"], document.metadata["relevance_score"]) for document in ranked] == expected

    ranker = haystack.LorankRanker(TINY, ADAPTERS, precision="f32", title_field="title")
    found = [Document(id=str(n), content=text, meta=metadata[n]) for n, text in enumerate(TEXTS)]
    assert [(int(one.id), one.score) for one in ranker.run(QUERY, found)["documents"]] == expected

    rows = pa.table({"n": list(range(len(TEXTS))), "title": TITLES, "text": TEXTS})
    reranked = lancedb.LorankReranker(tiny, title_column="title").rerank_vector(QUERY, rows).to_pylist()
    assert [(row["n"], row["_relevance_score"]) for row in reranked] == expected


def test_metadata_of_a_node_is_scored_as_the_mode_says(tiny: lorank.Reranker) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text, metadata={"title": "Nile"})) for text in TEXTS[:2]]
    for mode in (MetadataMode.EMBED, MetadataMode.NONE):
        ranked = llama_index.LorankRerank(reranker=tiny, metadata_mode=mode).postprocess_nodes(nodes, query_str=QUERY)
        texts = [node.node.get_content(metadata_mode=mode) for node in nodes]
        assert [node.score for node in ranked] == [hit["score"] for hit in tiny.rank(QUERY, texts)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda _: langchain.LorankRerank(reranker="minilm"), ValueError, "instance of Reranker"),
        (lambda r: langchain.LorankRerank(reranker=r, top_n=0), ValueError, "top_n"),
        (lambda r: langchain.LorankRerank(reranker=r, top_k=3), ValueError, "top_k"),
        (
            lambda r: langchain.LorankRerank(reranker=r).compress_documents(["text"], QUERY),
            TypeError,
            "document 0 is of type str",
        ),
        (
            lambda r: langchain.LorankRerank(reranker=r, title_key="n").compress_documents(
                [LangChainDocument("text", metadata={"n": 1})], QUERY
            ),
            TypeError,
            "`n` of document 0 is of type int",
        ),
        (lambda r: llama_index.LorankRerank(reranker=r, top_n=-1), ValueError, "top_n"),
        (lambda r: llama_index.LorankRerank(reranker=r, model="minilm"), ValueError, "model"),
        (lambda r: llama_index.LorankRerank(reranker=r).postprocess_nodes([]), ValueError, "no query"),
        (lambda _: haystack.LorankRanker(TINY, "a"), TypeError, "`adapters` is the text 'a'"),
        (lambda _: haystack.LorankRanker(TINY, top_k=0), ValueError, "`top_k` is 0"),
        (lambda _: haystack.LorankRanker(TINY).run(QUERY, [], top_k=0), ValueError, "`top_k` is 0"),
        (lambda _: haystack.LorankRanker(TINY).run(QUERY, ["text"]), TypeError, "document 0 is of type str"),
        (lambda _: haystack.LorankRanker("/no/such/folder").warm_up(), FileNotFoundError, "/no/such/folder"),
        (lambda _: rerankers.LorankRanker("minilm"), TypeError, "not lorank.Reranker"),
        (lambda r: rerankers.LorankRanker(r).rank(QUERY, [1]), TypeError, "document 0 is of type int"),
        (
            lambda r: rerankers.LorankRanker(r).rank(QUERY, ["a", "b"], doc_ids=["x"]),
            ValueError,
            "`doc_ids` has 1 entries for 2",
        ),
        (lambda r: rerankers.LorankRanker(r).rank(1, ["a"]), TypeError, "int"),
        (lambda _: lancedb.LorankReranker("minilm"), TypeError, "not lorank.Reranker"),
        (lambda r: lancedb.LorankReranker(r, return_score="both"), ValueError, "relevance"),
    ],
)
def test_bad_input_is_one_clear_error(
    call: Callable[[lorank.Reranker], object], error: type[Exception], message: str, tiny: lorank.Reranker
) -> None:
    with pytest.raises(error, match=message):
        call(tiny)


def test_bad_rows_and_documents_are_named(tiny: lorank.Reranker) -> None:
    import pyarrow as pa
    from haystack import Document
    from rerankers.documents import Document as RerankersDocument

    reranker = lancedb.LorankReranker(tiny)
    with pytest.raises(ValueError, match="no column `text` to rerank by; they have `body`"):
        reranker.rerank_fts(QUERY, pa.table({"body": ["text"]}))
    with pytest.raises(ValueError, match="row 1 has no text in the column `text`"):
        reranker.rerank_fts(QUERY, pa.table({"text": ["text", None]}))
    with pytest.raises(ValueError, match="row 0 has a value of type int, not a text"):
        reranker.rerank_fts(QUERY, pa.table({"text": [1]}))
    with pytest.raises(ValueError, match="document `x` has no text"):
        haystack.LorankRanker(TINY).run(QUERY, [Document(id="x", content=None)])
    image = RerankersDocument(document_type="image", image_path="nile.png")
    with pytest.raises(ValueError, match="document 0 is of the type `image`"):
        rerankers.LorankRanker(tiny).rank(QUERY, [image])
