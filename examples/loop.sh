#!/usr/bin/env bash
# From judgments to a promoted adapter, and then from clicks alone:
#
#     cargo build --release && examples/loop.sh FOLDER
#
# 1. An adapter is trained on two thirds of the built-in corpus's questions and evaluated on the rest. It is added to the registry and
#    compared with the base model in an experiment, whose users are simulated and search the rest of the questions. If the experiment
#    recommends the adapter, the alias `default` is pointed to it.
# 2. In another data folder, users search two thirds of the questions, and each answer is interleaved from BM25's ranking and the
#    base model's. An adapter is trained on their clicks, without judgments; then as before.
#
# FOLDER keeps the index, the registries, the logs and the adapters. Variables: LORANK, the program (target/release/lorank);
# QUESTIONS, how many questions are used (all); USERS, the simulated users of an experiment (3000); TRAIN, options of `lorank train`
# in place of those below. With all questions it takes hours on two cores, with QUESTIONS=300 USERS=1000 minutes.
# The users are simulated by Python's standard library; lorank needs no Python.
set -euo pipefail
folder=${1:?name a folder: examples/loop.sh FOLDER}
repository=$(cd "$(dirname "$0")/.." && pwd)
lorank=$(realpath "${LORANK:-$repository/target/release/lorank}")
corpus=$repository/crates/lorank-starter/data/corpus
users=${USERS:-3000}
read -ra options <<<"${TRAIN:---loss listmle --negatives 4 --epochs 1}"
mkdir -p "$folder"
cd "$folder"

step() { printf '\n== %s\n\n' "$*"; }

# experiment ID CONTROL ARM QRELS: users search the questions of QRELS, and clicks tell the arms apart. The report stays in ID.json.
experiment() {
    local url
    "$lorank" experiments create "$1" --arm "$2=$2" --arm "$3=$3" --method interleave --start
    : >server.log
    "$lorank" --quiet serve --index index --listen 127.0.0.1:0 >>server.log 2>&1 &
    server=$!
    trap 'kill "$server"' EXIT
    until url=$(grep -o 'http://[0-9.:]*' server.log); do
        kill -0 "$server"
        sleep 0.1
    done
    python3 "$repository/examples/units.py" --server "${url%%$'\n'*}" --units "$users" --qrels "$4" --questions 100000
    "$lorank" experiments report "$1"
    "$lorank" experiments report "$1" --json >"$1.json"
    "$lorank" experiments stop "$1"
    kill "$server"
    wait "$server" || true
    trap - EXIT
}

# prove ID ADAPTER: evaluates an adapter on the rest of the questions, and promotes it if an experiment recommends it.
prove() {
    step "Evaluate \`$2\` on the rest of the questions"
    "$lorank" eval --dataset "$corpus" --index index --qrels rest.tsv --adapter none --adapter "$2=$2" --baseline none --depth 20
    step "Add it to the registry, and compare it on one question"
    "$lorank" adapters add "$2" "$2" --replace
    "$lorank" compare --index index "is a tomato a fruit or a vegetable" --adapter none --adapter "$2" --top-k 3
    step "An experiment between the base model and \`$2\`"
    experiment "$1" none "$2" rest.tsv
    if python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["verdict"]["do"] != "ship")' "$1.json"; then
        step "Promote \`$2\`"
        "$lorank" adapters alias default "$2"
    else
        step "\`$2\` is not promoted"
    fi
}

step "Index the corpus, and divide its questions: two thirds, and the rest"
"$lorank" index --index index "$corpus/corpus.jsonl"
awk -v n="${QUESTIONS:-0}" 'NR > 1 && (n == 0 || NR <= n + 1) { print > (NR % 3 == 1 ? "rest.tsv" : "two-thirds.tsv") }' "$corpus/qrels/test.tsv"
wc -l two-thirds.tsv rest.tsv

export LORANK_DATA=$PWD/judgments
step "Train \`judged\` on the judgments of two thirds"
"$lorank" train --dataset "$corpus" --index index --qrels two-thirds.tsv --output judged --overwrite "${options[@]}"
prove judged-or-base judged

export LORANK_DATA=$PWD/clicks
step "Users search two thirds of the questions"
experiment before-training first-stage none two-thirds.tsv
step "Train \`clicked\` on their clicks"
"$lorank" train --clicks --index index --dry-run
"$lorank" train --clicks --index index --output clicked --overwrite --epochs 1
prove clicked-or-base clicked
