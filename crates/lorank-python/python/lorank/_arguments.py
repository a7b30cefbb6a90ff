"""Checks of arguments."""

from __future__ import annotations

import numbers
import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

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


#: The keys of a rerank stage, as in a search request.
_STAGE_KEYS = ("adapter", "base", "depth", "deadline_share")


def stage_texts(stages: Iterable[str | Mapping[str, Any]]) -> list[str]:
    """Rerank stages in the text form of the program."""
    return [
        stage if isinstance(stage, str) else _stage_text(stage, n) for n, stage in enumerate(listed(stages, "stages"))
    ]


def _stage_text(stage: Mapping[str, Any], n: int) -> str:
    name = f"stages[{n}]"
    if not isinstance(stage, Mapping):
        raise TypeError(f"`{name}` is of type {type(stage).__name__}, not a text or a mapping")
    unknown = [key for key in stage if key not in _STAGE_KEYS]
    if unknown:
        raise ValueError(f"`{name}` has the unknown key `{unknown[0]}`; the keys are {', '.join(_STAGE_KEYS)}")
    depth = at_least(stage.get("depth"), 1, f"{name}.depth")
    if depth is None:
        raise ValueError(f"`{name}` has no `depth`")
    adapter, base, share = (stage.get(key) for key in ("adapter", "base", "deadline_share"))
    model = "default" if adapter is None else _without(adapter, "@", f"{name}.adapter")
    of_base = "" if base is None else f"@{_without(base, '@', f'{name}.base')}"
    if share is not None and (isinstance(share, bool) or not isinstance(share, numbers.Real)):
        raise TypeError(f"`{name}.deadline_share` is of type {type(share).__name__}, not float")
    # A share has a decimal point, and no exponent.
    of_deadline = "" if share is None else f":{float(share):.12f}"
    return f"{model}{of_base}:{depth}{of_deadline}"


def _without(value: str, character: str, name: str) -> str:
    if character in text(value, name):
        raise ValueError(f"`{name}` is `{value}`, which has `{character}`")
    return value


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
