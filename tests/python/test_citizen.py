"""Threads, signals, processes, pickles, event loops and logs."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lorank
import numpy as np
import pytest

from conftest import ADAPTERS, PAIRS, TINY

#: More work than any test waits for: minutes on one core.
LONG = [(f"query {n}", "The Nile is 6,650 km long. " * 30) for n in range(20_000)]


def test_threads_share_an_engine(tiny: lorank.Reranker) -> None:
    expected = {adapter: tiny.predict(PAIRS, adapter=adapter) for adapter in ("none", "a", "b")}

    def ask(n: int) -> None:
        adapter = ("none", "a", "b")[n % 3]
        rotated = PAIRS[n % len(PAIRS) :] + PAIRS[: n % len(PAIRS)]
        scores = tiny.predict(rotated, adapter=adapter)
        assert np.array_equal(np.roll(scores, n % len(PAIRS)), expected[adapter])

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(200)))


def test_the_interpreter_is_released() -> None:
    reranker = lorank.Reranker(TINY, cache_bytes=0)
    pairs = LONG[:400]
    done = threading.Event()
    turns = 0

    def turn() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0.001)

    thread = threading.Thread(target=turn)
    thread.start()
    began = time.monotonic()
    reranker.predict(pairs)
    took = time.monotonic() - began
    done.set()
    thread.join()
    # A call that kept the interpreter would let the other thread run once or twice.
    assert turns > min(20, took * 100), (turns, took)


# A shell's background jobs ignore SIGINT, and so do the programs that they start.
CTRL_C = """
import os, signal, sys, threading, time
import lorank
signal.signal(signal.SIGINT, signal.default_int_handler)
reranker = lorank.Reranker(sys.argv[1], cache_bytes=0)
pairs = [(f"query {n}", "The Nile is 6,650 km long. " * 30) for n in range(20_000)]
sent = []
def send():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
timer = threading.Timer(1.0, send)
timer.start()
try:
    reranker.predict(pairs)
except KeyboardInterrupt:
    print(time.monotonic() - sent[0])
# The engine is as it was.
assert len(reranker.predict(pairs[:3])) == 3
"""


def test_ctrl_c_ends_a_call() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C, str(TINY)], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    # 0.2 s on an idle machine; this one may be busy.
    assert float(done.stdout) < 1.0


def test_ctrl_c_ends_an_endless_iterator() -> None:
    program = (
        "import itertools, signal, sys, lorank; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "lorank.Reranker(sys.argv[1]).predict(itertools.repeat(('q', 'd')))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(TINY)], stderr=subprocess.PIPE)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert b"KeyboardInterrupt" in errors


def test_a_task_that_is_cancelled_cancels_its_call() -> None:
    reranker = lorank.Reranker(TINY, cache_bytes=0)

    async def cancelled() -> None:
        task = asyncio.create_task(reranker.apredict(LONG))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The engine is free again.
        await asyncio.wait_for(reranker.arank("q", ["d"]), 30)

    began = time.monotonic()
    asyncio.run(cancelled())
    assert time.monotonic() - began < 30


def test_event_loops_run_while_documents_are_ranked(tiny: lorank.Reranker) -> None:
    documents = ["It flows north.", "The Nile is 6,650 km long."]

    async def many() -> list[Any]:
        return await asyncio.gather(
            *(tiny.arank("how long", documents, return_documents=True, adapter="b") for _ in range(50))
        )

    assert asyncio.run(many()) == [tiny.rank("how long", documents, return_documents=True, adapter="b")] * 50
    scores = asyncio.run(tiny.apredict(iter(PAIRS)))
    assert np.array_equal(scores, tiny.predict(PAIRS))


FORK = """
import multiprocessing, sys
import lorank
def ask(queue):
    try:
        queue.put(reranker.predict([("q", "d")]))
    except RuntimeError as error:
        queue.put(str(error))
    try:
        lorank.Reranker(sys.argv[1])
    except RuntimeError as error:
        queue.put(str(error))
