#!/usr/bin/env python3
"""lorank before a real cluster: `check.py ENGINE VERSION [JAVA_HOME]`, ENGINE is opensearch or elasticsearch.

Three nodes, two shards with a replica each, the starter's corpus. Prints each check; a failed one ends the run.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

from cluster import ROOT, Cluster, Lorank, run

CORPUS = ROOT / "crates/lorank-starter/data/corpus"
FIELDS = ["title^2", "text"]
FLAGS = ["--elastic-field", "title^2", "--elastic-field", "text"]
INDEX = "passages"
DEPTH = 100


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def corpus():
    """The documents, with fields to filter, sort and count by."""
    languages = ["en", "de", "fr"]
    for n, document in enumerate(read(CORPUS / "corpus.jsonl")):
        yield {**document, "n": n, "lang": languages[n % 3], "published": f"{1990 + n % 30}-06-01"}


def by_engine(cluster, query, size=DEPTH, **more):
    """The engine's own hits of a query."""
    body = {"query": {"multi_match": {"query": query, "fields": FIELDS}}, "size": size, **more}
    return cluster.ask(f"/{INDEX}/_search?preference=lorank-by-hand", body)["hits"]["hits"]


def reranks_what_the_engine_finds(cluster, lorank, queries):
    """The order of the engine's own first hundred, scored one by one by hand over the rerank route."""
    for query in queries:
        hits = by_engine(cluster, query)
        texts = [" ".join(filter(None, [hit["_source"]["title"], hit["_source"]["text"]])) for hit in hits]
        status, scored = lorank.ask("/rerank", {"query": query, "texts": texts, "raw_scores": True})
        assert status == 200, scored
        scores = {hits[one["index"]]["_id"]: one["score"] for one in scored}
        ranks = {hit["_id"]: rank for rank, hit in enumerate(hits)}
        status, answer = lorank.search(query=query, depth=DEPTH, top_k=DEPTH, adapter="minilm-qa")
        assert status == 200 and answer["reranked"] and answer["warnings"] == [], answer
        found = {hit["id"]: hit for hit in answer["hits"]}
        assert set(found) == set(scores), (query, set(found) ^ set(scores))
        for hit in hits:
            mine = found[hit["_id"]]
            assert abs(mine["first_stage_score"] - hit["_score"]) < 1e-4, (hit["_id"], mine, hit["_score"])
            assert abs(mine["rerank_score"] - scores[hit["_id"]]) < 1e-4, (hit["_id"], mine, scores[hit["_id"]])
        order = [hit["id"] for hit in answer["hits"]]
        by_hand = sorted(scores, key=lambda one: (-scores[one], found[one]["first_stage_rank"]))
        assert order == by_hand, query
        # Without reranking, the engine's order, in which only ties may differ.
        _, plain = lorank.search(query=query, rerank=False, top_k=10)
        for one in plain["hits"]:
            assert abs(hits[one["rank"] - 1]["_score"] - one["first_stage_score"]) < 1e-4, (query, one, ranks[one["id"]])


def answers_have_snippets_fields_and_totals(cluster, lorank):
    query = "who invented the light bulb"
    _, answer = lorank.search(query=query, fields=["n", "lang"], depth=20)
    assert any("<b>" in hit["snippet"] for hit in answer["hits"]), answer["hits"]
    assert all(set(hit["fields"]) == {"n", "lang"} for hit in answer["hits"]), answer["hits"]
    total = cluster.ask(f"/{INDEX}/_count", {"query": {"multi_match": {"query": query, "fields": FIELDS}}})["count"]
    assert (answer["total_hits"], answer["total_hits_relation"]) == (total, "eq"), (answer["total_hits"], total)
    _, again = lorank.search(query=query, depth=20)
    assert again["cache"] == {"hits": 20, "misses": 0}, again["cache"]


