#!/usr/bin/env python3
"""The profile `scale` of docker-compose.yml without containers: `compose.py`. Needs docker-compose, Valkey or Redis, PostgreSQL, HAProxy, Maven and a JDK.

Checks the file with `docker-compose config`, then runs each service's command with its arguments and environment. Only the names of
hosts are replaced, because all run on loopback. LORANK_REDIS names the program of Valkey; without it, Redis takes its arguments.
"""

import json
import subprocess
import sys

import yaml

from balancers import ROOT, Haproxy
from harness import Lorank, Postgres, Redis, call, free_port, until

sys.path.insert(0, str(ROOT / "tests/engines"))
import cluster  # noqa: E402

PASSWORD = "open-sesame"
N_DOCUMENTS = 30


def services():
    """The services of the profile, as `docker-compose config` prints them."""
    command = ["docker-compose", "--profile", "scale", "config"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "POSTGRES_PASSWORD": PASSWORD})
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)
    return {name: one for name, one in found["services"].items() if "scale" in one.get("profiles", [])}


def replaced(text, hosts):
    for name, address in hosts.items():
        text = text.replace(name, address)
    return text


class Replica(Lorank):
    """The command of a service `lorank-N`."""

    def __init__(self, service, hosts):
        command, *flags = service["command"]
        assert command == "serve" and service["image"] == "lorank", service
        self.listen = next(flag for flag in flags if flag.startswith("--listen="))
        flags.remove(self.listen)
        environment = {name: replaced(value, hosts) for name, value in service["environment"].items() if value is not None}
        super().__init__(*[replaced(flag, hosts) for flag in flags], "--threads=1", environment=environment, port=free_port())


def the_services_know_each_other(found):
    """Names of hosts, ports and credentials are those of the other services."""
    assert set(found) == {"lorank-1", "lorank-2", "balancer", "valkey", "postgres", "opensearch"}, set(found)
    assert found["lorank-1"]["command"] == found["lorank-2"]["command"]
    for name in ["lorank-1", "lorank-2"]:
        one = found[name]
        assert set(one["depends_on"]) == {"postgres", "valkey", "opensearch"}, one["depends_on"]
        user, password = (found["postgres"]["environment"][f"POSTGRES_{key}"] for key in ["USER", "PASSWORD"])
        # The image names the database after the user.
        assert one["environment"]["LORANK_STORE"] == f"postgres://{user}:{password}@postgres/{user}", one["environment"]
        assert one["environment"]["LORANK_CACHE_URL"] == "redis://valkey:6379", one["environment"]
        assert "--elastic-url=http://opensearch:9200" in one["command"] and f"--allowed-host={name}" in one["command"], one["command"]
    balancer = found["balancer"]
    assert {balancer["environment"][f"LORANK_{n}"] for n in [1, 2]} == {"lorank-1:7788", "lorank-2:7788"}, balancer
    source, target, _ = balancer["volumes"][0].split(":")
    assert source == str(ROOT / "ops/haproxy") and balancer["command"] == ["haproxy", "-f", f"{target}/haproxy.cfg"], balancer
    port = balancer["environment"]["BALANCER_LISTEN"].removeprefix("*:")
    assert balancer["ports"] == [f"127.0.0.1:{port}:{port}/tcp"], balancer["ports"]


def the_commands_run_together(found):
    program, *settings = found["valkey"]["command"]
    assert program == "valkey-server", found["valkey"]
    with Redis(*settings) as valkey, Postgres() as postgres, cluster.Cluster("2.19.6", 1, heap="512m") as engine:
        user = found["postgres"]["environment"]["POSTGRES_USER"]
        postgres.query(f"create database {user}")
        engine.index("documents", [{"_id": f"d{n}", "text": f"Boil egg number {n} for {n % 12} minutes."} for n in range(N_DOCUMENTS)],
                     replicas=0)
        hosts = {"http://opensearch:9200": engine.urls[0], f"redis://valkey:6379": f"redis://127.0.0.1:{valkey.port}",
                 f"@postgres/": f"@127.0.0.1:{postgres.port}/"}
        assert valkey.cli("config", "get", "maxmemory-policy").split()[-1] == "allkeys-lru"
        with Replica(found["lorank-1"], hosts) as one, Replica(found["lorank-2"], hosts) as other, Haproxy([one, other]) as balancer:
            for server in [one, other]:
                assert server.listen == "--listen=0.0.0.0:7788"
                assert server.ask("/ready")[0] == 200, server.ask("/ready")
            status, answer = call(balancer.url + "/v1/search", {"query": "how long to boil an egg", "depth": 10})
            assert status == 200 and answer["reranked"] and len(answer["hits"]) == 10, answer
            scored_by_one_is_a_hit_at_the_other(one, other)
            arms = [{"name": "control", "model": "first-stage", "weight": 1}, {"name": "base", "model": "none", "weight": 1}]
            status, answer = call(balancer.url + "/v1/experiments", {"id": "shared", "traffic_share": 0.5, "arms": arms})
            assert status == 201, answer
            for server in [one, other]:
                until(lambda: server.ask("/v1/experiments/shared")[0] == 200, "both servers know the experiment", 10)


def scored_by_one_is_a_hit_at_the_other(one, other):
    search = {"query": "the best way to boil an egg", "depth": 10}
    status, first = one.ask("/v1/search", search)
    assert status == 200 and first["cache"] == {"hits": 0, "misses": 10}, first
    until(lambda: one.ask("/v1/stats")[1]["cache"]["shared"]["stored"] >= 10, "the scores are stored", 10)
    status, second = other.ask("/v1/search", search)
    assert status == 200 and second["cache"] == {"hits": 10, "misses": 0}, second
    scores = [[(hit["id"], hit["rerank_score"]) for hit in answer["hits"]] for answer in [first, second]]
    assert scores[0] == scores[1], json.dumps(scores)


def main():
    found = services()
    the_services_know_each_other(found)
    print("ok docker-compose reads the profile `scale`, and its services know each other")
    the_commands_run_together(found)
    print("ok the commands of the services run together; a pair scored by one server is a hit at the other")


if __name__ == "__main__":
    main()
