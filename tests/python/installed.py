"""What the wheel brings into an empty environment: numpy alone, the program, and modules that are imported only when needed."""

import importlib.metadata
import subprocess
import sys

import lorank

assert not {"numpy", "asyncio"} & sys.modules.keys(), "importing lorank takes their time"
installed = {name.lower() for name in importlib.metadata.packages_distributions()}
assert installed <= {
    "lorank",
    "numpy",
    "pip",
    "setuptools",
    "pkg_resources",
    "_distutils_hack",
    "distutils-precedence",
}, installed
assert importlib.metadata.version("lorank") == lorank.__version__

hits = lorank.Reranker().rank("how long is the nile", ["It flows north.", "The Nile is 6,650 km long."])
assert [hit["corpus_id"] for hit in hits] == [1, 0], hits

program = [sys.executable, "-m", "lorank"]
assert (
    subprocess.run([*program, "--version"], check=True, capture_output=True, text=True).stdout
    == f"lorank {lorank.__version__}\n"
)
wrong = subprocess.run([*program, "--wrong"], check=False, capture_output=True, text=True)
assert wrong.returncode == 2 and "--wrong" in wrong.stderr, wrong
