#!/usr/bin/env bash
# Attacks a built server and prints how it fares: the p99 of a small search beside each attack, and memory before, during and after.
#
#     tests/hostile/run.sh                    # minutes; it needs Python with venv, a C compiler, and h2, which it installs below target/
#     tests/hostile/run.sh long_runs          # what takes long: 200,000 requests, ten million events
#     tests/hostile/run.sh test_disk          # one file
#
# LORANK_BIN names the program (target/debug/lorank). LORANK_STRICT=1 asks for bounds in time that only an optimized build on an
# idle machine keeps.
set -euo pipefail
cd "$(dirname "$0")"
if [ $# = 0 ]; then
    set -- $(ls test_*.py | sed 's/\.py$//')
fi
export PYTHONDONTWRITEBYTECODE=1
venv=../../target/hostile
if ! "$venv/bin/python" -c "import h2" 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --requirement requirements.txt
fi
status=0
for module in "$@"; do
    echo "== $module"
    "$venv/bin/python" -W ignore::ResourceWarning -m unittest -v "$module" || status=1
done
exit "$status"
