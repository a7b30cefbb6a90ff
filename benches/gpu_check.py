#!/usr/bin/env python3
"""The parts of benches/gpu_check.sh, which says what they are for. Each prints what is expected before what was measured.

    gpu_check.py scores --lorank LORANK --device cuda:0 --work FOLDER
    gpu_check.py small --lorank LORANK --device cuda:0 --work FOLDER
    gpu_check.py train --lorank LORANK --device cuda:0 --work FOLDER --shape 3b
    gpu_check.py pairs --work FOLDER
    gpu_check.py memory --lorank LORANK --device cuda:0 --work FOLDER --shape 3b
    gpu_check.py profile --lorank LORANK --device cuda:0 --work FOLDER --shape 3b
    gpu_check.py table --work FOLDER

On `--device cpu`, training runs what a GPU runs (`lorank train --reference`).
"""
import argparse
import json
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "crates/lorank-testing/fixtures"
SCORED = ["tiny-bert", "tiny-roberta/xlm-roberta", "tiny-encoders/distilbert", "tiny-encoders/electra", "tiny-modernbert/cls",
          "tiny-modernbert/mean", "tiny-gte/multilingual", "tiny-gte/english", "tiny-llama", "tiny-llama-bidirectional",
          "tiny-decoders/mistral", "tiny-decoders/qwen2", "tiny-decoders/qwen3", "tiny-decoders/gemma"]  # fmt: skip
TRAINED = ["tiny-bert", "tiny-modernbert/mean", "tiny-gte/multilingual", "tiny-llama", "tiny-decoders/qwen3"]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# hidden_size, intermediate_size, layers, heads, key-value heads, head_dim, embedded tokens; documents of a group, groups of a step
SHAPES = {"3b": ((3072, 8192, 28, 24, 8, 128, 128256), 8, 2), "tiny": ((64, 160, 3, 4, 2, 16, 2048), 4, 2)}
N_STEPS, MAX_LENGTH, RANK, RATE = 20, 228, 16, 1e-4


def report(args, part, measured, unit, expected, value=None):
    """Prints an expectation and a number, and keeps both for the table."""
    print(f"{part}: expected {expected}; measured {measured} {unit}".rstrip(), flush=True)
    with open(args.work / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"part": part, "expected": expected, "measured": f"{measured} {unit}".strip(), "value": value}) + "\n")


def run(command):
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nfailed with status {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def scores(args):
    """Scores of the fixtures with and without adapters, beside those of transformers and PEFT that were recorded with them."""
    is_wrong = False
    for precision, bound in (("f32", 1e-4), ("bf16", 1.5e-1)):
        if args.device == "cpu" and precision == "bf16":
            continue
        worst = 0.0
        for folder in args.models:
            reference = json.loads((FIXTURES / folder / "reference.json").read_text())
            recorded = reference["pairs"][: args.pairs_max]
            lines = [json.dumps({"query": pair["query"], "document": pair["document"]}) for pair in recorded]
            pairs = args.work / "pairs-of-fixture.jsonl"
            pairs.write_text("\n".join(lines) + "\n", encoding="utf-8")
            # A model is warmed up with as many tokens as a pass may have, which takes long on a simulated GPU.
            n_tokens = [len(pair.get("input_ids") or range(reference["max_length"])) for pair in recorded]
            lengths = ["--max-length", max(n_tokens), "--tokens-max", sum(n_tokens)]
            reference_pass = ["--reference"] if args.device == "cpu" else []
            for name in ("base", "adapter-a"):
                adapter = ["--adapter", FIXTURES / folder / name] if name != "base" else []
                output = run([args.lorank, "--quiet", "score", "--pairs", pairs, "--base", FIXTURES / folder / "base", *adapter, "--device",
                              args.device, "--precision", precision, *lengths, *reference_pass])
                found = [json.loads(line)["score"] for line in output.splitlines()]
                off = max(abs(a - pair["scores"][name.replace("-", "_")]) for a, pair in zip(found, recorded, strict=True))
                print(f"  {folder}, {name}, {precision}: {off:.1e}", flush=True)
                worst = max(worst, off)
        report(args, f"scores of {len(args.models)} tiny models in {precision}, largest difference", f"{worst:.1e}", "", f"below {bound:.1e}", worst)
        is_wrong |= not worst < bound
    if is_wrong:
        sys.exit("the scores are wrong")


def group(generator, n, n_documents, n_words):
    word = lambda: "".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 9)))  # noqa: E731
    text = lambda n_words: " ".join(word() for _ in range(n_words))  # noqa: E731
    documents = [{"text": text(n_words), "label": float(at == 0)} for at in range(n_documents)]
    return {"query_id": f"q{n}", "query": text(6), "documents": documents}


