"""Models on the hub: what is downloaded, and what is shown meanwhile."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lorank
import pytest
from lorank import _progress

from conftest import PAIRS, TINY

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """The parts of the hub's API that a download needs, for the files of `TINY`."""

    def do_GET(self) -> None:
        file = TINY / self.path.rsplit("/", 1)[-1]
        if self.path == "/api/models/owner/name/revision/main":
            siblings = [{"rfilename": path.name} for path in TINY.iterdir()]
            self.answer(200, json.dumps({"siblings": siblings, "sha": COMMIT}).encode())
        elif self.path == f"/owner/name/resolve/{COMMIT}/{file.name}" and file.exists():
            content = file.read_bytes()
            start, _, end = self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = content[int(start) : int(end) + 1 if end else None]
            content_range = f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"
            headers = {"x-repo-commit": COMMIT, "etag": f'"{file.name}"', "content-range": content_range}
            self.answer(206, part, headers)
        else:
            self.answer(404, b"")

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A hub with the repository `owner/name`, and an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    yield endpoint
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("hub")
def test_downloads_tell_how_far_they_are(monkeypatch: pytest.MonkeyPatch, tiny: lorank.Reranker) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    real = _progress.download

    def download(repository: str, file: str, n_bytes_done: int, n_bytes: int) -> None:
        assert repository == "owner/name"
        seen.setdefault(file, []).append((n_bytes_done, n_bytes))
        real(repository, file, n_bytes_done, n_bytes)

    monkeypatch.setattr(_progress, "download", download)
    reranker = lorank.Reranker("hf://owner/name", precision="f32")
    assert reranker.predict(PAIRS[:2]).tolist() == tiny.predict(PAIRS[:2], adapter="none").tolist()
    size = (TINY / "model.safetensors").stat().st_size
    assert seen["model.safetensors"][-1] == (size, size)
    assert all(done == total for (*_, (done, total)) in seen.values())
    assert not _progress._downloads, "every bar was closed"
    seen.clear()
    lorank.Reranker("hf://owner/name", precision="f32")
    assert not seen, "what is in the cache is not downloaded again"


LOAD = 'import lorank; lorank.Reranker("hf://owner/name")'
#: A new terminal has no width.
WIDEN = 'import fcntl, struct, termios; fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0)); '


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("disabled", ["", "1"])
def test_bars_are_shown_on_terminals(monkeypatch: pytest.MonkeyPatch, disabled: str) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", disabled)
    shown = bytearray()
    status = pty.spawn([sys.executable, "-c", WIDEN + LOAD], lambda terminal: read(terminal, shown))
    assert status == 0, shown.decode()
    assert (b"model.safetensors of owner/name: 100%" in shown) == (not disabled), shown.decode()


def read(terminal: int, shown: bytearray) -> bytes:
    part = os.read(terminal, 1024)
    shown.extend(part)
    return part


@pytest.mark.usefixtures("hub")
def test_no_bar_is_written_to_a_file() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.usefixtures("hub")
def test_a_repository_that_is_not_there_is_named() -> None:
    with pytest.raises((OSError, lorank.ModelError), match="owner/other.*check the repository's name"):
        lorank.Reranker("hf://owner/other")