def filters_sorting_and_facets_are_the_engines(lorank):
    _, answer = lorank.search(query="light", filters={"lang": "de", "n": {"gte": 100, "lt": 2_000}}, rerank=False, top_k=50)
    assert answer["hits"], answer
    assert all(hit["fields"]["lang"] == "de" and 100 <= hit["fields"]["n"] < 2_000 for hit in answer["hits"])
    _, others = lorank.search(query="light", filters={"lang": {"ne": "de"}}, rerank=False, top_k=50)
    assert others["hits"] and all(hit["fields"]["lang"] != "de" for hit in others["hits"])
    _, years = lorank.search(match_all=True, filters={"published": "2001"}, top_k=50)
    assert len(years["hits"]) == 50 and all(hit["fields"]["published"].startswith("2001") for hit in years["hits"])
    _, newest = lorank.search(query="light", sort=["n:desc"], top_k=20)
    order = [hit["fields"]["n"] for hit in newest["hits"]]
    assert order == sorted(order, reverse=True) and newest["hits"][0]["first_stage_score"] > 0, newest["hits"][0]
    _, counted = lorank.ask("/v1/search", {"match_all": True, "facets": {"lang": {"top_n": 2}, "n": {"ranges": [{"lt": 10}, {"gte": 10}]}}})
    n_documents = sum(1 for _ in corpus())
    counts = counted["facets"]
    assert [one["value"] for one in counts["lang"]["values"]] == ["en", "de"], counts
    assert counts["lang"]["n_values"] == 3 and counted["total_hits"] == n_documents, counts
    assert [one["n_documents"] for one in counts["n"]["ranges"]] == [10, n_documents - 10], counts
    _, ranked = lorank.search(query="light", rank_by="rerank_score + 0 * n", depth=10)
    assert ranked["rank_by"], ranked


def errors_have_the_engines_reason(cluster, lorank):
    for body, status, field, part in [
        ({"query": "light AND (", "syntax": "advanced"}, 422, "query", "Failed to parse query"),
        ({"query": "light", "filters": {"n": {"gte": "many"}}}, 422, "filters", "many"),
        ({"query": "light", "filters": {"nix": 1}}, 422, "filters", "no such field"),
        ({"query": "light", "filters": {"text": "a"}}, 422, "filters", "analyzed text"),
        ({"query": "light", "sort": ["nix"]}, 422, "sort", "no such field"),
        ({"query": "light", "rank_by": "nix"}, 422, "rank_by", "no such field"),
        ({"query": "light", "fuzzy": "on"}, 422, "query", "is not supported"),
        ({"query": "light", "depth": 1_000, "top_k": 10_000, "rerank": False}, 200, None, ""),
    ]:
        found, answer = lorank.search(**body)
        error = answer.get("error", {})
        assert (found, error.get("field")) == (status, field), (body, found, answer)
        assert part in error.get("message", ""), (body, error)
    for index, flags, part in [
        ("nix", FLAGS, "has no index `nix`: index_not_found_exception: no such index [nix]"),
        (INDEX, ["--elastic-field", "titel"], "has no field `titel`, which is configured as `elastic.search_fields`"),
        (INDEX, ["--elastic-text", "body"], "has no field `body`, which is configured as `elastic.text_fields`"),
    ]:
        with Lorank(cluster.urls, index, *flags) as wrong:
            status, answer = wrong.search(query="light")
            assert status == 503 and part in answer["error"]["message"], (status, answer)
            status, answer = wrong.ask("/ready")
            assert status == 503 and part in answer["checks"]["index"], (status, answer)


def several_indexes_are_one_first_stage(cluster):
    cluster.index("more", [{"_id": "extra", "title": "Zyzzyva", "text": "A weevil of another index."}])
    cluster.wait()
    for names in [f"{INDEX},more", "passages,mo*"]:
        with Lorank(cluster.urls, names, *FLAGS, "--adapter", "minilm-qa") as both:
            status, answer = both.search(query="zyzzyva light", depth=20, top_k=20)
            ids = {hit["id"] for hit in answer["hits"]}
            assert status == 200 and answer["reranked"] and len(ids) == 20 and answer["total_hits"] > 20, (names, answer)
            assert [hit["id"] for hit in both.search(query="zyzzyva")[1]["hits"]] == ["extra"], names


