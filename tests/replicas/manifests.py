#!/usr/bin/env python3
"""ops/kubernetes against the schemas of Kubernetes, and against itself: `manifests.py`. Needs kubernetes-validate and PyYAML."""

import http.client
import json
import os
import re
import subprocess
import sys

import kubernetes_validate
import yaml

from balancers import ROOT
from harness import LORANK, Lorank, free_port

FOLDER = ROOT / "ops/kubernetes"
# The oldest and the newest version that the package has.
VERSIONS = ["1.25", kubernetes_validate.latest_version()]


def resources():
    """The resources by kind."""
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for resource in yaml.safe_load_all(path.read_text()):
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(resource, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    sys.exit(f"{path}: {resource['kind']} is invalid in Kubernetes {version}: {error.message}")
            assert resource["kind"] not in found, resource["kind"]
            found[resource["kind"]] = resource
    return found


def container(found):
    return found["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def environment(found, references):
    """The container's environment, with values for its references to the ConfigMap and the Secret."""
    values = {}
    for variable in container(found)["env"]:
        if "value" in variable:
            values[variable["name"]] = variable["value"]
        else:
            (kind, reference), = variable["valueFrom"].items()
            values[variable["name"]] = references[kind, reference["name"], reference["key"]]
    return values


def millis(found, flag):
    return int(next(re.search(r"\d+$", one)[0] for one in container(found)["args"] if one.startswith(f"--{flag}=")))


def they_fit_together(found):
    pod = found["Deployment"]["spec"]["template"]
    labels, own = pod["metadata"]["labels"], container(found)
    selectors = [found["Deployment"]["spec"]["selector"]["matchLabels"], found["Service"]["spec"]["selector"],
                 found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
                 pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]]
    assert all(selector.items() <= labels.items() for selector in selectors), (selectors, labels)
    names = {port["name"]: port["containerPort"] for port in own["ports"]}
    assert f"--listen=0.0.0.0:{names['http']}" in own["args"] and pod["metadata"]["annotations"]["prometheus.io/port"] == str(names["http"])
    assert found["Service"]["spec"]["ports"][0]["targetPort"] in names
    assert {mount["name"] for mount in own["volumeMounts"]} == {volume["name"] for volume in pod["spec"]["volumes"]}
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])
    # Two servers at least: with `maxUnavailable: 1`, one of them can be evicted while the other one answers.
    assert found["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    period = pod["spec"]["terminationGracePeriodSeconds"] * 1_000
    assert period > millis(found, "drain-millis") + millis(found, "shutdown-millis"), "the kubelet would kill a server that still answers"
    ready = own["readinessProbe"]
    assert millis(found, "drain-millis") > 2 * 1_000 * ready["periodSeconds"] * ready["failureThreshold"], "a server is out before it ends"
    rule = yaml.safe_load((FOLDER / "values/prometheus-adapter.yaml").read_text())["rules"]["custom"][0]
    assert rule["seriesQuery"].startswith(metric(found) + "{"), rule
    assert "password" not in json.dumps(found).lower(), "passwords come from the Secret"


def metric(found):
    """The metric by which the number of servers follows the load."""
    return found["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]


def the_program_takes_the_settings(found):
    """Each flag and each variable, as `lorank config show` reads them."""
    references = {
        ("configMapKeyRef", "lorank", "elastic-url"): "http://opensearch.example:9200",
        ("configMapKeyRef", "lorank", "elastic-index"): "articles",
        ("secretKeyRef", "lorank-stores", "store"): "postgres://lorank@db.example/lorank",
        ("secretKeyRef", "lorank-stores", "cache"): "rediss://cache.example",
    }
    command, *flags = container(found)["args"]
    assert command == "serve", command
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LORANK_")}
    done = subprocess.run([LORANK, "config", "show", *flags], capture_output=True, text=True, env=clean | environment(found, references))
    assert done.returncode == 0, done.stderr
    for value in ["http://opensearch.example:9200", "articles", "db.example", "cache.example", "/data/lorank"]:
        assert value in done.stdout, (value, done.stdout)


def a_server_answers_the_probes_and_has_the_metric(found):
    """A server with Kubernetes' address in `Host`, which is that of the pod and not one of loopback."""
    own = container(found)
    paths = {own[probe]["httpGet"]["path"] for probe in ["startupProbe", "readinessProbe", "livenessProbe"]}
    flags = [flag for flag in own["args"] if flag.startswith(("--no-keys", "--allowed-host", "--adapter", "--precision", "--drain", "--shutdown"))]
    with Lorank(*flags, "--threads=1", address="0.0.0.0", port=free_port()) as server:
        for path in paths:
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", path, headers={"host": "10.1.2.3:7788"})
            assert connection.getresponse().status == 200, path
            connection.close()
        status, metrics = server.ask("/metrics")
        assert status == 200 and f"\n{metric(found)} 0" in metrics, metric(found)


def main():
    found = resources()
    expected = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    assert set(found) == expected, set(found)
    print(f"ok {len(found)} manifests are valid in Kubernetes {' and '.join(VERSIONS)}")
    they_fit_together(found)
    print("ok the manifests fit together")
    the_program_takes_the_settings(found)
    print("ok the program takes the settings of the deployment")
    a_server_answers_the_probes_and_has_the_metric(found)
    print("ok a server answers the probes, and has the metric of autoscaling")


if __name__ == "__main__":
    main()
