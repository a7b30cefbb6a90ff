#!/usr/bin/env bash
# Checks lorank on an NVIDIA GPU in at most nine minutes: each kernel and every fixture first, then speed beside Python, memory, and a
# profile.
#
#     benches/gpu_check.sh LORANK PYTHON [LOG]
#
# LORANK is the ordinary program (`cargo build --release`); PYTHON has torch, transformers and peft, and its environment's cublasLt and
# NVRTC of CUDA 12 are used if the system has none. Everything is printed, and written to LOG (gpu_check.log). Each part has a time
# limit, and a part that fails does not stop the others; the table at the end has what was expected beside each number. What travels to
# a machine with a GPU: the program, KERNELS, `benches`, `examples/train_peft.py` and `crates/lorank-testing/fixtures` without `smollm2`;
# all of it stripped and packed by xz has 50 MiB.
#
#     TRAIN=1 benches/gpu_check.sh LORANK PYTHON
#
# also trains, beside transformers + PEFT; for this LORANK is built with `--features cuda`, and other parts run on candle then.
#
#     DEVICE=cpu SHAPE=tiny TRAIN=1 benches/gpu_check.sh target/debug/lorank PYTHON
#
# runs on the CPU what a GPU would run, with a tiny model: scores and training. This has been run, and so have the kernels and the scores
# on the simulated GPU of `.ci/cuda`; nothing here has been run on a GPU yet.
#
# DEVICE   cuda:0 (the default), cuda:N or cpu
# SHAPE    3b (the default): the shape of Llama-3.2-3B with random weights; tiny
# KERNELS  the test program of the kernels, which `cargo test -p lorank-cuda --test gpu --no-run` names
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
# Where the program looks for the libraries of PyPI's packages, and the kernels' tests, too.
VIRTUAL_ENV=$("$python" -c 'import sys; print(sys.prefix)')
LORANK_CUDA_FOLDERS=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
export VIRTUAL_ENV LORANK_CUDA_FOLDERS

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
    if [ "$device" != cpu ] && [ -n "${KERNELS:-}" ]; then
        part 60 "each kernel, beside the same operation on the host" "$KERNELS" --nocapture
    fi
    check 100 "scores of tiny models, beside those recorded from transformers" scores
    if [ "${TRAIN:-0}" = 1 ]; then
        check 70 "training of tiny models, beside the kernels on the CPU" small
        check 260 "training, beside transformers + PEFT" train
    elif [ "$device" != cpu ]; then
        "$python" benches/gpu_check.py pairs --work "$work"
        for pad in longest max; do
            part 110 "scoring, beside transformers + PEFT that pads to the $pad" "$python" benches/gpu.py --lorank "$lorank" --pairs \
                "$work/pairs.jsonl" --tokenizer crates/lorank-testing/fixtures/tiny-llama/base --rounds 1 --pad "$pad"
        done
        part 20 "MiniLM: expected at most 6 ms" "$lorank" bench --device "$device" --precision bf16
        check 60 "memory" memory
        check 30 "profile" profile
    fi
    "$python" benches/gpu_check.py table --work "$work"
} 2>&1 | tee "$log"
