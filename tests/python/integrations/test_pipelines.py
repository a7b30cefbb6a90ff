"""The integrations in the places where programs put them: retrievers, query engines, pipelines and tables."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import lancedb as lance
import lorank
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy
from lancedb.index import FTS
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document as LangChainDocument
from langchain_core.retrievers import BaseRetriever
from llama_index.core.base.base_retriever import BaseRetriever as NodeRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from lorank.integrations.haystack import LorankRanker
from lorank.integrations.lancedb import LorankReranker
from lorank.integrations.langchain import LorankRerank as Compressor
from lorank.integrations.llama_index import LorankRerank as Postprocessor
from lorank.integrations.rerankers import LorankRanker as Ranker
from rerankers.documents import Document as RerankersDocument

QUERY = "how long is the nile"
TEXTS = ["The nile is long and flows north.", "The Nile is 6,650 km long.", "How long is a piece of string?"]


@pytest.fixture(scope="session")
def expected(starter: lorank.Reranker) -> list[tuple[str, float]]:
    """The best two texts by the built-in adapter."""
    hits = starter.rank(QUERY, TEXTS, 2, adapter="minilm-qa")
    assert hits[0]["corpus_id"] == 1
    return [(TEXTS[hit["corpus_id"]], hit["score"]) for hit in hits]


class AllDocuments(BaseRetriever):
    """A retriever of LangChain that finds every text."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[LangChainDocument]:
        return [LangChainDocument(text) for text in TEXTS]


def test_langchain_retriever(starter: lorank.Reranker, expected: list[tuple[str, float]]) -> None:
    compressor = Compressor(reranker=starter, top_n=2, adapter="minilm-qa")
    retriever = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=AllDocuments())
    for found in (retriever.invoke(QUERY), asyncio.run(retriever.ainvoke(QUERY))):
        assert [(one.page_content, one.metadata["relevance_score"]) for one in found] == expected


