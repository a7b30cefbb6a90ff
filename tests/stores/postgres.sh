#!/usr/bin/env bash
# Runs the unit tests of the experiment store over PostgreSQL instead of SQLite: `tests/stores/postgres.sh`.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${LORANK_POSTGRES_BIN:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)}
home=$(mktemp -d)
# PostgreSQL does not run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$home"
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
"${as[@]}" "$bin/initdb" -D "$home/data" -U lorank -A trust -E UTF8 --locale=C --no-sync >/dev/null
port=$(python3 -c 'import socket; one = socket.socket(); one.bind(("127.0.0.1", 0)); print(one.getsockname()[1])')
"${as[@]}" "$bin/postgres" -D "$home/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$home" \
    -c fsync=off -c max_connections=400 >"$home/log" 2>&1 &
server=$!
trap 'kill -INT $server; wait $server || true; rm -rf "$home"' EXIT
for _ in $(seq 200); do
    "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && break
    sleep 0.1
done
# The program of the unit tests that a build of the whole workspace makes: one of this package alone would compile its dependencies again,
# with other features.
tests=$(cargo test --locked --workspace --lib --no-run --message-format=json | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "lorank_experiment_store":
        print(message["executable"])
')
export LORANK_TEST_POSTGRES=postgres://lorank@127.0.0.1:$port/postgres
(cd crates/lorank-experiment-store && "$tests")