def an_overloaded_engine_is_429(cluster, lorank):
    """The engine's circuit breaker refuses all memory, with its own status 429."""
    limit = lambda value: cluster.ask("/_cluster/settings", {"transient": {"indices.breaker.total.limit": value}}, "PUT")
    limit("1b")
    try:
        status, answer = lorank.search(query="light", deadline_millis=1_500)
        assert status == 429 and "Data too large" in answer["error"]["message"], (status, answer)
        status, answer = lorank.ask("/ready")
        assert status == 503 and "Data too large" in answer["checks"]["index"], (status, answer)
        assert lorank.ask("/v1/rerank", {"query": "light", "documents": ["a bulb", "a tulip"]})[0] == 200
    finally:
        limit(None)
    assert lorank.search(query="light")[0] == 200 and lorank.ask("/ready")[0] == 200


def candidates_join_the_engines(lorank):
    query, mine = "who invented the light bulb", {"id": "mine", "text": "Edison sold the first light bulb.", "score": 0.9}
    _, found = lorank.search(query=query, depth=20, top_k=20)
    status, fused = lorank.search(query=query, depth=20, top_k=20, candidates=[mine], explain=True)
    assert status == 200 and fused["reranked"], fused
    ids = [hit["id"] for hit in fused["hits"]]
    assert "mine" in ids and len(set(ids) - {hit["id"] for hit in found["hits"]}) == 1, ids
    (hit,) = [hit for hit in fused["hits"] if hit["id"] == "mine"]
    assert hit["explanation"]["fusion"]["k"] == 60 and abs(hit["first_stage_score"] - 1 / 61) < 1e-6, hit
    _, alone = lorank.search(query=query, candidates=[mine], first_stage=False)
    assert [hit["id"] for hit in alone["hits"]] == ["mine"], alone


def documents_belong_to_the_engine(lorank):
    _, answer = lorank.ask("/v1/documents/p1")
    assert answer["fields"]["n"] == 0, answer
    for path, body, method in [
        ("/v1/documents", {"id": "x", "text": "y"}, "POST"),
        ("/v1/documents", {"all": True}, "DELETE"),
        ("/v1/documents/p1", None, "DELETE"),
    ]:
        status, answer = lorank.ask(path, body, method)
        assert status == 405 and "belong to the search engine" in answer["error"]["message"], (status, answer)
    status, stats = lorank.ask("/v1/indexes/default/stats")
    assert status == 200 and stats["documents"]["n_documents"] == sum(1 for _ in corpus()), stats
    types = {field["name"]: (field["is_searched"], field["types"]) for field in stats["fields"]}
    assert types["title"][0] and types["n"] == (False, ["numbers"]) and types["lang"] == (False, ["texts"]), types