reranker = lorank.Reranker(sys.argv[1])
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=ask, args=(queue,))
process.start()
print(queue.get(timeout=60))
print(queue.get(timeout=60))
process.join(60)
print(process.exitcode)
"""


def test_a_forked_process_is_told(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(TINY)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second, status = done.stdout.splitlines()
    assert first == second and "forked" in first and "spawn" in first
    assert status == "0"


FORK_BEFORE = """
import os, sys
import lorank
child = os.fork()
if child == 0:
    os._exit(0 if len(lorank.Reranker(sys.argv[1]).predict([("q", "d")])) == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_process_may_fork_before_it_uses_lorank() -> None:
    subprocess.run([sys.executable, "-c", FORK_BEFORE, str(TINY)], check=True, timeout=120)


def scores_in_another_process(reranker: Any) -> Any:
    return reranker.predict(PAIRS)


def test_objects_are_pickled_by_their_settings(tiny: lorank.Reranker) -> None:
    reranker = lorank.Reranker(TINY, adapters={"a": ADAPTERS["a"]}, precision="f32", max_length=64)
    reranker.add_adapter("b", ADAPTERS["b"])
    for other in (pickle.loads(pickle.dumps(reranker)), copy.copy(reranker)):
        assert repr(other) == repr(reranker) and other.adapters == ["a", "b"]
        assert np.array_equal(other.predict(PAIRS, adapter="b"), reranker.predict(PAIRS, adapter="b"))
        assert other.info()["max_length"] == 64
    model = lorank.CrossEncoder(
        TINY, prompts={"q": "query: "}, default_prompt_name="q", activation_fn="identity", token="secret"
    )
    pickled = pickle.dumps(model)
    assert b"secret" not in pickled
    other_model = pickle.loads(pickled)
    assert np.array_equal(other_model.predict(PAIRS), model.predict(PAIRS))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(scores_in_another_process, (reranker,)), reranker.predict(PAIRS))


def test_the_number_of_threads_is_that_of_the_process() -> None:
    program = """
import sys
import lorank
first = lorank.Reranker(sys.argv[1], threads=1)
assert first.info()["n_threads"] == 1
lorank.Reranker(sys.argv[1], threads=1)
try:
    lorank.Reranker(sys.argv[1], threads=2)
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(TINY)], check=True, capture_output=True, text=True, timeout=120
    )
    assert "`threads` is 2, but" in done.stdout


def test_events_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lorank"):
        lorank.Reranker(TINY)
    [record] = [record for record in caplog.records if record.getMessage().startswith("loaded")]
    assert record.name == "lorank.server.models" and record.levelno == logging.INFO
    assert "precision=" in record.getMessage() and "base_model=" in record.getMessage()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "lorank"):
        lorank.Reranker(TINY)
    assert caplog.records == []


def test_the_program_runs_with_its_arguments(tmp_path: Any) -> None:
    script = os.path.join(os.path.dirname(sys.executable), "lorank")
    environment = {**os.environ, "LORANK_DATA": str(tmp_path)}
    for command in ([script], [sys.executable, "-m", "lorank"]):
        shown = subprocess.run(
            [*command, "info", "--json"], check=True, capture_output=True, text=True, env=environment, timeout=120
        ).stdout
        assert json.loads(shown)["model"]["base_model"] == "cross-encoder/ms-marco-MiniLM-L-12-v2"
        failed = subprocess.run(
            [*command, "search", "--index", str(tmp_path / "none"), "query"],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
        assert failed.returncode == 1 and "error:" in failed.stderr and failed.stdout == ""


def test_ctrl_c_ends_the_program(tmp_path: Any) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lorank",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--base",
            str(TINY),
            "--data",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert b"listening" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    process.communicate()
    # A command without a handler of its own ends as any program.
    process = subprocess.Popen([sys.executable, "-m", "lorank", "score", "--pairs", "-"], stdin=subprocess.PIPE)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT
    process.communicate()
