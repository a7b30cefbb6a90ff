#!/usr/bin/env python3
"""lorank inside OpenSearch's own search pipeline, with the real plugins: `pipeline.py VERSION [JAVA_HOME]`. Downloads 360 MB."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from cluster import LORANK, Cluster, call, clean, run

PLUGINS = ["opensearch-job-scheduler", "opensearch-ml-plugin", "opensearch-knn", "neural-search"]
INDEX = "passages"
QUERY = 'who invented the "light bulb"'
DOCUMENTS = [
    {"_id": "tulip", "title": "Tulips", "text": "The tulip bulb is planted in autumn; the light of spring makes it flower."},
    {"_id": "light", "title": "Light", "text": "Light travels at about 300,000 kilometres a second, \"in a vacuum\"."},
    {"_id": "edison", "title": "Edison", "text": "Thomas Edison patented the first\nincandescent light bulb that could be sold, in 1879."},
    {"_id": "phone", "title": "Telephone", "text": "A telephone, invented by Bell, turns sound into electrical signals."},
]


class Reranker:
    """`lorank serve` without documents of its own."""

    def __init__(self, *arguments):
        data = tempfile.mkdtemp(prefix="lorank-")
        command = [LORANK, "--quiet", "serve", "--data", data, "--listen", "127.0.0.1:0", "--adapter", "minilm-qa", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean())
        self.url = self.process.stdout.readline().split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Load:
    """More pairs than a queue takes, as long as the `with` block lasts."""

    def __init__(self, lorank):
        self.url, self.is_over = lorank.url, threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(n,)) for n in range(4)]

    def work(self, thread):
        n = 0
        while not self.is_over.is_set():
            n += 1
            documents = [f"{thread} {n} {one}: {DOCUMENTS[one % 4]['text'] * 8}" for one in range(200)]
            call(f"{self.url}/v1/rerank", {"query": QUERY, "documents": documents})

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        time.sleep(2)

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def search(cluster, pipeline, **more):
    body = {"query": {"multi_match": {"query": QUERY, "fields": ["title", "text"]}}, "size": 10, **more}
    if pipeline != "_none":
        body["ext"] = {"rerank": {"query_context": {"query_text": QUERY}}}
    began = time.monotonic()
    status, answer = call(f"{cluster.urls[0]}/{INDEX}/_search?search_pipeline={pipeline}", body, timeout=120)
    hits = [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]] if status == 200 else answer
    return status, hits, time.monotonic() - began


def main():
    version, java_home = sys.argv[1], (sys.argv[2:] or [None])[0]
    with Cluster(version, 1, PLUGINS, java_home=java_home, heap="1g") as cluster, Reranker() as lorank:
        cluster.index(INDEX, DOCUMENTS, shards=1, replicas=0)
        setup = ["opensearch", "setup", "--url", cluster.urls[0], "--lorank", lorank.url, "--model", "minilm-qa", "--field", "text",
                 "--read-timeout-seconds", "2"]
        shown = run(*setup, "--dry-run").stdout
        assert shown.count("curl -s") == 3 and "/_search/pipeline/lorank" in shown, shown
        refused = run(*setup, check=False)
        assert refused.returncode == 1 and "not matching the trusted connector endpoint" in refused.stderr, refused
        print(run(*setup, "--change-cluster-settings").stdout)
        run(*setup, "--name", "strict", "--strict")

        _, plain, _ = search(cluster, "_none")
        status, hits, _ = search(cluster, "lorank")
        assert status == 200, hits
        _, by_hand = call(f"{lorank.url}/v1/rerank", {"query": QUERY, "documents": [one["text"] for one in DOCUMENTS], "model": "minilm-qa"})
        scores = {DOCUMENTS[one["index"]]["_id"]: one["relevance_score"] for one in by_hand["results"]}
        assert [one for one, _ in hits] == sorted((one for one, _ in plain), key=lambda one: -scores[one]), (hits, scores)
        assert all(abs(score - scores[one]) < 1e-4 for one, score in hits), (hits, scores)
        assert hits[0][0] == "edison" and hits != plain, (hits, plain)

        print("lorank refuses", flush=True)
        few = cluster.home / "few.toml"
        few.write_text("[queue]\npairs_max = 2\n")
        with Reranker("--config", str(few)) as busy, Load(busy):
            for name, url, model, part in [("unknown", lorank.url, "nix", "no adapter and no alias `nix`"), ("busy", busy.url, "minilm-qa", "overloaded")]:
                other = ["opensearch", "setup", "--url", cluster.urls[0], "--lorank", url, "--model", model, "--field", "text"]
                run(*other, "--name", name, "--change-cluster-settings")
                run(*other, "--name", f"{name}-strict", "--strict")
                status, hits, _ = search(cluster, name)
                assert status == 200 and hits == plain, (name, status, hits)
                status, answer, _ = search(cluster, f"{name}-strict")
                print(f"  {name}, strict: {status} {json.dumps(answer)}", flush=True)
                assert status >= 400 and part in json.dumps(answer), (name, status, answer)

        print("a stalled lorank", flush=True)
        lorank.process.send_signal(signal.SIGSTOP)
        status, hits, took = search(cluster, "lorank")
        assert status == 200 and hits == plain and 1.5 < took < 10, (status, hits, took)
        lorank.process.send_signal(signal.SIGCONT)

        print("lorank is down", flush=True)
        lorank.process.kill()
        lorank.process.wait()
        status, hits, took = search(cluster, "lorank")
        assert status == 200 and hits == plain and took < 5, (status, hits, took)
        status, answer, _ = search(cluster, "strict")
        assert status >= 500, (status, answer)


if __name__ == "__main__":
    main()
