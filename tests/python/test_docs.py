"""The examples of the guide and of the package's README run, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import REPOSITORY

PAGES = ["docs/python.md", "crates/lorank-python/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples(page)
    assert "The Nile is 6,650 km long." in capsys.readouterr().out


def run_examples(page: str) -> None:
    """Runs the examples of a page, one after the other, with the names of those before."""
    examples = re.findall(
        r"^```python\n(.*?)^```", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert examples
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, page, "exec"), names)
