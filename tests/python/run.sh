#!/usr/bin/env bash
# The Python package: builds the wheel, installs it into an empty environment, and runs its tests there: `tests/python/run.sh`, or
# `tests/python/run.sh ARGUMENTS` with arguments of pytest.
#
# LORANK_BIN names another program than target/debug/lorank, whose scores the package's are compared with; LORANK_WHEEL a wheel to test
# instead of building one (in the dev profile, whose dependencies are optimized, on what the other tests have built); PYTHON another
# interpreter than python3, with venv. What is installed stays below target/. Without arguments, the integrations with other packages are
# tested, too, in an environment of their own: tests/python/integrations.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
kept=$PWD/target/python
export LORANK_BIN=${LORANK_BIN:-$PWD/target/debug/lorank}
pip() { "$kept/$1/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "${@:2}"; }

wheel=${LORANK_WHEEL:-}
if [ -z "$wheel" ]; then
    "$python" -m venv "$kept/maturin"
    pip maturin maturin==1.16.0
    rm -rf "$kept/wheels"
    "$kept/maturin/bin/maturin" build --quiet --locked --manifest-path crates/lorank-python/Cargo.toml --out "$kept/wheels"
    wheel=$(echo "$kept"/wheels/*.whl)
fi

# What a user gets: the wheel, with numpy alone.
"$python" -m venv --clear "$kept/venv"
pip venv "$wheel"
"$kept/venv/bin/python" tests/python/installed.py
# The tests' own tools.
pip venv --requirement tests/python/requirements.txt
bin=$kept/venv/bin
"$bin/ruff" --quiet check crates/lorank-python/python tests/python
"$bin/ruff" --quiet check --config crates/lorank-python/pyproject.toml --ignore D1 examples/python
"$bin/ruff" --quiet format --check --config crates/lorank-python/pyproject.toml crates/lorank-python/python tests/python examples/python
"$bin/mypy" --strict --python-executable "$bin/python" --cache-dir "$kept/mypy" --exclude /lorank/integrations/ -p lorank
"$bin/mypy" --strict --python-executable "$bin/python" --cache-dir "$kept/mypy" tests/python/typed.py
MYPY_CACHE_DIR=$kept/mypy "$bin/stubtest" --concise lorank._native
wheel=$(realpath "$wheel")
cd tests/python
"$bin/python" -m pytest -q -p no:cacheprovider --ignore integrations "$@"
[ $# -gt 0 ] || LORANK_WHEEL=$wheel ./integrations.sh
