#!/usr/bin/env bash
# Holds the values of `lorank eval` against trec_eval's own on the runs that it writes: `tests/eval/run.sh`. LORANK_BIN names another
# program than target/debug/lorank. Needs python3 with venv; pytrec-eval is installed below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
lorank=${LORANK_BIN:-target/debug/lorank}
venv=target/eval
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --requirement tests/eval/requirements.txt

collection=crates/lorank-starter/data/corpus
measures=()
for measure in ndcg ndcg_cut_10 map map_cut_5 recip_rank recall_5 P_10 success_1 Rprec; do
    measures+=(--measure "$measure")
done
for ties in trec-eval input; do
    "$lorank" --quiet eval --dataset "$collection" --sample 25 --depth 10 --adapter none --adapter minilm-qa --ties "$ties" \
        --scores "$work/scores" --runs "$work/$ties" --json "${measures[@]}" >"$work/$ties.json"
done
"$venv/bin/python" tests/eval/check.py "$collection/qrels/test.tsv" "$work/trec-eval.json" "$work/trec-eval"
