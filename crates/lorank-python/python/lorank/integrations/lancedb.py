"""LanceDB: `LorankReranker` reranks what a query finds, by texts, by vectors or by both. It needs lancedb."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from lancedb.rerankers import Reranker as LanceReranker

from lorank import Document, Reranker
from lorank._arguments import text
from lorank.integrations._common import checked, settings, with_title


class LorankReranker(LanceReranker):
    """Reranks the rows that a query of LanceDB finds.

    Rows come back best first, with their scores in the column `_relevance_score`; equal scores keep LanceDB's order. The query's
    `limit` is the number of rows that are reranked. A search by vectors needs the query's text, too, as `query_string`.

        reranker = LorankReranker(Reranker("minilm", adapters={"qa": "minilm-qa"}), column="text")
        rows = table.search("how long is the nile", query_type="fts").limit(50).rerank(reranker).to_list()
    """

    def __init__(
        self,
        reranker: Reranker,
        column: str = "text",
        return_score: Literal["relevance", "all"] = "relevance",
        *,
        title_column: str | None = None,
        adapter: str | None = None,
        activation: Literal["sigmoid", "identity"] | None = None,
        instruction: str | None = None,
        passages: str | None = None,
    ) -> None:
        """Takes the model and the settings of all calls.

        Args:
            reranker: The model.
            column: The column with the texts.
            return_score: `relevance` for the reranker's scores alone, `all` to keep the columns with LanceDB's.
            title_column: The column with the titles. By default rows have none.
            adapter: The name of an adapter, or `none` for the bare base model. By default the reranker's first one.
            activation: `sigmoid` for scores from 0 to 1. By default the model's logits.
            instruction: What the model shall judge, for models whose prompt has a place for it.
            passages: How long texts are scored: `first`, `max` or `mean-top-3`.

        Raises:
            TypeError: An argument of another type.
            ValueError: An unknown `return_score`.
        """
        super().__init__(return_score)
        self.reranker = checked(reranker)
        self.column = text(column, "column")
        self.title_column = None if title_column is None else text(title_column, "title_column")
        self.adapter = adapter
        self.activation = activation
        self.instruction = instruction
        self.passages = passages

    def __str__(self) -> str:
        """The class with its model."""
        return f"LorankReranker({self.reranker!r})"

    def rerank_hybrid(self, query: str, vector_results: pa.Table, fts_results: pa.Table) -> pa.Table:
        """The rows of both searches, each row once, by the reranker's scores."""
        if self.score == "all":
            rows = self._merge_and_keep_scores(vector_results, fts_results)
        else:
            rows = self.merge_results(vector_results, fts_results)
        return self._rerank(query, rows)

    def rerank_vector(self, query: str, vector_results: pa.Table) -> pa.Table:
        """The rows of a search by vectors, by the reranker's scores."""
        return self._rerank(query, vector_results)

    def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
        """The rows of a search by texts, by the reranker's scores."""
        return self._rerank(query, fts_results)

    def _rerank(self, query: str, rows: pa.Table) -> pa.Table:
        if query is None:
            raise ValueError("a search by vectors has no text to rerank for; give `query_string` to `rerank`")
        hits = self.reranker.rank(
            query,
            self._texts(rows) if len(rows) > 0 else [],
            **settings(self),
        )
        ranked = rows.take(pa.array([hit["corpus_id"] for hit in hits], pa.int64()))
        scores = pa.array([hit["score"] for hit in hits], pa.float32())
        return self._keep_relevance_score(ranked.append_column("_relevance_score", scores))

    def _texts(self, rows: pa.Table) -> list[Document]:
        for column in (self.column, self.title_column):
            if column is not None and column not in rows.column_names:
                columns = ", ".join(f"`{name}`" for name in rows.column_names)
                raise ValueError(f"the rows have no column `{column}` to rerank by; they have {columns}")
        texts: list[Document] = []
        for n, row in enumerate(rows.to_pylist()):
            words = row[self.column]
            if not isinstance(words, str):
                what = "has no text" if words is None else f"has a value of type {type(words).__name__}, not a text,"
                raise ValueError(f"row {n} {what} in the column `{self.column}`; leave such rows out with `where`")
            texts.append(with_title(words, row, self.title_column, f"row {n}"))
        return texts
