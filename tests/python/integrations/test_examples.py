"""The guide's examples of frameworks, and the programs of `examples/python`, run as they stand."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from test_docs import run_examples

CORPUS = REPOSITORY / "crates" / "lorank-starter" / "data" / "corpus"
PROGRAMS = ["over_tantivy.py", "over_lancedb.py", "over_qdrant.py"]


def test_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples("docs/python-frameworks.md")
    # Each of the five frameworks ranks it first.
    firsts = [line for line in capsys.readouterr().out.splitlines() if "The Nile is 6,650 km long." in line]
    assert len(firsts) == 5


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    runpy.run_path(str(REPOSITORY / "examples" / "python" / program), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    first = json.loads((CORPUS / "corpus.jsonl").read_text(encoding="utf-8").partition("\n")[0])
    assert len(lines) == 5
    # The document that the judgments of the corpus have for this query.
    assert first["text"][:80] in lines[0], lines


@pytest.mark.parametrize("program", PROGRAMS)
def test_query_with_punctuation(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = tmp_path / "documents.jsonl"
    texts = ["It flows north.", "The Nile is 6,650 km long.", "Who is it?"]
    documents.write_text("".join(json.dumps({"title": "", "text": text}) + "\n" for text in texts), encoding="utf-8")
    query = 'how long "is" (the nile?'
    monkeypatch.setattr(sys, "argv", [program, query, "--documents", str(documents), "--depth", "2"])
    runpy.run_path(str(REPOSITORY / "examples" / "python" / program), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "The Nile is 6,650 km long." in lines[0], lines
