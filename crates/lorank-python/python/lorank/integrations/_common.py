"""What the integrations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorank import Document, Reranker


def checked(reranker: Reranker) -> Reranker:
    """The argument `reranker`, if it is one."""
    if not isinstance(reranker, Reranker):
        raise TypeError(f"`reranker` is of type {type(reranker).__name__}, not lorank.Reranker")
    return reranker


def settings(of: Any) -> dict[str, Any]:
    """The settings of all calls that an integration has as attributes: arguments of `Reranker.rank`."""
    return {name: getattr(of, name) for name in ("adapter", "activation", "instruction", "passages")}


def with_title(text: str, fields: Mapping[str, Any], title: str | None, name: str) -> Document:
    """A text with the title in one of its document's fields. A document without this field has no title."""
    value = None if title is None else fields.get(title)
    if value is None:
        return text
    if not isinstance(value, str):
        raise TypeError(f"`{title}` of {name} is of type {type(value).__name__}, not str; it is read as the title")
    return {"title": value, "text": text}
