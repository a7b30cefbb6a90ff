#!/usr/bin/env python3
"""Compares the Python package with the program, sentence-transformers' CrossEncoder, FlashRank and fastembed, and prints a table in
Markdown.

    python3 benches/python.py --minilm FOLDER --pairs PAIRS.jsonl [--lorank target/release/lorank] [--python PYTHON]
        [--calibration OTHER.jsonl --rival PYTHON [--rival-onnx PYTHON]] [--rounds 5] [--threads 2]

`--python` is an interpreter that has the package installed (by default this one), `--rival` one with sentence-transformers, and
`--rival-onnx` one with sentence-transformers[onnx,openvino], nncf, flashrank and fastembed, which may need other versions of their
dependencies (by default `--rival`). `--minilm` is the folder of MiniLM-L-12 in f32, as `crates/lorank-testing/tools/real_models.py`
makes it; the rivals' ONNX and OpenVINO models are exported from it into `target/rivals`, where there are none: int8 by
sentence-transformers' own function for ONNX, and by NNCF on the pairs of `--calibration` for OpenVINO. FlashRank runs the int8 ONNX
model, fastembed the one in f32. The pairs are JSON lines {"query", "text"} with one query.

A cold start is a process of its own: the time from its start to the first ten scores, and its memory then. For throughput each
contender is a process that stays; each runs once per round, after a warm-up, in an order that rotates from round to round, and a run
scores all pairs, with nothing cached. Rivals have the best of several batch sizes. The ratio is the median over rounds of
(contender / lorank) in the same round. The error is the mean absolute difference of the scores from those of the first contender
in f32, in standard deviations of these. Eight threads that ask at once each score all texts, for another query each.

`auto` takes int8 for the folder once `lorank bench --ranking --base FOLDER` has measured that it preserves the ranking.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import textwrap
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--minilm", required=True)
parser.add_argument("--pairs", required=True)
parser.add_argument("--lorank", default="target/release/lorank")
parser.add_argument("--python", default=sys.executable)
parser.add_argument("--rival")
parser.add_argument("--rival-onnx")
parser.add_argument("--calibration")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
ENVIRONMENT = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": str(options.threads),
    "RAYON_NUM_THREADS": str(options.threads),
    "TOKENIZERS_PARALLELISM": "true",
}
BATCH_SIZES = (8, 16, 32)
EXPORTED = os.path.abspath("target/rivals/ms-marco-MiniLM-L-12-v2")

# What a contender runs: `score(pairs)` gives the scores.
LORANK = """
from lorank import Reranker
model = Reranker({minilm!r}, precision={precision!r}, threads={threads}, cache_bytes=0)
score = lambda pairs: model.predict(pairs)
"""
RIVAL = """
from sentence_transformers import CrossEncoder
import torch
torch.set_num_threads({threads})
model = CrossEncoder({folder!r}, device="cpu", backend={backend!r}, model_kwargs={model_kwargs!r}, max_length=512)
score = lambda pairs: model.predict(pairs, batch_size={batch_size}, show_progress_bar=False, activation_fn=torch.nn.Identity())
"""
FLASHRANK = """
import math
from flashrank import Ranker, RerankRequest
model = Ranker("ms-marco-MiniLM-L-12-v2", cache_dir={parent!r})
def score(pairs):
    ranked = model.rerank(RerankRequest(pairs[0][0], [{{"id": n, "text": text}} for n, (_, text) in enumerate(pairs)]))
    found = {{one["id"]: float(one["score"]) for one in ranked}}
    return [math.log(found[n]) - math.log1p(-found[n]) for n in range(len(pairs))]
"""
FASTEMBED = """
from fastembed.rerank.cross_encoder import TextCrossEncoder
model = TextCrossEncoder("Xenova/ms-marco-MiniLM-L-12-v2", specific_model_path={folder!r}, threads={threads}, cuda=False)
score = lambda pairs: list(model.rerank(pairs[0][0], [text for _, text in pairs], batch_size={batch_size}))
"""
# Makes the folder with the rivals' models.
EXPORT = """
import json, os, shutil, sys
import nncf, openvino
from sentence_transformers import CrossEncoder, export_dynamic_quantized_onnx_model
from transformers import AutoTokenizer
minilm, folder, calibration = sys.argv[1:]
names = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
os.makedirs(folder, exist_ok=True)
for name in names:
    shutil.copyfile(os.path.join(minilm, name), os.path.join(folder, name))
