"""What takes long: 200,000 mixed requests, ten million events, a thousand adapters. Run by `.ci/full`."""

import glob
import http.client
import os
import random
import sqlite3
import time
import unittest

from harness import WORDS, Server, documents, exchange, in_threads, index, lines

N_REQUESTS = int(os.environ.get("N_REQUESTS", "200000"))
N_EVENTS = int(os.environ.get("N_EVENTS", "10000000"))


class Long(unittest.TestCase):
    def test_memory_is_flat_over_mixed_requests(self):
        with Server(index("flat", documents(500)), "--adapter", "none") as server:
            measured = []

            def client(n, n_requests):
                chance = random.Random(n)
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
                for i in range(n_requests):
                    word = lambda: chance.choice(WORDS)
                    method, path, body, headers = chance.choice([
                        ("GET", f"/v1/search?q={word()}+{word()}&depth=3", None, {}),
                        ("POST", "/v1/search", {"query": f"{word()} {word()}", "rerank": False, "top_k": 5}, {}),
                        ("POST", "/rerank", {"query": word(), "texts": [word(), word()]}, {}),
                        ("POST", "/score", {"text_1": word(), "text_2": [word()]}, {}),
                        ("POST", "/v1/events", {"action_name": "click", "query_id": word(), "event_id": f"{n}-{i}", "timestamp": 1_767_225_600_000}, {}),
                        ("POST", "/v1/documents", lines([{"id": f"d{chance.randrange(500)}", "text": word()}]), {"content-type": "application/x-ndjson"}),
                        ("GET", f"/v1/documents/d{chance.randrange(600)}", None, {}),
                        ("GET", "/metrics", None, {}), ("GET", "/ready", None, {}), ("GET", "/v1/stats", None, {}),
                        ("BREW", f"/{word()}{i}", None, {}), ("POST", "/v1/search", {"query": 1}, {}), ("GET", "/health", None, {}),
                    ])
                    status, _, _ = exchange(connection, method, path, body, headers)
                    assert status < 500 or status == 503, (method, path, status)

            for part in range(10):
                in_threads(8, lambda n: client(n + 8 * part, N_REQUESTS // 80))
                time.sleep(12)
                measured.append(server.memory())
                print(f"    after {(part + 1) * N_REQUESTS // 10:,} requests {measured[-1]:.1f} MB", flush=True)
            self.assertLess(measured[-1], 1.05 * max(measured[1:4]), measured)

    def test_ten_million_events_are_kept(self):
        with Server(index("events", documents(50)), "--adapter", "none") as server:
            began, per_client = time.monotonic(), N_EVENTS // 8

            def client(n):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
                for first in range(0, per_client, 1_000):
                    events = [{"action_name": "click", "query_id": f"q{i % 1000}", "event_id": f"{n}-{i}", "timestamp": 1_767_225_600_000}
                              for i in range(first, min(first + 1_000, per_client))]
                    while (status := exchange(connection, "POST", "/v1/events", events)[0]) in (429, 503):
                        time.sleep(0.5)
                    assert status == 200, status

            in_threads(8, client)
            took = time.monotonic() - began
            [path] = glob.glob(os.path.join(server.data, "**", "experiments.sqlite"), recursive=True)
            n = sqlite3.connect(path).execute("SELECT count(*) FROM events").fetchone()[0]
            print(f"    {n:,} events in {took:.0f} s ({n / took:,.0f} a second), {os.path.getsize(path) / 1e9:.1f} GB; "
                  f"memory {server.memory():.0f} MB, at most {server.peak():.0f} MB", flush=True)
            self.assertEqual(n, per_client * 8)
            self.assertLess(server.peak(), 600)
            self.assertEqual(server.search("amber")[0], 200)


if __name__ == "__main__":
    unittest.main()
