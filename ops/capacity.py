#!/usr/bin/env python3
"""How many lorank servers a load needs.

    ops/capacity.py --documents 1000000 --queries-per-second 20 --depth 50 --model minilm-int8 --machine "2 cores, Zen 5"
    ops/capacity.py --documents 1000000 --queries-per-second 20 --depth 50 --pairs-per-second 240 --cores 2

A server scores pairs of a query and a document at a rate that its model and its processor decide. `lorank bench` measures the rate on
a machine; without it, the rate is one of docs/benchmarks.md, for documents of about 75 words. A hit of the score cache costs nothing.
tests/replicas/scaling.py checks the model against measured throughput. Needs only Python's standard library.
"""
import argparse
import dataclasses
import math

# Pairs per second of one server: docs/benchmarks.md. The bytes of memory of its model: for MiniLM measured there, for the others
# estimated by their weights.
MEASURED = {
    ("minilm-int8", "2 cores, Zen 5"): (100 / 0.42, 140e6),
    ("minilm-bf16", "2 cores, Zen 5"): (100 / 0.67, 169e6),
    ("minilm-f32", "2 cores, Zen 5"): (100 / 1.12, 218e6),
    ("minilm-int8", "2 cores, Zen 3"): (100 / 1.43, 140e6),
    ("smollm2-135m-bf16", "2 cores, Zen 5"): (100 / 3.26, 600e6),
    ("ettin-32m-int8", "2 cores, Zen 5"): (100 / 0.33, 140e6),
    ("minilm-bf16", "H200"): (100 / 0.024, 169e6),
    ("llama-3b-bf16", "H200"): (100 / 0.371, 8e9),
}

# The first stage (tantivy) on one core: milliseconds of a search, without and per million documents, and bytes of the index per
# document of 75 words. tests/replicas/scaling.py --documents measures both.
FIRST_STAGE_MILLIS, FIRST_STAGE_MILLIS_PER_MILLION = 2.0, 7.0
INDEX_BYTES_PER_DOCUMENT = 850


@dataclasses.dataclass(frozen=True)
class Load:
    """What clients ask for, in all."""

    queries_per_second: float
    depth: int
    documents: int = 0
    # The share of pairs whose score is in a cache.
    hit_rate: float = 0.0


@dataclasses.dataclass(frozen=True)
class Server:
    """One server: what it scores alone and without hits, on how many cores."""

    pairs_per_second: float
    cores: int = 2
    # With a GPU, the first stage has the cores for itself.
    has_gpu: bool = False


def seconds_per_search(load, server):
    """The time that a search occupies a server. On a CPU, the first stage and the model take turns on the same cores."""
    first_stage = 0.0
    if load.documents:
        first_stage = (FIRST_STAGE_MILLIS + FIRST_STAGE_MILLIS_PER_MILLION * load.documents / 1e6) / 1e3 / server.cores
    model = load.depth * (1 - load.hit_rate) / server.pairs_per_second
    return max(first_stage, model) if server.has_gpu else first_stage + model


def searches_per_second(load, server, n_servers=1):
    """The most that the servers can answer."""
    return n_servers / seconds_per_search(load, server)


def servers_needed(load, server, utilization=0.7, spare=1):
    """The number of servers that keeps each at most this busy, and as many to spare: one may restart or die."""
    return max(math.ceil(load.queries_per_second * seconds_per_search(load, server) / utilization), 1) + spare


def mean_millis(load, server, n_servers):
    """The mean latency: the search itself, and its wait for others (a queue with one server and constant times, M/D/1)."""
    alone = seconds_per_search(load, server)
    busy = load.queries_per_second * alone / n_servers
    return math.inf if busy >= 1 else 1e3 * alone * (1 + busy / (2 * (1 - busy)))


def at_least(kind, least, is_open=False):
    """Reads a number of at least `least`, or above it."""

    def read(text):
        number = kind(text)
        if not math.isfinite(number) or number < least or (is_open and number == least):
            raise argparse.ArgumentTypeError(f"must be {'above' if is_open else 'at least'} {least}, not `{text}`")
        return number

    read.__name__ = "whole number" if kind is int else "number"
    return read


def main():
    positive = at_least(float, 0, is_open=True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=at_least(int, 0), required=True, help="documents in the index; 0 if another engine is the first stage")
    parser.add_argument("--queries-per-second", type=positive, required=True, help="at the busiest time")
    parser.add_argument("--depth", type=at_least(int, 1), required=True, help="candidates that are reranked")
    parser.add_argument("--hit-rate", type=float, default=0.0, help="share of pairs with a cached score, from 0 to 1")
    parser.add_argument("--model", help=", ".join(sorted({model for model, _ in MEASURED})))
    parser.add_argument("--machine", help=", ".join(sorted({machine for _, machine in MEASURED})))
    parser.add_argument("--pairs-per-second", type=positive, help="of one server, from `lorank bench`, instead of a model and a machine")
    parser.add_argument("--cores", type=at_least(int, 1), default=2, help="of one server")
    parser.add_argument("--utilization", type=float, default=0.7, help="how busy a server may be (default: 0.7)")
    parser.add_argument("--spare", type=at_least(int, 0), default=1, help="servers that may be missing (default: 1)")
    options = parser.parse_args()
    if not 0 <= options.hit_rate <= 1 or not 0 < options.utilization < 1:
        parser.error("--hit-rate is from 0 to 1, and --utilization between 0 and 1")
    if options.pairs_per_second and options.model:
        parser.error("--pairs-per-second is the rate of a model; leave --model out")
    if options.pairs_per_second:
        rate, memory = options.pairs_per_second, None
    elif (options.model, options.machine) in MEASURED:
        rate, memory = MEASURED[options.model, options.machine]
    else:
        known = "; ".join(f"{model} on {machine}" for model, machine in MEASURED)
        parser.error(f"give --pairs-per-second, or --model and --machine that were measured together: {known}")
    load = Load(options.queries_per_second, options.depth, options.documents, options.hit_rate)
    server = Server(rate, options.cores, has_gpu=options.machine == "H200")
    n = servers_needed(load, server, options.utilization, options.spare)
    print(f"pairs per second: {load.queries_per_second * load.depth * (1 - load.hit_rate):.0f} to score, {rate:.0f} by one server")
    print(f"servers: {n}, of which {options.spare} may be missing")
    print(f"mean latency: {mean_millis(load, server, n):.0f} ms with all servers, "
          f"{mean_millis(load, server, n - options.spare):.0f} ms without the spare ones")
    index = load.documents * INDEX_BYTES_PER_DOCUMENT
    print(f"disk of each server: {index / 1e9:.1f} GB for the index, in memory if searches are to be fast")
    if memory:
        print(f"memory of each server: {memory / 1e9:.2f} GB for the model and its work, and the index")


if __name__ == "__main__":
    main()