def write_groups(path, n, n_documents, n_words):
    generator = random.Random(3)
    groups = [group(generator, at, n_documents, n_words) for at in range(n)]
    path.write_text("".join(json.dumps(one) + "\n" for one in groups), encoding="utf-8")
    return groups


def lorank_train(args, groups, base, output, device, *more):
    """The events of `lorank train`. `device` "cpu" is the kernels, "reference" what a GPU runs, on a CPU."""
    on = ["--reference", "--device", "cpu"] if device == "reference" else ["--device", device]
    command = [args.lorank, "--quiet", "train", "--groups", groups, "--base", base, "--output", output, "--overwrite", "--json",
               "--held-out", 1, *on, *more]
    return [json.loads(line) for line in run(command).splitlines()]


def losses(events):
    return [event["loss"] for event in events if event["event"] == "step"]


def relative(found, expected):
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def relative_to_largest(found, expected):
    """For losses that fall to nearly zero."""
    return max(abs(a - b) for a, b in zip(found, expected, strict=True)) / max(expected)


def device_of(args):
    return "reference" if args.device == "cpu" else args.device


def small(args):
    """Training of tiny models on the device, beside the kernels on the CPU."""
    groups = args.work / "small.jsonl"
    write_groups(groups, 7, 3, 30)
    shared = ["--epochs", 3, "--batch", 2, "--rank", 4, "--learning-rate", 1e-3, "--patience", 100]
    worst = {"f32": 0.0, "bf16": 0.0}
    for folder in TRAINED:
        base = FIXTURES / folder / "base"
        kernels = losses(lorank_train(args, groups, base, args.work / "small", "cpu", *shared, "--dropout", 0))
        for precision in worst:
            own = lorank_train(args, groups, base, args.work / "small", device_of(args), *shared, "--dropout", 0, "--precision", precision)
            off = relative_to_largest(losses(own), kernels)
            print(f"  {folder}, {precision}: {len(kernels)} steps, {off:.1e}", flush=True)
            worst[precision] = max(worst[precision], off)
    for precision, expected in (("f32", "below 1e-3"), ("bf16", "below 1e-1")):
        report(args, f"training of {len(TRAINED)} tiny models in {precision}, largest difference of a loss to the CPU by the largest loss",
               f"{worst[precision]:.1e}", "", expected)
    twice = [losses(lorank_train(args, groups, FIXTURES / "tiny-llama/base", args.work / "small", device_of(args), *shared,
                                 "--dropout", 0.2)) for _ in range(2)]
    report(args, "a repeated training with dropout, largest relative difference of a loss", f"{relative(*twice):.1e}", "", "0")


