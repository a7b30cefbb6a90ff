"""Checks of arguments."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def listed(values: Iterable[T], name: str) -> list[T]:
    """The items of an iterable that is not a text."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"`{name}` is of type {type(values).__name__}, not a list or another iterable")
    return list(values)


def sources(
    adapters: Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]] | None,
) -> list[tuple[str | None, str]]:
    """The adapters with their names, if they have some."""
    if adapters is None:
        return []
    if isinstance(adapters, Mapping):
        return [(text(name, "adapters"), path_text(source, "adapters")) for name, source in adapters.items()]
    return [(None, path_text(source, "adapters")) for source in listed(adapters, "adapters")]


def path_text(value: str | os.PathLike[str], name: str) -> str:
    """A path or a name as a text."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"`{name}` is of type {type(value).__name__}, not a text or a path")
    path = os.fspath(value)
    # A path object of one part is a folder, and not the name of a built-in model.
    if not isinstance(value, str) and isinstance(path, str) and os.sep not in path:
        path = os.path.join(os.curdir, path)
    return text(path, name)


def text(value: str, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` is of type {type(value).__name__}, not str")
    return value


def texts(values: Iterable[str], name: str) -> list[str]:
    """The texts of an iterable."""
    return [text(value, name) for value in listed(values, name)]


def at_least(value: int | None, least: int, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"`{name}` is of type {type(value).__name__}, not int")
    # An integer of numpy is one, too.
    value = operator.index(value)
    if value < least:
        raise ValueError(f"`{name}` is {value}, below the minimum of {least}")
    if value > sys.maxsize:
        raise ValueError(f"`{name}` is {value}, above the maximum of {sys.maxsize}")
    return value
