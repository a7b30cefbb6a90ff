#!/usr/bin/env python3
"""A registry of adapters in S3 that lorank servers share: `registry.py`, with the Python that has moto. Prints each check; a failed
one ends the run. LORANK_STRICT=1 asks for changes within two seconds, which only a machine without other work keeps."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import boto3
from harness import LORANK, ROOT, Lorank, Process, call, free_port, until

ADAPTERS = ROOT / "crates/lorank-starter/data/adapters"
BUCKET, PREFIX = "models", "production"
SECONDS = 2 if os.environ.get("LORANK_STRICT") else 8
TEXTS = ["Boil the egg for seven minutes.", "Lamps need oil.", "An egg is done after some minutes in boiling water."]
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}]}


class S3(Process):
    """moto, with a bucket and a user whose signatures it checks."""

    def __init__(self):
        super().__init__("s3")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.spawn([sys.executable, ROOT / "tests/stores/s3_server.py", self.port], env=environment)
        until(lambda: call(f"{self.url}/moto-api/data.json")[0] == 200, "moto starts")
        iam = self.client("iam", "anyone", "anything")
        iam.create_user(UserName="lorank")
        iam.put_user_policy(UserName="lorank", PolicyName="all", PolicyDocument=json.dumps(POLICY))
        key = iam.create_access_key(UserName="lorank")["AccessKey"]
        self.id, self.secret = key["AccessKeyId"], key["SecretAccessKey"]
        # From now on, requests must be signed by the user.
        reset = urllib.request.Request(f"{self.url}/moto-api/reset-auth", b"0", {"content-type": "text/plain"})
        urllib.request.urlopen(reset).read()
        self.s3 = self.client("s3", self.id, self.secret)
        self.s3.create_bucket(Bucket=BUCKET)

    def client(self, service, key, secret):
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret)

    def keys(self):
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def get(self, key):
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key, body):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)


class Gate:
    """The address by which servers reach S3, which can be closed."""

    def __init__(self, port):
        self.to, self.port, self.listener, self.open_ones = port, free_port(), None, []

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def close(self):
        """Connections break, and further ones are refused."""
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for one in self.open_ones:
            one.close()
        self.open_ones.clear()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.open_ones += [client, server]
            for pair in [(client, server), (server, client)]:
                threading.Thread(target=self.copy, args=pair, daemon=True).start()

    @staticmethod
    def copy(source, target):
        try:
            while part := source.recv(1 << 16):
                target.sendall(part)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            target.close()


class Setting:
    """What servers and commands need to use the registry."""

    def __init__(self, s3, gate, folder):
        self.s3, self.gate, self.folder = s3, gate, folder
        self.environment = {
            "AWS_ACCESS_KEY_ID": s3.id,
            "AWS_SECRET_ACCESS_KEY": s3.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": f"http://127.0.0.1:{gate.port}",
            "AWS_ALLOW_HTTP": "true",
            "LORANK_REGISTRY": f"s3://{BUCKET}/{PREFIX}",
        }

    def server(self, **options):
        # In one precision, the same weights have the same scores, wherever they come from.
        return Lorank("--adapter-source", str(ADAPTERS), "--precision", "int8", environment=self.environment, **options)

    def command(self, *arguments, status=0, **environment):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LORANK_"))}
        command = [LORANK, "adapters", *map(str, arguments), "--data", str(self.folder / "command")]
        done = subprocess.run(command, capture_output=True, text=True, env={**kept, **self.environment, **environment})
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        assert self.s3.secret not in done.stdout + done.stderr, done.stderr
        return done.stdout + done.stderr


def scores(lorank, model):
    """The scores of a few texts, or None where the server does not know the model."""
    status, answer = lorank.ask("/v2/rerank", {"model": model, "query": "how long to boil an egg", "documents": TEXTS})
    if status == 404:
        return None
    assert status == 200, (status, answer)
    return {one["index"]: one["relevance_score"] for one in answer["results"]}


def soon(is_true, what, began):
    until(is_true, what, SECONDS + began - time.monotonic())
    return f"{time.monotonic() - began:.1f} s"


def store_of(lorank):
    status, answer = lorank.ask("/v1/adapters")
    assert status == 200, answer
    return answer["registry"]


def metric(lorank, name):
    status, text = lorank.ask("/metrics")
    assert status == 200, text
    return float(re.search(rf"^lorank_{name} (\S+)$", text, re.M)[1])


def what_one_server_adds_the_other_scores_with(setting, one, other):
    bare = scores(one, "default")
    began = time.monotonic()
    status, added = one.ask("/v1/adapters/qa", {"source": str(ADAPTERS / "minilm-qa")}, "PUT")
    assert status == 201, added
    expected = scores(one, "qa")
    took = soon(lambda: scores(other, "qa") == expected, "the other server scores with it", began)
    assert expected == scores(one, "minilm-qa") != bare, expected
    objects = setting.s3.keys()
    # The same files under another id are not uploaded again.
    setting.command("add", "qa-again", ADAPTERS / "minilm-qa", "--unmeasured")
    assert setting.s3.keys() == objects, objects
    print(f"ok what one server adds, the other scores with, after {took}")
    return bare, expected


def a_promotion_by_a_command_reaches_both(setting, one, other, bare, qa):
    assert scores(one, "default") == scores(other, "default") == bare
    setting.command("alias", "default", "qa", "--unchecked")
    began = time.monotonic()
    took = soon(lambda: all(scores(lorank, "default") == qa for lorank in [one, other]), "both answer with it", began)
    print(f"ok a promotion by a command reaches both servers after {took}")


def of_changes_at_once_none_is_lost(setting, one, other):
    """Promotions by commands and by both servers."""
    names = [f"by-command-{n}" for n in range(4)] + [f"by-server-{n}" for n in range(8)]

    def change(name):
        if name.startswith("by-command"):
            return setting.command("alias", name, "qa", "--unchecked")
        lorank = [one, other][int(name[-1]) % 2]
        status, answer = lorank.ask(f"/v1/aliases/{name}", {"adapter": "qa"}, "PUT")
        assert status == 200, answer

    failures = []
    def guarded(name):
        try:
            change(name)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(name,)) for name in names]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures, failures
    state = json.loads(setting.s3.get(f"{PREFIX}/registry.json"))
    assert set(names) <= set(state["aliases"]), state["aliases"]
    began = time.monotonic()
    has_all = lambda lorank: set(names) <= set(lorank.ask("/v1/aliases")[1]["aliases"])
    soon(lambda: has_all(one) and has_all(other), "both have all", began)
    print(f"ok of {len(names)} changes at once, none is lost")


def a_broken_adapter_never_becomes_an_answer(setting, one, other, qa):
    """An object is spoiled while the servers stand still, so that no server has it before."""
    s3 = setting.s3
    for spoil, part in [
        (lambda key: s3.put(key, s3.get(key)[:-1] + b"?"), "was changed"),
        (lambda key: s3.s3.delete_object(Bucket=BUCKET, Key=key), "is missing"),
    ]:
        # Other files than those of the last round, which the servers still have.
        source = setting.folder / part
        shutil.copytree(ADAPTERS / "minilm-science", source)
        with open(source / "adapter_config.json", "a") as config:
            config.write(" " * len(part))
        for lorank in [one, other]:
            lorank.send(signal.SIGSTOP)
        setting.command("add", "science", source, "--unmeasured")
        setting.command("alias", "default", "science", "--unchecked")
        adapters = json.loads(s3.get(f"{PREFIX}/registry.json"))["adapters"]
        content = next(adapter["content"] for adapter in adapters if adapter["id"] == "science")
        weights = f"{PREFIX}/adapters/{content}/adapter_model.safetensors"
        spoil(weights)
        for lorank in [one, other]:
            lorank.send(signal.SIGCONT)
        for lorank in [one, other]:
            seen = lambda: [adapter for adapter in store_of(lorank)["unavailable"] if "error" in adapter]
            (problem,) = until(seen, "the problem is shown", 20)
            assert problem["id"] == "science" and weights in problem["error"] and part in problem["error"], problem
            assert "cannot be served" in lorank.messages() and part in lorank.messages(), lorank.messages()
            assert metric(lorank, "registry_unavailable_adapters") == 1 and metric(lorank, "registry_readable") == 1
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for lorank in [one, other]:
                assert scores(lorank, "default") == qa and scores(lorank, "science") is None
        found = setting.command("verify", status=1)
        assert weights in found and part in found, found
        # Adding it again repairs it.
        setting.command("add", "science", source, "--unmeasured")
        began = time.monotonic()
        science = scores(one, "minilm-science")
        took = soon(lambda: all(scores(lorank, "default") == science for lorank in [one, other]), "both serve it", began)
        setting.command("alias", "default", "qa", "--unchecked")
        setting.command("remove", "science")
        soon(lambda: all(scores(lorank, "default") == qa for lorank in [one, other]), "back again", time.monotonic())
        print(f"ok a broken adapter ({part}) never becomes an answer; repaired, it does after {took}")


def while_s3_is_gone_servers_go_on(setting, one, other, qa, name, down, up):
    down()
    try:
        until(lambda: metric(one, "registry_readable") == 0 and metric(other, "registry_readable") == 0, f"{name}: the metric says so", 20)
        for lorank in [one, other]:
            assert scores(lorank, "default") == qa and "could not read the registry" in store_of(lorank)["error"]
        status, answer = one.ask("/v1/aliases/canary", {"adapter": "qa"}, "PUT")
        assert status == 503 and f"s3://{BUCKET}/{PREFIX}" in json.dumps(answer), (status, answer)
        # A server with a copy starts, and one without does not.
        copy = setting.folder / f"copy-{name}"
        shutil.copytree(one.data, copy, ignore=shutil.ignore_patterns("servers"))
        with setting.server(data=copy) as third:
            assert "serving the adapters of the copy" in third.messages(), third.messages()
            assert scores(third, "default") == qa
        error = setting.command("list", status=1)
        assert f"could not read the registry at `s3://{BUCKET}/{PREFIX}`" in error, error
    finally:
        up()
    began = time.monotonic()
    soon(lambda: metric(one, "registry_readable") == 1 and metric(other, "registry_readable") == 1, f"{name}: they read it again", began + 5)
    setting.command("alias", "default", "none", "--bare", "--unchecked")
    began = time.monotonic()
    bare = scores(one, "none")
    took = soon(lambda: all(scores(lorank, "default") == bare for lorank in [one, other]), "both catch up", began)
    setting.command("alias", "default", "qa", "--unchecked")
    soon(lambda: all(scores(lorank, "default") == qa for lorank in [one, other]), "both follow", time.monotonic())
    for lorank in [one, other]:
        lines = [line for line in lorank.messages().splitlines() if "until the registry can be read" in line]
        assert len(lines) == 1 + (name == "stands still"), lines
    print(f"ok while S3 {name}, servers go on and start with their copies; they catch up after {took}")


def bad_settings_are_clear_errors(setting):
    for environment, part in [
        ({"AWS_SECRET_ACCESS_KEY": "open-sesame"}, "SignatureDoesNotMatch"),
        ({"LORANK_REGISTRY": "s3://no-such-bucket"}, "NoSuchBucket"),
        ({"AWS_ALLOW_HTTP": ""}, "set AWS_ALLOW_HTTP"),
    ]:
        error = setting.command("list", status=1, **environment)
        assert "could not read the registry at `s3://" in error and part in error and "sesame" not in error, error
    for address, part in [("http://models", "`http` is not a known scheme"), ("s3://open:sesame@models", "has credentials")]:
        error = setting.command("list", status=2, LORANK_REGISTRY=address)
        assert part in error and "sesame" not in error, error


def main():
    with tempfile.TemporaryDirectory() as folder, S3() as s3, Gate(s3.port) as gate:
        setting = Setting(s3, gate, Path(folder))
        bad_settings_are_clear_errors(setting)
        print("ok bad settings are clear errors, without secrets")
        with setting.server() as one, setting.server() as other:
            bare, qa = what_one_server_adds_the_other_scores_with(setting, one, other)
            a_promotion_by_a_command_reaches_both(setting, one, other, bare, qa)
            of_changes_at_once_none_is_lost(setting, one, other)
            a_broken_adapter_never_becomes_an_answer(setting, one, other, qa)
            while_s3_is_gone_servers_go_on(setting, one, other, qa, "refuses connections", gate.close, gate.open)
            stop, go_on = lambda: s3.send(signal.SIGSTOP), lambda: s3.send(signal.SIGCONT)
            while_s3_is_gone_servers_go_on(setting, one, other, qa, "stands still", stop, go_on)
            for lorank in [one, other]:
                assert s3.secret not in lorank.messages(), "no secret in the log"
                lorank.stop()


if __name__ == "__main__":
    main()
