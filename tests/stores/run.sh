#!/usr/bin/env bash
# Stores that several lorank servers share, with real ones on loopback: `tests/stores/run.sh`. LORANK_BIN names another program than
# target/debug/lorank. Needs redis-server, redis-cli, PostgreSQL (LORANK_POSTGRES_BIN names the folder of its programs), openssl,
# and Python with venv for moto, a server of S3, which is installed below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
# The stores by themselves, then servers that share them.
cargo test --locked --workspace --test redis --test postgres -- --ignored
tests/stores/postgres.sh
tests/stores/scores.py
tests/stores/experiments.py
venv=target/stores
if ! "$venv/bin/python" -c "import moto.server" 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --requirement tests/stores/requirements.txt
fi
"$venv/bin/python" tests/stores/registry.py
