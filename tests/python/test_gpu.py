"""`device="cuda:0"`: what is missing is named, and with the simulated GPU of `.ci/cuda` the package scores on it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import lorank
import numpy as np
import pytest

from conftest import ADAPTERS, PAIRS, REPOSITORY, TINY

DRIVER = REPOSITORY / "target" / "ci" / "cuda" / "driver"
SCORES = """
import json, sys, lorank
base, adapter, pairs = json.loads(sys.argv[1])
reranker = lorank.Reranker(base, adapters={"a": adapter}, precision="f32", device="cuda:0", cache_bytes=0, max_length=64)
scores = reranker.predict([tuple(pair) for pair in pairs])
print(json.dumps({"device": reranker.info()["device"], "scores": scores.tolist()}))
"""


def test_the_extra_has_the_libraries_of_the_gpu() -> None:
    required = importlib.metadata.requires("lorank") or []
    extra = sorted(line.split(";")[0].strip() for line in required if "extra ==" in line and "cuda" in line)
    assert extra == ["nvidia-cublas-cu12", "nvidia-cuda-nvrtc-cu12"]


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_what_a_gpu_needs_is_named() -> None:
    with pytest.raises(OSError, match="device `cuda:0` cannot be used; no NVIDIA driver"):
        lorank.Reranker(TINY, device="cuda:0")
    with pytest.raises(ValueError, match="`gpu` is not a device"):
        lorank.Reranker(TINY, device="gpu")


@pytest.fixture
def packages() -> Iterator[None]:
    """NVRTC in the environment of the package, as `pip install lorank[cuda]` puts it there."""
    [installed] = DRIVER.parent.glob("lib/python3*/site-packages/nvidia")
    link = Path(sysconfig.get_path("purelib")) / "nvidia"
    link.symlink_to(installed)
    yield
    link.unlink()


@pytest.mark.skipif(not DRIVER.exists(), reason="`.ci/cuda` makes the simulated GPU")
@pytest.mark.usefixtures("packages")
def test_the_package_scores_on_the_simulated_gpu(tiny: lorank.Reranker, tmp_path: Path) -> None:
    # Each thread of the simulated GPU is one of the host.
    pairs = [PAIRS[0], PAIRS[5]]
    arguments = json.dumps([str(TINY), str(ADAPTERS["a"]), pairs])
    # The driver is looked for when a process starts.
    variables = {**os.environ, "LD_LIBRARY_PATH": str(DRIVER), "XDG_CACHE_HOME": str(tmp_path)}
    # Its memory suffices for few tokens, so that it warms up in a short time.
    variables["SIMULATE_MEMORY"] = str(35 << 20)
    variables.pop("VIRTUAL_ENV", None)
    command = [sys.executable, "-c", SCORES, arguments]
    done = subprocess.run(command, env=variables, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["device"] == "cuda"
    np.testing.assert_allclose(found["scores"], tiny.predict(pairs), atol=5e-5, rtol=5e-5)