def experiments_and_comparisons_work(lorank):
    status, compared = lorank.ask("/v1/compare", {"query": "who invented the light bulb", "adapters": ["minilm-qa", "none"]})
    assert status == 200 and len(compared["rankers"]) == 3, compared
    experiment = {"id": "engines", "method": "interleave", "arms": [{"name": "qa", "model": "minilm-qa"}, {"name": "base", "model": "none"}]}
    assert lorank.ask("/v1/experiments", experiment)[0] == 201
    assert lorank.ask("/v1/experiments/engines/start", method="POST")[0] == 200
    status, mixed = lorank.search(query="who invented the light bulb", depth=20)
    assert status == 200 and mixed["experiment"]["interleaved"], mixed
    assert any("<b>" in hit["snippet"] for hit in mixed["hits"]), "highlights are there for mixed answers too"
    # Candidates of a request take part: each unit's answer is logged with the candidate in it, and clicks on it count.
    mine = {"id": "mine", "text": "Thomas Edison invented the light bulb that was sold first.", "score": 0.9}
    for n in range(4):
        status, answer = lorank.search(query="who invented the light bulb", depth=20, candidates=[mine], unit_id=f"unit-{n}", top_k=20)
        assert status == 200 and answer["experiment"]["interleaved"], answer
        (rank,) = [hit["rank"] for hit in answer["hits"] if hit["id"] == "mine"]
        click = {"query_id": answer["request_id"], "action_name": "click", "timestamp": int(time.time() * 1_000),
                 "event_attributes": {"object": {"object_id": "mine"}, "position": {"ordinal": rank}}}
        status, stored = lorank.ask("/v1/events", click)
        assert status == 200 and (stored["accepted"], stored["unattributed"]) == (1, 0), (status, stored)
    (arm,) = lorank.ask("/v1/experiments/engines/report")[1]["arms"]
    assert (arm["n_queries"], arm["n_clicks"], arm["n_fallbacks"]) == (5, 4, 0), arm
    assert lorank.ask("/v1/experiments/engines/stop", method="POST")[0] == 200


def the_users_own_query_is_sent(cluster, folder):
    query = folder / "query.json"
    query.write_text(json.dumps({
        "query": {"bool": {"must": {"match": {"text": {"query": "{{query}}", "operator": "and"}}}, "filter": "{{filters}}"}},
        "highlight": {"fields": {"text": {"number_of_fragments": 1}}}}))
    with Lorank(cluster.urls, INDEX, "--elastic-query", str(query)) as own:
        status, answer = own.search(query='who "invented" the light bulb\\', filters={"lang": ["en", "de", "fr"]}, rerank=False)
        assert status == 200 and answer["total_hits"] < 50, answer
        assert all("<b>" in hit["snippet"] for hit in answer["hits"]), answer["hits"]
        status, answer = own.search(query="light", syntax="advanced")
        assert status == 422 and "advanced syntax is not supported" in answer["error"]["message"], answer
    query.write_text('{"query": {"match": {"text": "{{qeury}}"}}}')
    wrong = run("search", "--first-stage", "elastic", "--elastic-url", cluster.urls[0], "--elastic-index", INDEX,
                "--elastic-query", str(query), "light", check=False)
    assert wrong.returncode == 2 and "unknown variable `{{qeury}}`" in wrong.stderr, wrong