def make_base(args, folder):
    """Writes a Llama with random weights; its tokenizer is the fixture's."""
    import torch
    import transformers

    (hidden, inner, n_layers, n_heads, n_kv_heads, head_dim, n_tokens), _, _ = SHAPES[args.shape]
    tokenizer = transformers.AutoTokenizer.from_pretrained(FIXTURES / "tiny-llama/base")
    own = json.loads((FIXTURES / "tiny-llama/base/config.json").read_text())
    config = transformers.LlamaConfig(
        vocab_size=max(n_tokens, len(tokenizer)), hidden_size=hidden, intermediate_size=inner, num_hidden_layers=n_layers,
        num_attention_heads=n_heads, num_key_value_heads=n_kv_heads, head_dim=head_dim, max_position_embeddings=131072,
        rms_norm_eps=1e-5, tie_word_embeddings=True, num_labels=1, pad_token_id=own["pad_token_id"],
        bos_token_id=own.get("bos_token_id"), eos_token_id=own.get("eos_token_id"))  # fmt: skip
    torch.manual_seed(1)
    with torch.device("cpu" if args.device == "cpu" else args.device):
        model = transformers.LlamaForSequenceClassification(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (FIXTURES / "tiny-llama/base" / name).exists():
            (folder / name).write_bytes((FIXTURES / "tiny-llama/base" / name).read_bytes())
    # The field layout of transformers 4, which models on the hub use.
    written = json.loads((folder / "config.json").read_text())
    rope = written.pop("rope_parameters", None)
    if rope:
        written["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type") != "default":
            written["rope_scaling"] = rope
    (folder / "config.json").write_text(json.dumps(written))


class Memory:
    """The peak of a GPU's memory in use while a part runs, above what was in use before, in bytes."""

    def __init__(self, device):
        self.command = ["nvidia-smi", f"--id={device.partition(':')[2] or 0}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        self.is_gpu = device != "cpu"

    def used(self):
        return float(run(self.command)) * 2**20 if self.is_gpu else 0.0

    def __enter__(self):
        self.before = self.peak = self.used()
        self.is_done = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.is_done.wait(0.2) and self.is_gpu:
            self.peak = max(self.peak, self.used())

    def __exit__(self, *_):
        self.is_done.set()
        self.thread.join()
        self.bytes = self.peak - self.before


def shuffled(n, seed):
    """The order of `n` groups in an epoch of `lorank train`: Fisher and Yates with SplitMix64."""
    mask, state, order = 2**64 - 1, seed, list(range(n))
    for last in range(n - 1, 0, -1):
        state = (state + 0x9E3779B97F4A7C15) & mask
        drawn = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        drawn = ((drawn ^ (drawn >> 27)) * 0x94D049BB133111EB) & mask
        other = ((drawn ^ (drawn >> 31)) * (last + 1)) >> 64
        order[last], order[other] = order[other], order[last]
    return order


def train(args):
    """Steps of lorank and of transformers + PEFT from the same adapter, over the same groups in the same order."""
    _, n_documents, n_groups = SHAPES[args.shape]
    base = args.work / f"base-{args.shape}"
    base.mkdir(exist_ok=True)
    started = time.monotonic()
    command = [sys.executable, __file__, "base", "--device", args.device, "--work", args.work, "--shape", args.shape]
    run([*command, "--lorank", args.lorank])
    print(f"  the base model's weights: {time.monotonic() - started:.0f} s", flush=True)
    groups = write_groups(args.work / "groups.jsonl", N_STEPS * n_groups + 1, n_documents, 200)
    (args.work / "few.jsonl").write_text("".join(json.dumps(one) + "\n" for one in groups[:2]), encoding="utf-8")
    shared = ["--rank", RANK, "--dropout", 0, "--max-length", MAX_LENGTH, "--targets", ",".join(LINEAR)]
    # A step with a learning rate of nearly zero saves the adapter that the training starts from.
    first = [*shared, "--epochs", 1, "--batch", 1, "--learning-rate", 1e-30]
    lorank_train(args, args.work / "few.jsonl", base, args.work / "start", device_of(args), *first)
    print(f"  the first adapter: {time.monotonic() - started:.0f} s", flush=True)
    options = [*shared, "--epochs", 1, "--batch", n_groups, "--learning-rate", RATE, "--evaluations", 1]
    with Memory(args.device) as memory:
        events = lorank_train(args, args.work / "groups.jsonl", base, args.work / "own", device_of(args), *options)
    own, end = losses(events), events[-1]
    print(f"  lorank: {time.monotonic() - started:.0f} s; {events[0]['n_parameters']} parameters, {events[0]['precision']}", flush=True)
    rest = [one for one in groups if one["query_id"] not in events[0]["held_out"]]
    ordered = [rest[at] for at in shuffled(len(rest), 0)]
    (args.work / "ordered.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ordered), encoding="utf-8")
    rival = [sys.executable, ROOT / "examples/train_peft.py", "--groups", args.work / "ordered.jsonl", "--base", base, "--output",
             args.work / "by-peft", "--start", args.work / "start", "--keep-order", "--dropout", 0, "--epochs", 1, "--batch", n_groups,
             "--learning-rate", RATE, "--max-length", MAX_LENGTH, "--query-prefix", "query: ", "--document-prefix", "document: ",
             "--device", args.device, "--dtype", "float32" if args.device == "cpu" else "bfloat16", "--checkpointing"]  # fmt: skip
    with Memory(args.device) as memory_of_rival:
        output = run(rival)
    print(f"  transformers + PEFT: {time.monotonic() - started:.0f} s", flush=True)
    by_peft = [float(loss) for loss in re.findall(r"^step \d+ of \d+: loss ([\d.]+)", output, re.MULTILINE)]
    seconds_of_rival = float(re.search(r"^\d+ pairs in ([\d.]+) s", output, re.MULTILINE).group(1))
    print("  step   lorank     PEFT       relative difference")
    for step, (a, b) in enumerate(zip(own, by_peft, strict=True), 1):
        print(f"  {step:4}   {a:.6f}   {b:.6f}   {abs(a - b) / b:.2e}")
    is_gpu = args.device != "cpu"
    name = f"{N_STEPS} steps of {n_groups} groups with {n_documents} documents of {MAX_LENGTH} tokens, shape {args.shape}"
    off = relative(own, by_peft)
    report(args, f"{name}: largest relative difference of a loss to PEFT", f"{off:.2e}", "", "below 1e-2 in bf16, 1e-4 in f32", off)
    report(args, "seconds a step, lorank", f"{end['train_seconds'] / len(own):.2f}", "s", "0.5 to 1.5 on an H200, shape 3b")
    report(args, "seconds a step, transformers + PEFT", f"{seconds_of_rival / len(own):.2f}", "s", "0.3 to 0.8 on an H200, shape 3b")
    if is_gpu:
        report(args, "peak of GPU memory, lorank", f"{memory.bytes / 1e9:.1f}", "GB", "9 to 13, below 18, shape 3b")
        report(args, "peak of GPU memory, transformers + PEFT", f"{memory_of_rival.bytes / 1e9:.1f}", "GB", "8 to 12, shape 3b")


def pairs(args):
    """Pairs of one query for benches/gpu.py."""
    one = group(random.Random(5), 0, 100, 200)
    lines = [json.dumps({"query": one["query"], "document": document["text"]}) for document in one["documents"]]
    (args.work / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def bench(args, *more):
    """What `lorank bench` measures of the large base model."""
    base = args.work / f"base-{args.shape}"
    if not (base / "config.json").exists():
        run([sys.executable, __file__, "base", "--device", args.device, "--work", args.work, "--shape", args.shape, "--lorank", args.lorank])
    pairs(args)
    return json.loads(run([args.lorank, "--quiet", "bench", "--base", base, "--pairs", args.work / "pairs.jsonl", "--device", args.device,
                           "--max-length", MAX_LENGTH, "--json", *more]))


def memory(args):
    """The peak of the GPU's memory while it scores."""
    with Memory(args.device) as memory:
        bench(args, "--precision", "bf16")
    report(args, f"peak of GPU memory, shape {args.shape} in bf16", f"{memory.bytes / 1e9:.2f}", "GB", "at most 7.5, shape 3b", memory.bytes)


def profile(args):
    """The time of each stage, by events on the device."""
    measured = bench(args, "--precision", "bf16")
    print(json.dumps(measured, indent=1))
    report(args, f"seconds of 100 pairs, shape {args.shape} in bf16, no adapter", f"{measured['seconds']['median']:.4f}", "s",
           "0.20 on an H100, 0.19 on an H200 (benches/gpu_plan.py)")


def table(args):
    path = args.work / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    print("\n| measured | expected | result |\n|---|---|---|")
    for row in rows:
        print(f"| {row['part']} | {row['expected']} | {row['measured']} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"scores": scores, "small": small, "train": train, "pairs": pairs, "memory": memory, "profile": profile, "table": table,
             "base": lambda args: make_base(args, args.work / f"base-{args.shape}")}  # fmt: skip
    parser.add_argument("part", choices=parts)
    parser.add_argument("--lorank", default="lorank")
    parser.add_argument("--device", default="cuda:0", help="cuda:N or cpu")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="3b")
    parser.add_argument("--models", nargs="+", choices=SCORED, default=SCORED, help="of `scores` [default: all]")
    parser.add_argument("--pairs-max", type=int, help="the most pairs of a model, of `scores`")
    args = parser.parse_args()
    parts[args.part](args)


if __name__ == "__main__":
    main()
