#!/usr/bin/env python3
"""Estimates the products per cycle of the kernels' innermost loops on 64-bit ARM, by llvm-mca's models of processors.

This is no measurement. Caches and everything around a loop cost nothing here, and a model may be wrong.

    cargo rustc --locked --release --package lorank-kernels --target aarch64-unknown-linux-gnu --lib -- \
        --emit asm -C codegen-units=1
    python3 benches/aarch64_loops.py target/aarch64-unknown-linux-gnu/release/deps/lorank_kernels-*.s
"""

import argparse
import re
import subprocess

# A loop's main instructions, the products of each, and the processors that have them and llvm-mca a model of.
ALL = ["cortex-a72", "neoverse-n1", "neoverse-n2", "neoverse-v1", "neoverse-v2"]
LOOPS = [
    ("f32 (FMLA)", r"fmla\tv\d+\.4s, v\d+\.4s, v\d+\.s\[", 4, ALL),
    ("bf16 (BFMMLA)", r"bfmmla\t", 16, ALL[2:]),
    ("int8 (SMLAL)", r"sm(?:ull|lal)2?\tv\d+\.8h", 8, ALL),
    ("int8 (SDOT)", r"sdot\t", 16, ALL[1:]),
    ("int8 (USMMLA)", r"usmmla\t", 32, ALL[2:]),
]
ITERATIONS = 200


def innermost_loops(assembly):
    """The instructions of each loop that contains no label."""
    label, body = None, []
    for line in assembly.splitlines():
        name = re.match(r"(\.LBB\w+):", line)
        if name:
            label, body = name[1], []
        elif line.startswith("\t") and not line.startswith(("\t.", "\t//")):
            body.append(line)
            if label and re.match(rf"\tt?[bc].*\s{re.escape(label)}$", line):
                yield body


def cycles(body, cpu, llvm_mca):
    """The cycles of one iteration."""
    # Without the branch, whose label is not there.
    command = [llvm_mca, "-mtriple=aarch64", f"-mcpu={cpu}", f"-iterations={ITERATIONS}"]
    report = subprocess.run(command, input="\n".join(body[:-1]), capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", report)[1]) / ITERATIONS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assembly", help="the kernels' assembly")
    parser.add_argument("--llvm-mca", default="llvm-mca", help="LLVM 19 or newer (default: %(default)s)")
    args = parser.parse_args()
    with open(args.assembly) as file:
        bodies = list(innermost_loops(file.read()))
    print("| products |", " | ".join(ALL), "|\n|---|" + "---:|" * len(ALL))
    for name, pattern, products, cpus in LOOPS:
        body = max(bodies, key=lambda body: len(re.findall(pattern, "\n".join(body))))
        n_products = products * len(re.findall(pattern, "\n".join(body)))
        cells = [f"{n_products / cycles(body, cpu, args.llvm_mca):.0f}" if cpu in cpus else "" for cpu in ALL]
        print("|", " | ".join([name, *cells]), "|")


if __name__ == "__main__":
    main()
