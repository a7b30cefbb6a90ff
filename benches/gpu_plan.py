#!/usr/bin/env python3
"""What a forward pass of the GPU's engine costs on paper: its operations, bytes and expected time on several GPUs.

    python3 benches/gpu_plan.py [--shape 3b|minilm|CONFIG.json] [--pairs 100] [--tokens 228] [--rank 16] [--seconds GPU=S ...]

The operations are those of `crates/lorank-model/src/backend/cuda` in the order of the forward pass. A product takes the longer of its
arithmetic at `--products` of the tensor cores' dense peak and its bytes at `--copies` of the memory's bandwidth; attention runs at
`--attention` of the peak; other operations take their bytes; each takes at least a launch (`--launch` microseconds). Peaks and bandwidths
are those of NVIDIA's data sheets. `--seconds H100=0.21` puts a measured time beside the expected one. Needs only Python's standard library.
"""
import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

# Dense peak in bf16 and in FP8 (0: none), in TFLOP/s, bandwidth in GB/s, memory in GB.
GPUS = {
    "L4": (121, 242, 300, 24),
    "A10G": (70, 0, 600, 24),
    "A100 80 GB": (312, 0, 2039, 80),
    "H100 SXM": (989, 1979, 3350, 80),
    "H200": (989, 1979, 4800, 141),
}

