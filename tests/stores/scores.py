#!/usr/bin/env python3
"""Scores that lorank servers share in Redis: `scores.py`. Prints each check; a failed one ends the run."""

import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from harness import LORANK, Load, Lorank, Redis, certificates, until

N_TEXTS = 8
LIMIT_MILLIS = 200
FLAGS = ["--cache-timeout-millis", str(LIMIT_MILLIS)]


def texts(n):
    return [f"Passage {n}.{k}: boil the egg for {k} minutes, then cool it in water." for k in range(N_TEXTS)]


def rerank(lorank, n):
    """The scores of a query's passages, which no other number has."""
    status, answer = lorank.ask("/rerank", {"query": f"how long to boil egg number {n}", "texts": texts(n), "raw_scores": True})
    assert status == 200 and len(answer) == N_TEXTS, (status, answer)
    return {one["index"]: one["score"] for one in answer}


def shared(lorank):
    status, stats = lorank.ask("/v1/stats")
    assert status == 200, stats
    return stats["cache"]["shared"]


def metric(lorank, name):
    status, text = lorank.ask("/metrics")
    assert status == 200, text
    return float(re.search(rf"^lorank_{name} (\S+)$", text, re.M)[1])


def stored(lorank, count):
    until(lambda: shared(lorank)["stored"] >= count, f"{count} scores are stored", 10)


def a_pair_scored_by_one_server_is_a_hit_at_the_other(redis, one, other):
    before = {command: calls(redis, command) for command in ["mget", "set"]}
    n_stored = shared(one)["stored"]
    first = rerank(one, 1)
    stored(one, n_stored + N_TEXTS)
    assert rerank(other, 1) == first, "the same scores, to the bit"
    found = shared(other)
    assert found["hits"] == N_TEXTS and found["misses"] == 0 and found["is_used"], found
    assert calls(redis, "mget") - before["mget"] == 2, "one round trip for each request"
    assert calls(redis, "set") - before["set"] == N_TEXTS
    rerank(other, 1)
    assert shared(other)["hits"] == N_TEXTS, "the second time they are in memory"
    assert metric(other, "shared_cache_hits_total") == N_TEXTS and metric(other, "shared_cache_used") == 1
    key = redis.cli("randomkey")
    ttl = int(redis.cli("eval", "return redis.call('ttl', redis.call('randomkey'))", "0"))
    assert key.startswith("lorank:1:") and 604_700 <= ttl <= 604_800, (key, ttl)


def calls(redis, command):
    found = redis.info("commandstats", f"cmdstat_{command}")
    return int(re.search(r"calls=(\d+)", found[1])[1]) if found else 0


def no_request_fails_while_it_is_gone(redis, lorank, name, down, up):
    """Under load the server goes away and comes back. Requests go on, and at most a few wait for the time limit."""
    rerank(lorank, 10_000)
    quick = min(timed(lambda n=n: rerank(lorank, 11_000 + n)) for n in range(5))
    with Load(lambda n: rerank(lorank, 20_000 + n)) as load:
        load.wait_for_more(20)
        down()
        went = time.monotonic()
        until(lambda: metric(lorank, "shared_cache_used") == 0, f"{name}: the metric says so", 10)
        load.wait_for_more(40)
        up()
        came = time.monotonic()
        until(lambda: metric(lorank, "shared_cache_used") == 1, f"{name}: it is used again", 15)
        back = time.monotonic()
        n_stored = shared(lorank)["stored"]
        load.wait_for_more(10)
        stored(lorank, n_stored + N_TEXTS)
    messages = lorank.messages()
    assert messages.count("the shared score cache does not answer; searches go on without it") >= 1, messages
    assert messages.count("the shared score cache answers again") >= 1, messages
    waited = [took for began, took, _ in load.results if went - 1 <= began <= came and took > quick + 0.9 * LIMIT_MILLIS / 1_000]
    slowest = max(took for _, took, _ in load.results)
    print(f"   {name}: {len(load.results)} requests, none failed; slowest {slowest:.2f} s, {len(waited)} waited for the limit; "
          f"used again after {back - came:.1f} s")
    return load


