"""docker-compose.yml, the Dockerfile and the dashboard are well formed and name files that exist."""

import json
import pathlib

import yaml

services = yaml.safe_load(open("docker-compose.yml"))["services"]
always = {name for name, service in services.items() if "profiles" not in service}
assert always == {"lorank", "prometheus", "grafana"} and services["lorank"]["build"] == ".", services.keys()
for service in services.values():
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert not source.startswith(".") or pathlib.Path(source).exists(), source
gpu = services["lorank-gpu"]
assert gpu["deploy"]["resources"]["reservations"]["devices"] == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}], gpu
dockerfile = open("Dockerfile").read()
assert f"AS {gpu['build']['target']}\n" in dockerfile and dockerfile.rstrip().endswith("FROM run"), "a build without a target is small"
assert "USER lorank" in dockerfile and "HEALTHCHECK" in dockerfile
json.load(open("ops/grafana/dashboards/lorank.json"))
