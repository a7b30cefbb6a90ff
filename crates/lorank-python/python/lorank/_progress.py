"""Progress bars, for those who have tqdm."""

from __future__ import annotations

import importlib
from typing import Any


def bar(show: bool, *arguments: Any, **options: Any) -> Any:
    """A progress bar of tqdm with these arguments; `None` if it is not asked for, or tqdm is not installed."""
    if not show:
        return None
    try:
        return importlib.import_module("tqdm.auto").tqdm(*arguments, **options)
    except ImportError:
        return None
