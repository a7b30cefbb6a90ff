#!/usr/bin/env bash
# Trains adapters of tiny models by `lorank train`, and compares the scores of lorank and of PEFT in Python with them: `tests/train/run.sh`.
# LORANK_BIN names another program than target/debug/lorank. LORANK_PEFT_PYTHON is a Python with tests/train/requirements.txt;
# otherwise they are installed below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
lorank=${LORANK_BIN:-target/debug/lorank}
python=${LORANK_PEFT_PYTHON:-target/peft/bin/python}
if [ -z "${LORANK_PEFT_PYTHON:-}" ]; then
    python3 -m venv target/peft
    target/peft/bin/pip install --quiet --no-compile --disable-pip-version-check --requirement tests/train/requirements.txt
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fixtures=crates/lorank-testing/fixtures
groups() {
    for n in 1 2 3 4; do
        printf '{"query": "how do you do %s", "documents": [{"text": "Like this: %s.", "label": 1}, {"text": "Hens lay eggs.", "label": 0}]}\n' \
            "$n" "$n"
    done
}
groups >"$work/groups.jsonl"
for base in tiny-bert tiny-roberta/roberta tiny-encoders/distilbert tiny-encoders/electra tiny-modernbert/cls tiny-llama; do
    rm -rf "$work/mine"
    "$lorank" --quiet train --groups "$work/groups.jsonl" --base "$fixtures/$base/base" --output "$work/mine" \
        --learning-rate 1e-2 --epochs 3 --rank 4 >/dev/null
    "$lorank" --quiet score --pairs tests/docs/pairs.jsonl --base "$fixtures/$base/base" --adapter "mine=$work/mine" >"$work/scores.jsonl"
    "$python" tests/train/check.py "$fixtures/$base/base" "$work/mine" tests/docs/pairs.jsonl "$work/scores.jsonl"
done
# The same groups by the example that trains with PEFT; lorank reads its adapter.
"$python" examples/train_peft.py --groups "$work/groups.jsonl" --base "$fixtures/tiny-bert/base" --output "$work/by-peft" \
    --targets query,value --rank 4
"$lorank" --quiet score --pairs tests/docs/pairs.jsonl --base "$fixtures/tiny-bert/base" --adapter "by-peft=$work/by-peft" >"$work/scores.jsonl"
"$python" tests/train/check.py "$fixtures/tiny-bert/base" "$work/by-peft" tests/docs/pairs.jsonl "$work/scores.jsonl"