def retrievers_and_vectors_are_sent(cluster, folder):
    """What Elasticsearch has beside `query`: the scores are those of the same request by hand."""
    documents = [{"_id": f"v{n}", "text": f"light number {n}", "lang": ["en", "de"][n % 2], "vector": [n, 10 - n]} for n in range(10)]
    properties = {"text": {"type": "text"}, "vector": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"}}
    cluster.index("vectors", documents, properties=properties)
    cluster.wait()
    german = [{"terms": {"lang.keyword": ["de"]}}]
    retriever = lambda text, filters: {"retriever": {"standard": {"query": {"match": {"text": text}}, "filter": filters}}}
    hybrid = lambda text, depth, filters: {
        "query": {"bool": {"must": {"match": {"text": text}}, "filter": filters}},
        "knn": {"field": "vector", "query_vector": [7, 3], "k": depth, "num_candidates": 10, "filter": filters}}
    file = folder / "retriever.json"
    for template, by_hand in [(retriever("{{query}}", "{{filters}}"), retriever("light 7", german)),
                              (hybrid("{{query}}", "{{depth}}", "{{filters}}"), hybrid("light 7", 4, german))]:
        file.write_text(json.dumps(template))
        hits = cluster.ask("/vectors/_search", {**by_hand, "size": 4})["hits"]["hits"]
        with Lorank(cluster.urls, "vectors", "--elastic-query", str(file)) as own:
            status, answer = own.search(query="light 7", filters={"lang": "de"}, depth=4, top_k=4, rerank=False, deadline_millis=20_000)
            assert status == 200 and answer["warnings"] == [], answer
            assert len(hits) == 4 and answer["hits"][0]["id"] == hits[0]["_id"] == "v7", (answer["hits"], hits)
            # Only documents with equal scores may change places.
            for mine, its in zip(answer["hits"], hits, strict=True):
                assert abs(mine["first_stage_score"] - its["_score"]) < 1e-4, (answer["hits"], hits)


def commands_search_the_engine(cluster, folder):
    engine = ["--first-stage", "elastic", "--elastic-url", cluster.urls[0], "--elastic-index", INDEX, *FLAGS]
    query = "who invented the light bulb"
    found = json.loads(run("search", *engine, "--adapter", "minilm-qa", "--depth", "20", "--json", query).stdout)
    hits = {hit["_id"] for hit in by_engine(cluster, query, size=20)}
    assert found["reranked"] and {hit["id"] for hit in found["hits"]} <= hits, found["hits"]
    compared = run("compare", *engine, "--adapter", "minilm-qa", "--adapter", "none", "--depth", "10", query).stdout
    assert "first-stage" in compared and "10 candidates of depth 10" in compared, compared
    evaluated = json.loads(run("eval", *engine, "--dataset", str(CORPUS), "--sample", "20", "--depth", "20", "--adapter", "minilm-qa",
                               "--scores", str(folder / "scores"), "--json").stdout)
    names = [ranker["name"] for ranker in evaluated["rankers"]]
    assert names == ["first-stage", "minilm-qa"], evaluated["rankers"]
    both = run("search", *engine, "--index", str(folder), query, check=False)
    assert both.returncode == 2 and "--first-stage elastic" in both.stderr, both
    alone = run("search", "--index", str(folder), "--elastic-url", cluster.urls[0], query, check=False)
    assert alone.returncode == 2 and "need --first-stage elastic" in alone.stderr, alone


def the_page_searches_the_engine(lorank):
    environment = {**os.environ, "LORANK_URL": lorank.url}
    subprocess.run(["node", "--test", ROOT / "tests/browser/engine.js"], check=True, env=environment)


class Load:
    """Searches without a pause, until it is told to stop."""

    def __init__(self, lorank, queries, n_threads=4):
        self.failed, self.n_done, self.slowest, self.stopped = [], 0, 0.0, threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(lorank, queries[n::n_threads])) for n in range(n_threads)]
        for thread in self.threads:
            thread.start()

    def work(self, lorank, queries):
        n = 0
        while not self.stopped.is_set():
            began = time.monotonic()
            # Most of the time without the model, which would be what the searches wait for.
            more = {"depth": 3} if n % 8 == 0 else {"rerank": False}
            status, answer = lorank.search(query=queries[n % len(queries)], **more)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.n_done += 1
            if status != 200:
                self.failed.append((status, answer))
            n += 1

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def a_node_may_be_killed(cluster, lorank, queries):
    load = Load(lorank, queries)
    time.sleep(2)
    cluster.kill(1)
    time.sleep(6)
    n_before = load.n_done
    load.stop()
    assert not load.failed, load.failed[:3]
    assert n_before > 20, n_before
    print(f"  {load.n_done} searches, none failed, the slowest took {load.slowest:.1f} s", flush=True)
    cluster.start(1)
    cluster.wait()


def a_lost_shard_is_a_warning(cluster):
    cluster.index("scattered", list(corpus())[:300], shards=3, replicas=0)
    with Lorank(cluster.urls, "scattered") as lorank:
        assert lorank.search(query="water", rerank=False)[1]["warnings"] == []
        cluster.kill(2)
        until = time.monotonic() + 60
        while True:
            status, answer = lorank.search(query="water", rerank=False)
            assert status == 200, answer
            if answer["warnings"]:
                break
            assert time.monotonic() < until, answer
        warning = answer["warnings"][0]
        assert warning["reason"] == "shards_failed" and "1 of 3 shards" in warning["message"], warning
        assert answer["hits"], answer
    cluster.start(2)
    cluster.wait()


