#!/usr/bin/env python3
"""lorank before OpenSearch with TLS and users, by the real security plugin: `secured.py VERSION`."""

import base64
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from cluster import Cluster, Lorank, run

INDEX = "passages"
USER, PASSWORD = "admin", "admin"
# The hash of the password, as the plugin's documentation has it.
HASH = "$2a$12$VcCDgh2NDk07JGN0rjGbM.Ad41qVR/YFJcgHp0UGns5JDymv..TOG"
DOCUMENTS = [{"_id": "a", "title": "Light", "text": "A light bulb burns."}, {"_id": "b", "title": "Tulips", "text": "A tulip bulb grows."}]


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certificates(folder):
    """An authority, and a certificate of a node on loopback."""
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key",
            "-out", "ca.pem")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node", "-keyout", "node.key", "-out", "node.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl(folder, "x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile",
            "names", "-out", "node.pem")


def prepare(cluster):
    """The node's certificates, and the plugin's first configuration: one user with all rights."""
    config = cluster.home / "node0/config"
    security = config / "opensearch-security"
    security.mkdir(parents=True)
    certificates(config)
    shipped = cluster.jars / "plugins/opensearch-security/config"
    if shipped.exists():
        shutil.copytree(shipped, security, dirs_exist_ok=True)
    meta = "_meta:\n  type: {}\n  config_version: 2\n"
    files = {
        "config": "config:\n  dynamic:\n    authc:\n      basic:\n        http_enabled: true\n        transport_enabled: true\n        order: 0\n"
                  "        http_authenticator:\n          type: basic\n          challenge: false\n"
                  "        authentication_backend:\n          type: internal\n",
        "internalusers": f'{USER}:\n  hash: "{HASH}"\n  reserved: true\n  backend_roles: ["admin"]\n',
        "roles": "", "rolesmapping": 'all_access:\n  backend_roles: ["admin"]\n', "actiongroups": "", "tenants": "", "nodesdn": "", "whitelist": "",
        "allowlist": "", "audit": "config:\n  enabled: false\n",
    }
    names = {"internalusers": "internal_users", "rolesmapping": "roles_mapping", "actiongroups": "action_groups", "nodesdn": "nodes_dn"}
    for kind, text in files.items():
        (security / f"{names.get(kind, kind)}.yml").write_text(meta.format(kind) + text)
    context = ssl.create_default_context(cafile=str(config / "ca.pem"))
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    cluster.tls = {"context": context, "headers": [("authorization", f"Basic {token}")]}


def main():
    version = sys.argv[1]
    ssl_files = [f"plugins.security.ssl.{layer}.{kind}_filepath={file}" for layer in ["http", "transport"]
                 for kind, file in [("pemcert", "node.pem"), ("pemkey", "node.key"), ("pemtrustedcas", "ca.pem")]]
    settings = [*ssl_files, "plugins.security.ssl.http.enabled=true", "plugins.security.ssl.transport.enforce_hostname_verification=false",
                "plugins.security.allow_default_init_securityindex=true", "plugins.security.nodes_dn=CN=node",
                "plugins.security.authcz.admin_dn=CN=none"]
    with Cluster(version, 1, ["opensearch-security"], settings=settings, tls={}, prepare=prepare, heap="512m", scheme="https") as cluster:
        cluster.index(INDEX, DOCUMENTS, shards=1, replicas=0)
        authority = str(cluster.home / "node0/config/ca.pem")
        secret = cluster.home / "password"
        secret.write_text(f"{PASSWORD}\n")
        flags = ["--elastic-ca", authority, "--elastic-user", USER]

        print("a user with a password, by variable and by file", flush=True)
        with Lorank(cluster.urls, INDEX, *flags, environment={"LORANK_ELASTIC_PASSWORD": PASSWORD}) as lorank:
            status, answer = lorank.search(query="light bulb", rerank=False)
            assert status == 200 and answer["hits"][0]["id"] == "a", (status, answer)
            assert lorank.ask("/ready")[0] == 200
            assert PASSWORD not in lorank.messages(), lorank.messages()
        engine = ["--first-stage", "elastic", "--elastic-url", cluster.urls[0], "--elastic-index", INDEX]
        found = run("search", *engine, *flags, "--elastic-password-file", str(secret), "--no-rerank", "light")
        assert "A light bulb burns" in found.stdout, found

        print("wrong and missing credentials, and an unknown authority", flush=True)
        with Lorank(cluster.urls, INDEX, *flags, environment={"LORANK_ELASTIC_PASSWORD": "wrong"}) as lorank:
            status, answer = lorank.search(query="light bulb")
            assert status == 503 and "refuses the credentials (status 401)" in answer["error"]["message"], (status, answer)
            assert "refuses the credentials" in lorank.ask("/ready")[1]["checks"]["index"]
            assert "wrong" not in lorank.messages(), lorank.messages()
        for more, part in [
            (["--elastic-ca", authority], "refuses the credentials (status 401)"),
            (["--elastic-user", USER, "--elastic-password-file", str(secret)], "certificate"),
        ]:
            refused = run("search", *engine, *more, "--no-rerank", "light", check=False)
            assert refused.returncode == 1 and part in refused.stderr, refused
        missing = run("search", *engine, "--elastic-user", USER, "--no-rerank", "light", check=False)
        assert missing.returncode == 2 and "has no password" in missing.stderr, missing


if __name__ == "__main__":
    main()