# The keys are those of `config.json`.
SHAPES = {
    "3b": {"num_hidden_layers": 28, "hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24,
           "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "model_type": "llama"},
    "minilm": {"num_hidden_layers": 12, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12,
               "vocab_size": 30522, "model_type": "bert"},
}

# As in the backend: spare columns of each matrix, and the most tokens of a pass.
SPARE_COLUMNS, TOKENS_MAX = 128, 8192


@dataclass
class Operation:
    name: str
    flops: float
    n_bytes: float
    # `bf16` or `fp8`: products on tensor cores; `attention`; `copies`: no products.
    kind: str


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="3b", help="3b, minilm, or a model's config.json")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=228, help="of a pair")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters")
    parser.add_argument("--products", type=float, default=0.72, help="of the tensor cores' peak [default: 0.72]")
    parser.add_argument("--attention", type=float, default=0.2, help="of the tensor cores' peak [default: 0.2]")
    parser.add_argument("--copies", type=float, default=0.8, help="of the bandwidth [default: 0.8]")
    parser.add_argument("--launch", type=float, default=3.0, help="microseconds [default: 3]")
    parser.add_argument("--seconds", action="append", default=[], metavar="GPU=S", help="a measured time, by a prefix of the GPU's name")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Shape:
    """The sizes of a model."""

    def __init__(self, config):
        self.n_layers, self.hidden, self.inner = (config[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size"))
        heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or self.hidden // heads
        self.attended = heads * head_dim
        self.of_keys = config.get("num_key_value_heads", heads) * head_dim
        self.vocabulary = config["vocab_size"]
        self.is_decoder = config["model_type"] != "bert"

    def products(self, has_adapter):
        """Name, inputs and the outputs of the linear layers of each product. Layers with the same input are one, unless an adapter
        changes them."""
        inner = [self.inner] * (2 if self.is_decoder else 1)
        groups = [("query, key, value", self.hidden, [self.attended, self.of_keys, self.of_keys]), ("output", self.attended, [self.hidden]),
                  ("up", self.hidden, inner), ("down", self.inner, [self.hidden])]
        if not has_adapter:
            return groups
        return [(name, n_in, [n_out]) for name, n_in, outputs in groups for n_out in outputs]

    def n_outputs(self):
        return self.n_layers * sum(sum(outputs) for _, _, outputs in self.products(False))

    def weights(self):
        return self.n_layers * sum(n_in * sum(outputs) for _, n_in, outputs in self.products(False))


def operations(shape, args, work):
    """The operations of forward passes over all pairs, and the number of passes. In the last layer only scored rows have queries and a
    network."""
    n_tokens = args.pairs * args.tokens
    n_passes = math.ceil(n_tokens / TOKENS_MAX)
    rank = args.rank if work == "adapter" else 0
    # Bytes of a number that a product reads.
    width, kind = (1, "fp8") if work == "fp8" else (2, "bf16")
    result = [Operation("embed", 0, 4 * n_tokens * shape.hidden, "copies")]
    for layer in range(shape.n_layers):
        is_last = layer == shape.n_layers - 1
        scored = args.pairs if is_last else n_tokens
        for name, n_in, outputs in shape.products(rank > 0):
            # Keys and values are of all rows in each layer.
            rows = n_tokens if name.startswith("query") else scored
            if rank:
                # The product with A writes columns beside the inputs; that with B is part of the layer's.
                result.append(Operation("adapter", 2 * rows * n_in * rank, 2 * rows * (n_in + rank), "bf16"))
            n_out = sum(outputs)
            written = 2 * rows * n_out
            residual = written if name in ("output", "down") else 0
            n_bytes = width * (rows * (n_in + rank) + n_passes * (n_in + rank) * n_out) + written + residual
            result.append(Operation(name, 2 * rows * (n_in + rank) * n_out, n_bytes, kind))
        if shape.is_decoder:
            result += [Operation("rope", 0, 4 * n_tokens * width, "copies") for width in (shape.attended, shape.of_keys)]
        of_pair = scored * args.tokens / (2 if shape.is_decoder and not is_last else 1)
        moved = 4 * (scored * shape.attended + n_tokens * shape.of_keys)
        result.append(Operation("attention", 4 * of_pair * shape.attended, moved, "attention"))
        result += [Operation("norm", 0, (2 + width) * rows * shape.hidden, "copies") for rows in (n_tokens, scored)]
        n_read = 2 if shape.is_decoder else 1
        result.append(Operation("activation", 0, (2 * n_read + width) * scored * shape.inner, "copies"))
    return result, n_passes


def seconds(args, all_operations, n_passes, gpu):
    bf16, fp8, bandwidth, _ = GPUS[gpu]
    peaks = {"bf16": bf16 * args.products, "fp8": fp8 * args.products, "attention": bf16 * args.attention}
    total = 0
    for it in all_operations:
        arithmetic = it.flops / (peaks[it.kind] * 1e12) if it.kind in peaks else 0
        total += max(arithmetic, it.n_bytes / (bandwidth * 1e9 * args.copies), n_passes * args.launch * 1e-6)
    return total


def memory(shape, work):
    """Weights with their spare columns, and the activations of a pass, in bytes."""
    width = 1 if work == "fp8" else 2
    weights = width * shape.weights() + 2 * shape.n_outputs() * SPARE_COLUMNS + 2 * shape.vocabulary * shape.hidden
    of_token = 2 * (2 * shape.inner + shape.inner + 4 * (shape.hidden + SPARE_COLUMNS))
    if work == "fp8":
        # A quantized input with its scale, and a product before it gets its scales.
        of_token += shape.inner + 4 + 2 * 2 * shape.inner
    return weights + TOKENS_MAX * of_token * 5 / 4


def main():
    args = arguments()
    try:
        shape = Shape(SHAPES.get(args.shape) or json.loads(Path(args.shape).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as why:
        sys.exit(f"--shape {args.shape}: not 3b, minilm or a config.json with the sizes of a model: {why}")
    if wrong := [part for part in args.seconds if "=" not in part]:
        sys.exit(f"--seconds {wrong[0]}: write GPU=S, as H100=0.21")
    measured = dict(part.split("=", 1) for part in args.seconds)
    works = {"merged": "bf16, no adapter or a merged one", "adapter": f"bf16, one adapter of rank {args.rank}", "fp8": "FP8, no adapter"}
    rows = []
    for work, title in works.items():
        all_operations, n_passes = operations(shape, args, work)
        row = {"work": title, "tflop": sum(it.flops for it in all_operations) / 1e12,
               "gigabytes": sum(it.n_bytes for it in all_operations) / 1e9, "launches": n_passes * len(all_operations),
               "memory_gb": memory(shape, work) / 1e9, "expected_seconds": {}}
        for gpu in GPUS:
            if work != "fp8" or GPUS[gpu][1]:
                row["expected_seconds"][gpu] = seconds(args, all_operations, n_passes, gpu)
        rows.append(row)
    if args.json:
        print(json.dumps({"rows": rows, "measured_seconds": measured}, indent=1))
        return
    print(f"| work | TFLOP | GB moved | launches | memory, GB | {' | '.join(GPUS)} |")
    print(f"|---|---:|---:|---:|---:|{'---:|' * len(GPUS)}")
    for row in rows:
        times = [f"{row['expected_seconds'][gpu]:.3g} s" if gpu in row["expected_seconds"] else "none" for gpu in GPUS]
        print(f"| {row['work']} | {row['tflop']:.3g} | {row['gigabytes']:.3g} | {row['launches']} | {row['memory_gb']:.2g} | {' | '.join(times)} |")
    reached = [next((f"{value} s" for name, value in measured.items() if gpu.startswith(name)), "not yet run") for gpu in GPUS]
    print(f"| reached | | | | | {' | '.join(reached)} |")


if __name__ == "__main__":
    main()