def without_a_cluster_it_says_so_and_recovers(cluster, lorank):
    for node in range(cluster.count):
        cluster.kill(node)
    status, answer = lorank.search(query="light")
    message = "the search engine is not reachable: none of its 3 nodes answers"
    assert status == 503 and message in answer["error"]["message"], (status, answer)
    assert "127.0.0.1" not in answer["error"]["message"], answer
    status, answer = lorank.ask("/ready")
    assert status == 503 and message in answer["checks"]["index"], (status, answer)
    status, answer = lorank.ask("/v1/rerank", {"query": "light", "documents": ["a bulb", "a tulip"]})
    assert status == 200, "the rerank routes need no first stage"
    done = run("search", "--first-stage", "elastic", "--elastic-url", cluster.urls[0], "--elastic-index", INDEX, "light", check=False)
    assert done.returncode == 1 and "not reachable" in done.stderr, done
    for node in range(cluster.count):
        cluster.start(node)
    cluster.wait()
    until = time.monotonic() + 60
    while (status := lorank.search(query="light")[0]) != 200:
        assert time.monotonic() < until, status
        time.sleep(0.5)
    assert lorank.ask("/ready")[0] == 200


def a_stalled_engine_is_late(cluster, lorank):
    for node in range(cluster.count):
        cluster.kill(node, signal.SIGSTOP)
    began = time.monotonic()
    status, answer = lorank.search(query="light", deadline_millis=1_000)
    took = time.monotonic() - began
    for node in range(cluster.count):
        cluster.kill(node, signal.SIGCONT)
    assert status == 504 and "did not answer within" in answer["error"]["message"], (status, answer)
    assert took < 3, took
    cluster.wait()


def main():
    engine, version, java_home = sys.argv[1], sys.argv[2], (sys.argv[3:] or [None])[0]
    queries = [one["text"] for one in read(CORPUS / "queries.jsonl")[::40]]
    properties = {"title": {"type": "text"}, "text": {"type": "text"}, "published": {"type": "date"}}
    with Cluster(version, 3, java_home=java_home, engine=engine) as cluster:
        step = lambda check, *arguments: (print(f"{engine} {version}: {check.__name__}", flush=True), check(*arguments))
        cluster.index(INDEX, list(corpus()), properties=properties)
        cluster.wait()
        with Lorank(cluster.urls, INDEX, *FLAGS, "--adapter", "minilm-qa") as lorank:
            step(reranks_what_the_engine_finds, cluster, lorank, queries[:3])
            step(answers_have_snippets_fields_and_totals, cluster, lorank)
            step(filters_sorting_and_facets_are_the_engines, lorank)
            step(errors_have_the_engines_reason, cluster, lorank)
            step(several_indexes_are_one_first_stage, cluster)
            step(an_overloaded_engine_is_429, cluster, lorank)
            step(candidates_join_the_engines, lorank)
            step(documents_belong_to_the_engine, lorank)
            if os.environ.get("LORANK_CI_WITHOUT_BROWSER") != "1":
                step(the_page_searches_the_engine, lorank)
            step(experiments_and_comparisons_work, lorank)
            step(the_users_own_query_is_sent, cluster, cluster.home)
            if engine == "elasticsearch":
                step(retrievers_and_vectors_are_sent, cluster, cluster.home)
            step(commands_search_the_engine, cluster, cluster.home)
            step(a_stalled_engine_is_late, cluster, lorank)
            step(a_node_may_be_killed, cluster, lorank, queries)
            step(a_lost_shard_is_a_warning, cluster)
            step(without_a_cluster_it_says_so_and_recovers, cluster, lorank)


if __name__ == "__main__":
    main()