class AllNodes(NodeRetriever):
    """A retriever of LlamaIndex that finds every text."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=text), score=1.0) for text in TEXTS]


def test_llama_index_query_engine(starter: lorank.Reranker, expected: list[tuple[str, float]]) -> None:
    seen = LlamaDebugHandler(print_trace_on_end=False)
    engine = RetrieverQueryEngine(
        AllNodes(),
        response_synthesizer=NoText(llm=MockLLM()),
        node_postprocessors=[Postprocessor(reranker=starter, top_n=2, adapter="minilm-qa")],
        callback_manager=CallbackManager([seen]),
    )
    assert [(node.text, node.score) for node in engine.query(QUERY).source_nodes] == expected
    start, end = seen.get_event_pairs(CBEventType.RERANKING)[0]
    assert start.payload is not None and start.payload["query_str"] == QUERY and start.payload["top_k"] == 2
    assert end.payload is not None and len(end.payload["nodes"]) == 2


def haystack_store() -> InMemoryDocumentStore:
    store = InMemoryDocumentStore()
    store.write_documents([Document(content=text) for text in TEXTS])
    return store


def test_haystack_pipeline(expected: list[tuple[str, float]]) -> None:
    store = haystack_store()
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    pipeline.add_component("ranker", LorankRanker("minilm", {"qa": "minilm-qa"}, top_k=2))
    pipeline.connect("retriever", "ranker")
    # A pipeline is kept as a file, and the copy ranks as the original does.
    copy = Pipeline.loads(pipeline.dumps(), allowed_modules=["lorank.integrations.haystack"])
    copy.get_component("retriever").document_store.write_documents(
        [Document(content=text) for text in TEXTS], policy=DuplicatePolicy.SKIP
    )
    inputs = {"retriever": {"query": QUERY}, "ranker": {"query": QUERY}}
    for one in (pipeline, copy):
        found = one.run(inputs)["ranker"]["documents"]
        assert [(document.content, document.score) for document in found] == expected

    other = pipeline.run({"retriever": {"query": QUERY}, "ranker": {"query": QUERY, "adapter": "none", "top_k": 3}})
    assert len(other["ranker"]["documents"]) == 3
    assert other["ranker"]["documents"][0].score != expected[0][1]


def test_haystack_runs_in_an_event_loop(expected: list[tuple[str, float]]) -> None:
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(haystack_store()))
    pipeline.add_component("ranker", LorankRanker("minilm", ["minilm-qa"], top_k=2))
    pipeline.connect("retriever", "ranker")
    found = asyncio.run(pipeline.run_async({"retriever": {"query": QUERY}, "ranker": {"query": QUERY}}))
    assert [(document.content, document.score) for document in found["ranker"]["documents"]] == expected


def test_haystack_settings_are_kept() -> None:
    ranker = LorankRanker(
        Path("models") / "base",
        {"qa": Path("models") / "qa"},
        adapter="qa",
        meta_fields_to_embed=["section"],
        score_threshold=0.5,
        activation="sigmoid",
        threads=1,
    )
    assert LorankRanker.from_dict(ranker.to_dict()).to_dict() == ranker.to_dict()
    assert ranker.to_dict()["init_parameters"]["adapters"] == {"qa": "models/qa"}


def test_haystack_documents_of_two_retrievers_are_ranked_once() -> None:
    ranker = LorankRanker("minilm", meta_fields_to_embed=["section"], score_threshold=0.85, activation="sigmoid")
    documents = [Document(content=text, meta={"section": "Nile"}) for text in TEXTS]
    found = ranker.run(QUERY, [*documents, *documents])["documents"]
    assert len(found) == len({document.id for document in found})
    texts = ["Nile\n" + text for text in TEXTS]
    hits = lorank.Reranker("minilm").rank(QUERY, texts, activation="sigmoid")
    kept = [(TEXTS[hit["corpus_id"]], hit["score"]) for hit in hits if hit["score"] >= 0.85]
    assert 0 < len(kept) < len(TEXTS)
    assert [(document.content, document.score) for document in found] == kept


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> lance.table.Table:
    rows = [{"text": text, "vector": [float(n), 1.0]} for n, text in enumerate(TEXTS)]
    table = lance.connect(tmp_path_factory.mktemp("lance")).create_table("texts", rows)
    table.create_index("text", config=FTS())
    return table


@pytest.mark.parametrize("kind", ["fts", "vector", "hybrid"])
def test_lancedb_queries(
    kind: str, table: lance.table.Table, starter: lorank.Reranker, expected: list[tuple[str, float]]
) -> None:
    reranker = LorankReranker(starter, adapter="minilm-qa")
    if kind == "fts":
        query = table.search(QUERY, query_type="fts").limit(3).rerank(reranker)
    elif kind == "vector":
        query = table.search([0.0, 1.0]).limit(3).rerank(reranker, query_string=QUERY)
    else:
        query = table.search(query_type="hybrid").vector([0.0, 1.0]).text(QUERY).limit(3).rerank(reranker)
    rows = query.to_list()
    assert len(rows) == len(TEXTS)
    assert [(row["text"], row["_relevance_score"]) for row in rows[:2]] == expected
    assert "_score" not in rows[0] and "_distance" not in rows[0]


def test_lancedb_keeps_all_scores_on_demand(table: lance.table.Table, starter: lorank.Reranker) -> None:
    reranker = LorankReranker(starter, return_score="all")
    rows = table.search(query_type="hybrid").vector([0.0, 1.0]).text(QUERY).limit(3).rerank(reranker).to_list()
    assert {"_score", "_distance", "_relevance_score"} <= set(rows[0])


def test_rerankers_documents(starter: lorank.Reranker, expected: list[tuple[str, float]]) -> None:
    ranker = Ranker(starter, adapter="minilm-qa")
    documents = [RerankersDocument(text, doc_id=f"d{n}", metadata={"n": n}) for n, text in enumerate(TEXTS)]
    results = ranker.rank(QUERY, documents)
    best = results.top_k(1)[0]
    assert (best.text, best.score, best.doc_id, best.metadata) == (*expected[0], "d1", {"n": 1})
    assert results.get_score_by_docid("d1") == expected[0][1] == ranker.score(QUERY, TEXTS[1])
    renamed = ranker.rank(QUERY, documents, doc_ids=["x", "y", "z"], metadata=[{}, {"other": True}, {}])
    assert (renamed[0].doc_id, renamed[0].metadata, documents[1].doc_id) == ("y", {"other": True}, "d1")
    assert ranker.rank(QUERY, "one text")[0].doc_id == 0
