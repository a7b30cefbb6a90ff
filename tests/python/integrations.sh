#!/usr/bin/env bash
# The integrations with LangChain, LlamaIndex, Haystack, LanceDB and rerankers, the examples and the notebook, in an environment with
# these packages: `LORANK_WHEEL=WHEEL tests/python/integrations.sh`, with arguments of pytest if need be. `tests/python/run.sh` builds
# the wheel and calls this. LORANK_BIN and PYTHON are as there.
set -euo pipefail
cd "$(dirname "$0")/../.."
kept=$PWD/target/python
venv=$kept/integrations
wheel=$(realpath "$LORANK_WHEEL")
export LORANK_BIN=${LORANK_BIN:-$PWD/target/debug/lorank}

"${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check)
"${pip[@]}" --requirement tests/python/requirements-integrations.txt
"${pip[@]}" --no-deps --force-reinstall "$wheel"
"$venv/bin/python" -m mypy --config-file crates/lorank-python/pyproject.toml --cache-dir "$kept/mypy-integrations" -p lorank.integrations
# No telemetry. A backend in MPLBACKEND would take the place of the notebook's own.
export HAYSTACK_TELEMETRY_ENABLED=False LANGSMITH_TRACING=false
unset MPLBACKEND
cd tests/python
"$venv/bin/python" -m pytest -q -p no:cacheprovider --confcutdir . "${@:-integrations}"