model = CrossEncoder(folder, backend="onnx", device="cpu")
model.save_pretrained(folder)
export_dynamic_quantized_onnx_model(model, "avx512_vnni", folder)
shutil.copyfile(folder + "/onnx/model_qint8_avx512_vnni.onnx", folder + "/flashrank-MiniLM-L-12-v2_Q.onnx")
CrossEncoder(folder, backend="openvino", device="cpu").save_pretrained(folder)
network = openvino.Core().read_model(folder + "/openvino/openvino_model.xml")
tokenizer = AutoTokenizer.from_pretrained(folder)
def encode(row):
    encoded = tokenizer(row["query"], row["text"], truncation=True, max_length=512, return_tensors="np")
    return {one.get_any_name(): encoded[one.get_any_name()] for one in network.inputs}
rows = [json.loads(line) for line in open(calibration, encoding="utf-8")]
quantized = nncf.quantize(network, nncf.Dataset(rows, encode), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
openvino.save_model(quantized, folder + "/openvino/openvino_model_qint8_quantized.xml")
"""
# Answers a line `run`, `scores` or `threads` by a line of JSON.
SERVE = """
import json, sys, time, threading
pairs = [(row["query"], row["text"]) for row in map(json.loads, open({pairs!r}, encoding="utf-8"))]
score(pairs)
def together(n):
    # Each thread has its own pairs: equal ones are scored once.
    threads = [threading.Thread(target=score, args=([(f"{{query}} {{k}}", text) for query, text in pairs],)) for k in range(n)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    if line == "scores\\n":
        print(json.dumps([float(one) for one in score(pairs)]), flush=True)
        continue
    together(8) if line == "threads\\n" else score(pairs)
    print(time.perf_counter() - began, flush=True)
"""
COLD = """
import resource
score([("how long is the nile", f"The Nile is {n},650 km long.") for n in range(10)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


class Contender:
    """A model in an interpreter."""

    def __init__(self, name, python, code):
        self.name, self.python, self.code = name, python, code
        self.process, self.times = None, []

    def cold(self):
        """Seconds and bytes of a process that answers once; the median of three."""
        figures = []
        for _ in range(3):
            began = time.perf_counter()
            done = subprocess.run(
                [self.python, "-c", self.code + COLD], env=ENVIRONMENT, check=True, capture_output=True, text=True
            )
            figures.append((time.perf_counter() - began, int(done.stdout.splitlines()[-1])))
        return statistics.median(seconds for seconds, _ in figures), statistics.median(n for _, n in figures)

    def start(self):
        code = self.code + SERVE.format(pairs=os.path.abspath(options.pairs))
        self.process = subprocess.Popen(
            [self.python, "-c", code], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stdout:
            if line == "ready\n":
                return True
        self.why = self.process.stderr.read().strip().splitlines()[-1:] or ["it ended"]
        return False

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Program:
    """`lorank bench`."""

    name, times = "the program, auto", []

    def ask(self, _what):
        command = [options.lorank, "--quiet", "bench", "--base", options.minilm, "--pairs", options.pairs, "--runs", "1", "--json"]
        command += ["--threads", str(options.threads)]
        done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)["seconds"]["median"]


def lorank(precision):
    code = LORANK.format(minilm=options.minilm, precision=precision, threads=options.threads)
    return Contender(f"lorank, {precision}", options.python, textwrap.dedent(code))


def rivals():
    if not options.rival:
        return
    with_onnx = options.rival_onnx or options.rival
    backends = [
        ("torch", options.rival, "torch", {}),
        ("onnx int8", with_onnx, "onnx", {"file_name": "onnx/model_qint8_avx512_vnni.onnx"}),
        ("openvino int8", with_onnx, "openvino", {"file_name": "openvino/openvino_model_qint8_quantized.xml"}),
    ]
    common = {"folder": EXPORTED, "parent": os.path.dirname(EXPORTED), "threads": options.threads}
    for name, python, backend, model_kwargs in backends:
        for batch_size in BATCH_SIZES:
            code = RIVAL.format(backend=backend, model_kwargs=model_kwargs, batch_size=batch_size, **common)
            yield Contender(f"CrossEncoder, {name}, batches of {batch_size}", python, code)
    yield Contender("FlashRank, int8, one batch", with_onnx, FLASHRANK.format(**common))
    for batch_size in BATCH_SIZES:
        yield Contender(f"fastembed, f32, batches of {batch_size}", with_onnx, FASTEMBED.format(batch_size=batch_size, **common))


def versions(python, names):
    code = "import importlib.metadata, sys\nprint(', '.join(f'{name} {importlib.metadata.version(name)}' for name in sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *names], check=True, capture_output=True, text=True).stdout.strip()


def installed_bytes(python, package):
    """The size of an interpreter's installed packages that a package needs, itself included."""
    code = """
        import importlib.metadata as metadata, re, sys
        seen, waiting, total = set(), [sys.argv[1]], 0
        while waiting:
            name = re.sub("[-_.]+", "-", waiting.pop()).lower()
            if name in seen:
                continue
            seen.add(name)
            try:
                package = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue
            total += sum(file.locate().stat().st_size for file in package.files or [] if file.locate().exists())
            waiting += [re.match("[\\\\w.-]+", need).group() for need in package.requires or [] if "extra ==" not in need]
        print(total)
    """
    return int(subprocess.run([python, "-c", textwrap.dedent(code), package], check=True, capture_output=True, text=True).stdout)


def main():
    exact, fast = lorank("f32"), lorank("auto")
    print(versions(options.python, ["lorank", "numpy"]))
    if options.rival:
        with_onnx = options.rival_onnx or options.rival
        print(f"{versions(options.rival, ['sentence-transformers', 'transformers', 'torch'])}; with onnx:")
        print(versions(with_onnx, ["sentence-transformers", "transformers", "onnxruntime", "openvino", "nncf", "flashrank", "fastembed"]))
        if not os.path.exists(EXPORTED + "/openvino/openvino_model_qint8_quantized.xml"):
            command = [with_onnx, "-c", EXPORT, options.minilm, EXPORTED, options.calibration]
            subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    print()
    print("| cold start | seconds | memory, MB |\n|---|---:|---:|")
    torch = [next(rivals())] if options.rival else []
    for contender in [fast, exact, *torch]:
        seconds, n_bytes = contender.cold()
        print(f"| {contender.name.split(', batches')[0]} | {seconds:.2f} | {n_bytes / 1e6:.0f} |")
    print("\n| installed | MB |\n|---|---:|")
    print(f"| lorank with numpy | {installed_bytes(options.python, 'lorank') / 1e6:.0f} |")
    if options.rival:
        print(f"| sentence-transformers | {installed_bytes(options.rival, 'sentence-transformers') / 1e6:.0f} |")

    contenders = [fast, exact, Program()]
    missing = []
    for contender in [fast, exact]:
        assert contender.start(), contender.why
    for contender in rivals():
        if contender.start():
            contenders.append(contender)
        else:
            missing.append((contender.name, contender.why[0]))
    for n in range(options.rounds):
        turn = n % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            contender.times.append(contender.ask("run"))
    served = [contender for contender in contenders if isinstance(contender, Contender)]
    reference = exact.ask("scores")
    deviation = statistics.pstdev(reference)
    print("\n| all pairs | seconds | time / lorank's | error, deviations |\n|---|---:|---:|---:|")
    for contender in contenders:
        ratio = statistics.median(one / own for one, own in zip(contender.times, fast.times, strict=True))
        error = "" if contender not in served else f"{mean_error(contender.ask('scores'), reference) / deviation:.5f}"
        print(f"| {contender.name} | {statistics.median(contender.times):.3f} | {ratio:.2f} | {error} |")
    alone, together = fast.ask("run"), fast.ask("threads")
    print(f"\nEight threads at once: {8 * alone / together:.2f} times the throughput of one caller.")
    for name, why in missing:
        print(f"not compared: {name}: {why}")
    for contender in served:
        contender.end()


def mean_error(scores, reference):
    return statistics.fmean(abs(one - other) for one, other in zip(scores, reference, strict=True))


if __name__ == "__main__":
    main()
