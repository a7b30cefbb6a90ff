#!/usr/bin/env python3
"""Trains an adapter on the same groups by lorank and by transformers + PEFT, and prints quality, time and memory in a table.

    python3 benches/train.py --lorank target/release/lorank --python PYTHON --base FOLDER --dataset FOLDER [--json FILE]

`--base` is a folder in Hugging Face's layout with model.safetensors; `crates/lorank-testing/tools/real_models.py minilm FOLDER`
creates one. `--dataset` is a collection in BEIR's layout. Adapters are trained on qrels/SPLIT.tsv (`--split train`) and evaluated
on another split (`--test-split test`); a collection with one split is divided, two thirds of its queries for training.
PYTHON has torch, transformers and peft.

lorank holds some groups out, by which it chooses the step whose adapter is kept; the rival trains on the others too, which are
the same groups, and keeps the last step. Time is that of the steps: without loading, and without lorank's evaluations of held-out
queries, which `total` has. Memory is the peak of the process. Options after `--` are given to `lorank train`; those that the rival
has too (loss, max-length, epochs, batch, learning-rate, rank, alpha, dropout, seed, distillation, temperature) are given to both.
`--only-time 40` trains on 40 groups, one epoch, and evaluates nothing.
"""
import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARED = ["loss", "max-length", "epochs", "batch", "learning-rate", "rank", "alpha", "dropout", "seed", "distillation", "temperature"]
RIVAL = Path(__file__).resolve().parent.parent / "examples/train_peft.py"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lorank", default="target/release/lorank")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--test-split", default="test")
    parser.add_argument("--groups", type=int, help="train on this many groups")
    parser.add_argument("--without-rival", action="store_true", help="train by lorank alone")
    parser.add_argument("--only-time", type=int, metavar="GROUPS")
    parser.add_argument("--depth", type=int, default=50, help="the depth of the evaluation")
    parser.add_argument("--sample", type=int, help="evaluate about this many queries")
    parser.add_argument("--precision", default="f32", help="the precision of the evaluation")
    parser.add_argument("--at-once", default="1", help="groups of a forward pass of the rival, a row for each number; more take more memory")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--beside", action="append", default=[], metavar="NAME", help="another adapter to evaluate, as in `lorank eval`")
    parser.add_argument("--work", type=Path, help="keep the groups and the adapters in this folder")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("options", nargs="*", help="options of `lorank train`, after --")
    return parser.parse_args()


def timed(command, log):
    """Runs a command: its output, seconds, and peak memory in bytes."""
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as errors:
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        how = f"was killed by signal {-process.returncode}" if process.returncode < 0 else "failed"
        sys.exit(f"{' '.join(map(str, command))} {how}:\n{Path(log).read_text()}")
    return output, time.monotonic() - started, usage.ru_maxrss * 1024


