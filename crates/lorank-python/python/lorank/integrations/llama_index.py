"""LlamaIndex: `LorankRerank` is a node postprocessor of query engines and retrievers. It needs llama-index-core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from llama_index.core.bridge.pydantic import ConfigDict, Field
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher

from lorank import Document, Hit, Reranker
from lorank.integrations._common import settings

_dispatcher = get_dispatcher(__name__)


class LorankRerank(BaseNodePostprocessor):
    """Ranks the nodes of a retriever, and keeps the best.

    The nodes come back best first with the reranker's scores instead of the retriever's; equal scores keep the order of the
    retriever, whose own list does not change. Invalid settings raise pydantic's `ValidationError`, a `ValueError`; calls raise what
    `Reranker.rank` raises. LlamaIndex's reranking events report each call.

        rerank = LorankRerank(reranker=Reranker("minilm", adapters={"qa": "minilm-qa"}), top_n=3)
        engine = index.as_query_engine(similarity_top_k=50, node_postprocessors=[rerank])
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Reranker = Field(exclude=True, description="The model. Several postprocessors can share it.")
    top_n: int | None = Field(default=None, ge=1, description="The number of nodes to return. By default all.")
    adapter: str | None = Field(
        default=None, description="An adapter, or `none` for the bare base model. By default the reranker's first one."
    )
    activation: Literal["sigmoid", "identity"] | None = Field(
        default=None, description="`sigmoid` for scores from 0 to 1. By default the model's logits."
    )
    instruction: str | None = Field(
        default=None, description="What the model shall judge, for models whose prompt has a place for it."
    )
    passages: str | None = Field(
        default=None,
        description="How nodes beyond the model's limit are scored: `first`, `max` or `mean-top-3`. By default as the "
        "model's author says.",
    )
    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED,
        description="Which metadata is a part of a node's text: by default that of embeddings, as for LlamaIndex's own rerankers.",
    )

    @classmethod
    def class_name(cls) -> str:
        """The name of the class in LlamaIndex's files and events."""
        return "LorankRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        with self._reported(nodes, query_bundle) as (query, ranked):
            hits = self.reranker.rank(
                query,
                self._read(nodes),
                self.top_n,
                **settings(self),
            )
            ranked.extend(_nodes(nodes, hits))
        return ranked

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        with self._reported(nodes, query_bundle) as (query, ranked):
            hits = await self.reranker.arank(
                query,
                self._read(nodes),
                self.top_n,
                **settings(self),
            )
            ranked.extend(_nodes(nodes, hits))
        return ranked

    def _read(self, nodes: list[NodeWithScore]) -> list[Document]:
        return [node.node.get_content(metadata_mode=self.metadata_mode) for node in nodes]

    @contextmanager
    def _reported(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None
    ) -> Iterator[tuple[str, list[NodeWithScore]]]:
        """The query, and the list for the ranked nodes. LlamaIndex has two kinds of observers, and both see the call."""
        if query_bundle is None:
            raise ValueError("there is no query to rank nodes for; give `query_str` or `query_bundle`")
        query, ranked = query_bundle.query_str, list[NodeWithScore]()
        model = repr(self.reranker)
        top_n = len(nodes) if self.top_n is None else self.top_n
        _dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield query, ranked
            event.on_end(payload={EventPayload.NODES: ranked})
        _dispatcher.event(ReRankEndEvent(nodes=ranked))


def _nodes(nodes: list[NodeWithScore], hits: list[Hit]) -> list[NodeWithScore]:
    return [NodeWithScore(node=nodes[hit["corpus_id"]].node, score=hit["score"]) for hit in hits]
