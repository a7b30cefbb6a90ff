"""Progress bars, for those who have tqdm."""

from __future__ import annotations

import importlib
import os
from typing import Any

#: The bars of the files that are being downloaded.
_downloads: dict[tuple[str, str], Any] = {}


def bar(show: bool, *arguments: Any, **options: Any) -> Any:
    """A progress bar of tqdm with these arguments; `None` if it is not asked for, or tqdm is not installed."""
    if not show:
        return None
    try:
        return importlib.import_module("tqdm.auto").tqdm(*arguments, **options)
    except ImportError:
        return None


def download(repository: str, file: str, n_bytes_done: int, n_bytes: int) -> None:
    """Shows on a terminal how much of a file was downloaded, unless `HF_HUB_DISABLE_PROGRESS_BARS` is set."""
    key = (repository, file)
    if key not in _downloads:
        show = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() not in ("1", "ON", "YES", "TRUE")
        # With `None`, tqdm shows the bar on terminals alone.
        options = {
            "total": n_bytes,
            "unit": "B",
            "unit_scale": True,
            "desc": f"{file} of {repository}",
            "disable": None,
        }
        _downloads[key] = bar(show, **options)
    shown = _downloads[key]
    if shown is not None:
        shown.update(n_bytes_done - shown.n)
    if n_bytes_done >= n_bytes:
        if shown is not None:
            shown.close()
        del _downloads[key]
