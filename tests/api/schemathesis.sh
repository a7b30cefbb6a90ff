#!/usr/bin/env bash
# Holds a running server against the description that it gives of itself: no crash, no status, type or shape that is not described.
#
#     pip install -r tests/api/requirements.txt
#     LORANK_BIN=target/debug/lorank tests/api/schemathesis.sh
#
# N_EXAMPLES is how many requests are made up for each operation in each phase; SEED makes them the same every time.
set -euo pipefail
cd "$(dirname "$0")/../.."
lorank=$(realpath "${LORANK_BIN:-target/debug/lorank}")
examples=${N_EXAMPLES:-15}
seed=${SEED:-1}

folder=$(mktemp -d)
server=
cleanup() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap cleanup EXIT
export LORANK_DATA=$folder/data HF_HUB_OFFLINE=1

printf '%s\n' '{"id": 1, "title": "Light", "text": "A light bulb burns.", "year": 1879}' \
    '{"id": 2, "text": "A tulip bulb grows in light soil.", "year": 1637}' |
    "$lorank" index --index "$folder/index" - >/dev/null
"$lorank" adapters add minilm-qa-copy minilm-qa >/dev/null 2>&1 || true
"$lorank" serve --index "$folder/index" --listen 127.0.0.1:0 >"$folder/address" 2>"$folder/log" &
server=$!
for _ in $(seq 300); do
    grep -q listening "$folder/address" && break
    kill -0 "$server" || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
url=$(sed -n 's/^listening on //p' "$folder/address" | head -n 1)

python3 - "$url" <<'PY'
import json, sys, urllib.request
from openapi_spec_validator import OpenAPIV31SpecValidator
with urllib.request.urlopen(sys.argv[1] + "/openapi.json") as answer:
    api = json.load(answer)
OpenAPIV31SpecValidator(api).validate()
n = sum(len(item) for item in api["paths"].values())
print(f"the description is valid OpenAPI {api['openapi']}, with {n} operations")
PY

cd "$folder"
# One worker: hypothesis changes the recursion limit of the whole process, and Python 3.11 then ends the parsing of another thread by a
# SystemError.
SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONPATH=$OLDPWD/tests/api schemathesis run "$url/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --phases examples,coverage,fuzzing --max-examples "$examples" --seed "$seed" --no-shrink \
    --request-timeout 30 --warnings off --workers 1 || {
    status=$?
    echo "the server's log:" >&2
    tail -n 40 "$folder/log" >&2
    exit "$status"
}