def qrels(args, work):
    """The judgments to train and to test on."""
    train, test = (args.dataset / "qrels" / f"{split}.tsv" for split in (args.split, args.test_split))
    if train.exists() or not test.exists():
        return train, test
    header, *lines = test.read_text(encoding="utf-8").splitlines()
    queries = sorted({line.split("\t")[0] for line in lines})
    random.Random(0).shuffle(queries)
    chosen = set(queries[: len(queries) * 2 // 3])
    for name, is_train in (("train", True), ("test", False)):
        own = [line for line in lines if (line.split("\t")[0] in chosen) == is_train]
        (work / f"{name}.tsv").write_text("\n".join([header, *own]) + "\n", encoding="utf-8")
    return work / "train.tsv", work / "test.tsv"


def option(options, name):
    """The value of an option among those of `lorank train`."""
    given = [value for key, value in zip(options, options[1:]) if key == f"--{name}"]
    return given[-1] if given else None


def train_by_lorank(args, work):
    command = [args.lorank, "--quiet", "train", "--groups", work / "groups.jsonl", "--base", args.base, "--threads", args.threads,
               "--output", work / "lorank", "--overwrite", "--json", *args.options]
    output, total, memory = timed(command, work / "lorank.log")
    events = [json.loads(line) for line in output.splitlines()]
    end = events[-1]
    row = {"name": "lorank", "adapter": "lorank", "seconds": end["train_seconds"], "n_pairs": end["n_pairs"], "total": total,
           "memory": memory, "reason": end["reason"], "best_step": end["best_step"], "n_steps": end["n_steps"]}
    return row, set(events[0]["held_out"])


def train_by_peft(args, work, at_once):
    name = f"peft-{at_once}"
    shared = [part for key in SHARED if (value := option(args.options, key)) for part in (f"--{key}", value)]
    targets = option(args.options, "targets")
    command = [args.python, RIVAL, "--groups", work / "rival.jsonl", "--base", args.base, "--output", work / name,
               "--threads", args.threads, "--at-once", at_once, *shared, *(["--targets", targets] if targets else [])]
    output, total, memory = timed(command, work / f"{name}.log")
    if length := option(args.options, "max-length"):
        # `lorank train` writes it beside its own adapter.
        (work / name / "lorank.json").write_text(json.dumps({"max_length": int(length)}), encoding="utf-8")
    n_pairs, seconds = re.search(r"^(\d+) pairs in ([\d.]+) s", output, re.MULTILINE).groups()
    return {"name": f"transformers + PEFT, groups at once: {at_once}", "adapter": name, "seconds": float(seconds), "n_pairs": int(n_pairs),
            "total": total, "memory": memory}


def evaluate(args, work, rows, test):
    adapters = [part for row in rows for part in ("--adapter", f"{row['adapter']}={work / row['adapter']}")]
    adapters += [part for name in args.beside for part in ("--adapter", name)]
    sample = ["--sample", args.sample] if args.sample else []
    command = [args.lorank, "--quiet", "eval", "--dataset", args.dataset, "--qrels", test, "--base", args.base, "--precision", args.precision,
               "--adapter", "none", *adapters, "--baseline", "none", "--depth", args.depth, "--scores", work / "scores",
               "--threads", args.threads, "--json", *sample]
    return json.loads(timed(command, work / "eval.log")[0])


def versions(args):
    imports = "import json, torch, transformers, peft; print(json.dumps({m.__name__: m.__version__ for m in (torch, transformers, peft)}))"
    own = subprocess.run([args.lorank, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if args.without_rival:
        return {"lorank": own}
    rival = subprocess.run([args.python, "-c", imports], check=True, capture_output=True, text=True).stdout
    return {"lorank": own, **json.loads(rival)}


def cpu():
    if os.path.exists("/proc/cpuinfo"):
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def quality_of(ranker):
    """The mean nDCG@10, and the difference from the base with its interval."""
    difference = ranker["comparisons"][0]
    return [f"{ranker['means'][0]:.4f}", f"{difference['difference']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"]


def table(args, rows, evaluation):
    by_name = {ranker["name"]: ranker for ranker in evaluation["rankers"]} if evaluation else {}
    lines = ["| trained by | nDCG@10 | beside the base (95 % interval) | seconds | pairs a second | times lorank's | total | peak memory |",
             "|---|---:|---|---:|---:|---:|---:|---:|"]
    for name in ("first-stage", "none"):
        if name in by_name:
            title = {"first-stage": "BM25, not trained", "none": "the base, not trained"}[name]
            lines.append(f"| {title} | {by_name[name]['means'][0]:.4f} | | | | | | |")
    for row in rows:
        quality = ["", ""]
        if row["adapter"] in by_name:
            quality = quality_of(by_name[row["adapter"]])
        rate = row["n_pairs"] / row["seconds"]
        times = rows[0]["n_pairs"] / rows[0]["seconds"] / rate
        lines.append(f"| {row['name']} | {quality[0]} | {quality[1]} | {row['seconds']:.0f} | {rate:.1f} | {times:.2f} | "
                     f"{row['total']:.0f} | {row['memory'] / 1e9:.2f} GB |")
    for name in (beside.split("=")[0] for beside in args.beside):
        if name in by_name:
            lines.append(f"| {name}, trained before | {' | '.join(quality_of(by_name[name]))} | | | | | |")
    return "\n".join(lines)


def main():
    args = arguments()
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(args.threads), TOKENIZERS_PARALLELISM="true")
    folder = tempfile.TemporaryDirectory() if args.work is None else None
    work = args.work or Path(folder.name)
    work.mkdir(parents=True, exist_ok=True)
    if args.only_time:
        args.groups = args.only_time
        args.options += ["--epochs", "1", "--evaluations", "1", "--held-out", "2"]
    train, test = qrels(args, work)
    of_groups = [part for key in ("negatives", "negatives-from", "positives-max", "teacher", "negative-margin", "seed")
                 if (value := option(args.options, key)) for part in (f"--{key}", value)]
    exported, _, _ = timed([args.lorank, "--quiet", "export-groups", "--dataset", args.dataset, "--qrels", train, "--base", args.base,
                            *of_groups], work / "export.log")
    for key in ("negatives", "negatives-from", "positives-max", "teacher", "negative-margin"):
        while f"--{key}" in args.options:
            at = args.options.index(f"--{key}")
            del args.options[at : at + 2]
    groups = exported.splitlines()
    if args.groups:
        groups = random.Random(0).sample(groups, min(args.groups, len(groups)))
    (work / "groups.jsonl").write_text("\n".join(groups) + "\n", encoding="utf-8")
    row, held_out = train_by_lorank(args, work)
    rows = [row]
    own = [line for line in groups if json.loads(line)["query_id"] not in held_out]
    (work / "rival.jsonl").write_text("\n".join(own) + "\n", encoding="utf-8")
    rows += [train_by_peft(args, work, at_once) for at_once in args.at_once.split(",") if not args.without_rival]
    evaluation = None if args.only_time else evaluate(args, work, rows, test)
    print(table(args, rows, evaluation))
    about = {"dataset": args.dataset.name, "n_groups": len(own), "n_test_queries": evaluation and evaluation["n_queries"],
             "depth": args.depth, "threads": args.threads, "cpu": cpu(), "options": args.options, "versions": versions(args)}
    print(f"\n{json.dumps(about)}")
    if args.json:
        rankers = evaluation and evaluation["rankers"]
        args.json.write_text(json.dumps({"about": about, "rows": rows, "rankers": rankers}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
