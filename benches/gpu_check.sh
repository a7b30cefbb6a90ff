#!/usr/bin/env bash
# Checks lorank on an NVIDIA GPU in at most nine minutes: correctness first, then training and scoring beside Python.
#
#     benches/gpu_check.sh LORANK PYTHON [LOG]
#
# LORANK is a program built by `cargo build --release --features cuda`; PYTHON has torch, transformers and peft. Everything is
# printed, and written to LOG (gpu_check.log). Each part has a time limit, and a part that fails does not stop the others; the table
# at the end has what was expected beside each number.
#
#     DEVICE=cpu SHAPE=tiny benches/gpu_check.sh target/debug/lorank PYTHON
#
# runs on the CPU what a GPU would run, with a tiny model: all parts except the last one, benches/gpu.py, and without GPU memory.
# This has been run, and nothing here has been run on a GPU yet.
#
# DEVICE  cuda:0 (the default), cuda:N or cpu
# SHAPE   3b (the default): the shape of Llama-3.2-3B with random weights; tiny
set -uo pipefail
lorank=$(realpath "$1")
python=$2
log=$(realpath "${3:-gpu_check.log}")
device=${DEVICE:-cuda:0}
shape=${SHAPE:-3b}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=true

part() {
    local seconds=$1 name=$2
    shift 2
    printf '\n== %s (at most %s s)\n' "$name" "$seconds"
    local started=$SECONDS
    timeout --kill-after=5 "$seconds" "$@"
    local status=$?
    [ "$status" -eq 0 ] || echo "FAILED: $name, status $status (124: out of time)"
    echo "-- $name took $((SECONDS - started)) s"
}
check() {
    local seconds=$1 name=$2 command=$3
    part "$seconds" "$name" "$python" benches/gpu_check.py "$command" --lorank "$lorank" --device "$device" --work "$work" --shape "$shape"
}
{
    "$lorank" --version
    [ "$device" = cpu ] || nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
    "$python" -c 'import torch, transformers, peft; print("torch", torch.__version__, "transformers", transformers.__version__, "peft", peft.__version__)'
    check 60 "scores of tiny models, beside those recorded from transformers" scores
    check 70 "training of tiny models, beside the kernels on the CPU" small
    check 260 "training, beside transformers + PEFT" train
    rm -rf "$work"/base-*
    if [ "$device" != cpu ]; then
        "$python" benches/gpu_check.py pairs --work "$work"
        part 145 "scoring, beside transformers + PEFT" "$python" benches/gpu.py --lorank "$lorank" --pairs "$work/pairs.jsonl" \
            --tokenizer crates/lorank-testing/fixtures/tiny-llama/base --rounds 1
    fi
    "$python" benches/gpu_check.py table --work "$work"
} 2>&1 | tee "$log"
