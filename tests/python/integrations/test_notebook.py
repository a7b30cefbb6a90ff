"""The notebook of `examples/python` runs, with fewer queries and documents than it has."""

from __future__ import annotations

import re
from typing import Any

import nbformat
from nbclient import NotebookClient

from conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "examples" / "python" / "evaluate.ipynb"
N_QUERIES = 3
DEPTH = 4


def outputs(notebook: Any) -> tuple[str, list[str]]:
    """What the cells print, and the kinds of the images that they show."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in found)
    return printed, [kind for output in found for kind in output.get("data", {}) if kind.startswith("image/")]


def test_notebook() -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    source = notebook.cells[3].source
    notebook.cells[3].source = re.sub(r"^n_queries = \d+$", f"n_queries = {N_QUERIES}", source, flags=re.MULTILINE)
    notebook.cells[3].source = re.sub(r"^depth = \d+", f"depth = {DEPTH}", notebook.cells[3].source, flags=re.MULTILINE)
    assert f"n_queries = {N_QUERIES}\ndepth = {DEPTH}" in notebook.cells[3].source
    parameters = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=parameters).execute()
    printed, images = outputs(notebook)
    assert f"2938 documents, {N_QUERIES} queries" in printed
    means = {name: float(ndcg) for name, ndcg in re.findall(r"^(\S+) +ndcg@10 (\d\.\d+)", printed, flags=re.MULTILINE)}
    assert len(means) == 3 and "minilm-qa" in means and all(0 < mean <= 1 for mean in means.values()), means
    assert images == ["image/png"]
