"""Models, texts and the program, which the tests share."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lorank
import numpy as np
import numpy.typing as npt
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "crates" / "lorank-testing" / "fixtures"
TINY = FIXTURES / "tiny-bert" / "base"
ADAPTERS = {"a": FIXTURES / "tiny-bert" / "adapter-a", "b": FIXTURES / "tiny-bert" / "adapter-b"}
PROGRAM = os.environ["LORANK_BIN"]
# The user's own measurements would decide on the precision `auto`.
os.environ["LORANK_DATA"] = tempfile.mkdtemp(prefix="lorank-data-")

#: Pairs of several lengths, scripts and repetitions.
PAIRS = [
    ("how long is the nile", "The Nile is 6,650 km long."),
    ("how long is the nile", "It flows north. " * 40),
    ("how long is the nile", ""),
    ("who invented the light bulb", {"text": "Edison's lamp burned for 14 hours.", "title": "Lamps"}),
    ("who invented the light bulb", {"text": "Edison's lamp burned for 14 hours.", "title": ""}),
    ("東京の人口", "東京は日本の首都です。 😀"),
    ("how long is the nile", "The Nile is 6,650 km long."),
]


@pytest.fixture(scope="session")
def tiny() -> lorank.Reranker:
    """A small model with two adapters, of which `a` is the default."""
    return lorank.Reranker(TINY, adapters=ADAPTERS, precision="f32", cache_bytes=0)


@pytest.fixture(scope="session")
def starter() -> lorank.Reranker:
    """The built-in model with its adapters."""
    return lorank.Reranker("minilm", adapters=["none", "minilm-qa", "minilm-science"], cache_bytes=0)


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Any]:
    """Runs the program, and returns what it prints."""

    def run(*arguments: str | Path) -> str:
        command = [PROGRAM, "--quiet", *map(str, arguments)]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "LORANK_DATA": str(tmp_path / "data")},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def program_scores(program: Callable[..., str], tmp_path: Path) -> Callable[..., npt.NDArray[np.float32]]:
    """The scores of `lorank score`."""

    def scores(pairs: Sequence[tuple[str, Any]], *arguments: str | Path) -> npt.NDArray[np.float32]:
        lines = [
            {"query": query, **({"text": document} if isinstance(document, str) else document)}
            for query, document in pairs
        ]
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        printed = program("score", "--pairs", path, *arguments)
        return np.array([json.loads(line)["score"] for line in printed.splitlines()], dtype=np.float32)

    return scores