def timed(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


def memory_is_bounded_by_the_servers_policy(redis, lorank):
    """A full server rejects new scores and still answers lookups; one that evicts goes on."""
    n_stored = shared(lorank)["stored"]
    first = rerank(lorank, 300)
    stored(lorank, n_stored + N_TEXTS)
    redis.cli("config", "set", "maxmemory-policy", "noeviction")
    redis.cli("config", "set", "maxmemory", "1")
    n_dropped = shared(lorank)["dropped"]
    rerank(lorank, 301)
    until(lambda: shared(lorank)["dropped"] >= n_dropped + N_TEXTS, "a full server's rejections are counted", 10)
    assert shared(lorank)["is_used"], shared(lorank)
    assert "the shared score cache rejects new scores" in lorank.messages(), lorank.messages()
    with Lorank("--cache-url", f"redis://127.0.0.1:{redis.port}", *FLAGS) as other:
        assert rerank(other, 300) == first and shared(other)["hits"] == N_TEXTS, shared(other)
    redis.cli("config", "set", "maxmemory-policy", "allkeys-lru")
    redis.cli("config", "set", "maxmemory", str(int(redis.info("memory", "used_memory")[1]) + 20_000))
    for n in range(302, 402):
        rerank(lorank, n)
    until(lambda: int(redis.info("stats", "evicted_keys")[1]) > 0, "old scores are evicted", 10)
    redis.cli("config", "set", "maxmemory", "0")


def secrets_are_in_no_output(folder):
    """TLS and a password: a right one, a wrong one, and a certificate that is not trusted."""
    certificates(folder)
    (folder / "password").write_text("open-sesame\n")
    (folder / "wrong").write_text("close-sesame\n")
    with Redis("--requirepass", "open-sesame", tls=folder) as redis:
        url = f"rediss://127.0.0.1:{redis.port}"
        tls = ["--cache-ca", str(folder / "ca.pem"), *FLAGS]
        inside = Lorank("--cache-url", f"rediss://default:open-sesame@127.0.0.1:{redis.port}", *tls)
        with Lorank("--cache-url", url, "--cache-password-file", str(folder / "password"), *tls) as one, inside as other:
            first = rerank(one, 1)
            stored(one, N_TEXTS)
            assert rerank(other, 1) == first and shared(other)["hits"] == N_TEXTS, (shared(other), other.messages())
            for lorank in [one, other]:
                shown = lorank.messages() + str(lorank.ask("/v1/stats")) + str(lorank.ask("/metrics"))
                assert "sesame" not in shown, shown
            assert "rediss://default:***@127.0.0.1" in other.messages(), other.messages()
        for name, arguments in [
            ("authentication failed", ["--cache-url", url, "--cache-password-file", str(folder / "wrong"), *tls]),
            ("NOAUTH", ["--cache-url", url, *tls]),
            ("certificate", ["--cache-url", url, "--cache-password-file", str(folder / "password"), *FLAGS]),
        ]:
            with Lorank(*arguments) as lorank:
                rerank(lorank, 2)
                message = until(lambda: re.search("does not answer; searches go on without it: .*", lorank.messages()), name, 20)[0]
                assert name.lower() in message.lower() and "sesame" not in lorank.messages(), lorank.messages()
                assert not shared(lorank)["is_used"]
    show = [LORANK, "config", "show", "--cache-url", f"rediss://default:open-sesame@127.0.0.1:{redis.port}"]
    done = subprocess.run(show, capture_output=True, text=True)
    assert "sesame" not in done.stdout + done.stderr, done.stdout


def a_cluster_is_one_cache():
    """Three nodes, one of which dies."""
    settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
    with Redis(*settings) as a, Redis(*settings) as b, Redis(*settings) as c:
        nodes = [f"127.0.0.1:{redis.port}" for redis in [a, b, c]]
        subprocess.run(["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"], check=True, capture_output=True)
        until(lambda: all("cluster_state:ok" in redis.cli("cluster", "info") for redis in [a, b, c]), "the cluster is made", 20)
        flags = ["--cache-cluster", *FLAGS]
        with Lorank("--cache-url", f"redis://{nodes[0]}", *flags) as one, Lorank("--cache-url", f"redis://{nodes[1]}", *flags) as other:
            first = {n: rerank(one, n) for n in range(10)}
            stored(one, 10 * N_TEXTS)
            sizes = [int(redis.cli("dbsize")) for redis in [a, b, c]]
            assert all(size > 0 for size in sizes) and sum(sizes) == 10 * N_TEXTS, sizes
            for n, scores in first.items():
                assert rerank(other, n) == scores
            assert shared(other)["hits"] == 10 * N_TEXTS, shared(other)
            c.kill()
            for n in range(100, 115):
                rerank(one, n)
                rerank(other, n)
            until(lambda: not shared(one)["is_used"] or shared(one)["failures"] > 0, "the loss of a node is seen", 20)


def main():
    with Redis() as redis:
        url = f"redis://127.0.0.1:{redis.port}"
        with Lorank("--cache-url", url, *FLAGS) as one:
            with Lorank("--cache-url", url, *FLAGS) as other:
                a_pair_scored_by_one_server_is_a_hit_at_the_other(redis, one, other)
            print("ok a pair scored by one server is a hit at the other")
            no_request_fails_while_it_is_gone(redis, one, "kill -9", redis.kill, redis.start)
            stop, go_on = lambda: redis.send(signal.SIGSTOP), lambda: redis.send(signal.SIGCONT)
            load = no_request_fails_while_it_is_gone(redis, one, "SIGSTOP", stop, go_on)
            assert load.results
            print("ok no request fails while Redis is gone or stands still")
            memory_is_bounded_by_the_servers_policy(redis, one)
            print("ok memory is bounded by the server's policy")
            one.stop()
    with tempfile.TemporaryDirectory() as folder:
        secrets_are_in_no_output(Path(folder))
    print("ok TLS and passwords, which are in no output")
    a_cluster_is_one_cache()
    print("ok a cluster is one cache")


if __name__ == "__main__":
    main()
