"""More work than the model can do, and texts that are longer than it can read."""

import os
import random
import threading
import time
import unittest
from collections import Counter

from harness import WORDS, MemoryLimit, Server, Watch, documents, in_threads, index, lines


class Overload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.index = index("overload", documents(3_000))

    def test_long_texts_cost_little_and_leave_nothing_behind(self):
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            with Watch(server, "20 texts of 8 MB") as watch:
                for n in range(20):
                    status, answer = server.json("POST", "/rerank", {"query": "x", "texts": [f"{n}" + "!" * 8_000_000]})
                    self.assertEqual(status, 200, answer)
            self.assertEqual(watch.failures, [])
            self.assertLess(watch.memory_during - watch.memory_before, 200)
            self.assertLess(watch.settled(watch.memory_before + 60) - watch.memory_before, 100)

    def test_a_long_document_in_the_index_keeps_no_search_out(self):
        # As long as a line may be, or it is refused by name.
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            long = {"id": "long", "text": "amber cobalt " + "!" * 15_000_000}
            status, answer = server.json("POST", "/v1/documents", lines([long]), headers={"content-type": "application/x-ndjson"})
            self.assertEqual(status, 200, answer)
            for n in range(3):
                server.search(f"amber cobalt {n}", depth=60, deadline_millis=2_000)
            began = time.monotonic()
            status, answer = server.search("willow yarrow ridge", depth=3, deadline_millis=20_000)
            took = time.monotonic() - began
            print(f"    a search beside a document of 15 MB took {took * 1e3:.0f} ms; it was {answer['lines'] if 'lines' in answer else ''}", flush=True)
            self.assertEqual((status, answer["reranked"]), (200, True), answer)
            self.assertLess(took, 5)
            self.assertEqual(server.request("DELETE", "/v1/documents/long")[0] // 100 in (2, 4), True)

    def test_scored_work_is_answered_in_time_at_twice_the_capacity(self):
        depth, seconds = 24, 20
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            chance = random.Random(11)
            query = lambda: " ".join(chance.sample(WORDS, 4)) + f" {chance.random()}"
            began, n = time.monotonic(), 0
            while time.monotonic() - began < 5:
                n += server.search(query(), depth=depth)[1]["reranked"]
            capacity = max(n, 0.5) / (time.monotonic() - began)
            # Time for four searches at least: on a machine that is busy otherwise, one alone may take a second.
            rate, deadline = 2 * capacity, max(1.5, 4 / capacity)
            total = int(rate * seconds)
            queries = [query() for _ in range(total)]
            pairs, start, outcomes = server.metric("lorank_pairs_scored_total"), time.monotonic(), [None] * total

            def one(i):
                time.sleep(max(0, start + i / rate - time.monotonic()))
                began = time.monotonic()
                status, answer = server.search(queries[i], depth=depth, deadline_millis=int(deadline * 1_000))
                late = time.monotonic() - began > deadline + 1
                outcomes[i] = str(status) if status != 200 else "late" if late else "reranked" if answer["reranked"] else answer["fallback"]["reason"]

            in_threads(total, one)
            worth = (server.metric("lorank_pairs_scored_total") - pairs) / depth
            counts = Counter(outcomes)
            print(f"    {total} searches at {rate:.1f}/s (twice the capacity): {dict(counts)}; the model scored {worth:.0f} searches' worth",
                  flush=True)
            # Of the simulated queue's work 90 % is in time. Here the debug build shares two cores with its clients, so that its measured
            # pace is off by more; the bound is asked of an optimized one on an idle machine (LORANK_STRICT=1).
            share = 0.9 if os.environ.get("LORANK_STRICT") else 0.75
            self.assertGreaterEqual(counts["reranked"], share * worth - 2)

    def test_pairs_of_many_queries_are_one_submission(self):
        text = lambda n: f"{WORDS[n % 24]} {n} " + " ".join(WORDS[:20])
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            is_over = threading.Event()

            def client(n):
                i = 0
                while not is_over.is_set():
                    i += 1
                    server.search(f"{WORDS[n]} {i}", depth=10)

            clients = threading.Thread(target=in_threads, args=(4, client))
            clients.start()
            try:
                took = []
                for queries in ([text(1)], [text(100 + n) for n in range(40)]):
                    began = time.monotonic()
                    status, answer = server.json("POST", "/score", {"text_1": queries if len(queries) > 1 else queries[0],
                                                                    "text_2": [text(200 + n) for n in range(40)]}, timeout=120)
                    self.assertEqual((status, len(answer["data"])), (200, 40), answer)
                    took.append(time.monotonic() - began)
            finally:
                is_over.set()
                clients.join()
            print(f"    40 pairs beside 4 clients: of one query {took[0]:.2f} s, of 40 queries {took[1]:.2f} s", flush=True)
            self.assertLess(took[1], 3 * took[0] + 2)

    def test_a_memory_limit_of_512_mb_is_kept(self):
        with MemoryLimit(512 << 20) as limit, Server(self.index, "--adapter", "none", prefix=limit.prefix) as server:
            server.warm_up()
            body = b'{"query": "amber", "texts": ["' + b"x" * (15 << 20) + b'"]}'

            def greedy(n):
                for i in range(3):
                    if n % 3 == 0:
                        status = server.request("POST", "/rerank", body, {"content-type": "application/json"})[0]
                    elif n % 3 == 1:
                        status = server.search(f"{WORDS[n % 24]} {n} {i}", depth=200, deadline_millis=3_000)[0]
                    else:
                        status = server.request("POST", "/v1/documents", lines(documents(2_000, seed=n)), {"content-type": "application/x-ndjson"})[0]
                    assert status in (200, 409, 413, 429, 503), status

            in_threads(30, greedy)
            print(f"    the most memory under mixed load: {server.peak():.0f} MB, {limit.words}", flush=True)
            self.assertTrue(server.is_alive())
            self.assertLess(server.peak(), 512)


if __name__ == "__main__":
    unittest.main()
