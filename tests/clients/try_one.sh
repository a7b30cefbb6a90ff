#!/usr/bin/env bash
# Starts lorank and tries a client's recorded call: `tests/clients/try_one.sh call.json [option of lorank serve ...]`.
# tests/clients/try_one.py says what a call is. LORANK_BIN names another program than target/debug/lorank.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
lorank=${LORANK_BIN:-$here/../../target/debug/lorank}
call=$1
shift
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

export LORANK_DATA=$work/data
"$lorank" --quiet serve --listen 127.0.0.1:0 --adapter minilm-qa --adapter minilm-science --model-alias '*' "$@" >"$work/out" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's/^listening on //p' "$work/out" | head -n 1)
    [ -z "$url" ] || break
    kill -0 "$server" || { echo 'the server did not start' >&2; exit 1; }
    sleep 0.1
done
python3 "$here/try_one.py" "$url" "$call"
