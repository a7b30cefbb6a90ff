"""Clients that are many, slow, greedy or malformed."""

import itertools
import json
import os
import resource
import socket
import threading
import time
import unittest

from harness import Server, Watch, documents, in_threads, index, run, lines

MB = 1 << 20


def post_head(path, length, content_type="application/json", more=""):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n{more}\r\n"
            ).encode()


def answer(connection):
    """The status line of an answer, or nothing where the connection was closed without one."""
    connection.settimeout(30)
    try:
        return connection.recv(64).decode("latin-1").split("\r\n")[0]
    except OSError:
        return ""


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.index = index("clients", documents(300))

    def test_bodies_half_sent_are_bounded_and_their_memory_comes_back(self):
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            with Watch(server, "150 half bodies of 15 MiB") as watch:
                connections = [server.connect() for _ in range(150)]
                for connection in connections:
                    connection.sendall(post_head("/rerank", 16_777_000))
                    connection.setblocking(False)
                chunk, sent = b"a" * MB, [0] * len(connections)
                for _ in range(40):
                    for n, connection in enumerate(connections):
                        if sent[n] < 15 * MB:
                            try:
                                sent[n] += connection.send(chunk)
                            except BlockingIOError:
                                pass
                            except OSError:
                                sent[n] = 15 * MB
                    time.sleep(0.02)
                for connection in connections:
                    connection.close()
            after = watch.settled(watch.memory_before + 60)
            self.assertLess(watch.memory_during - watch.memory_before, 450)
            self.assertLess(after - watch.memory_before, 100)
            self.assertEqual(watch.failures, [])

    def test_health_answers_beside_large_bodies(self):
        text = "cobalt " * 40
        body = json.dumps({"query": "amber", "texts": [text] * 9_000, "raw_scores": True})
        body += " " * (16 * MB - len(body) - 100)
        with Server(self.index, "--adapter", "none", "--n-documents-max", "8000") as server:
            server.warm_up()
            with Watch(server, "eight bodies of 16 MiB") as watch:
                statuses = in_threads(8, lambda _: [server.request("POST", "/rerank", body, {"content-type": "application/json"})[0]
                                                    for _ in range(4)])
            self.assertEqual({status for four in statuses for status in four}, {413})
            self.assertEqual(watch.failures, [])
            # The debug build on a shared machine; the bound of 50 ms is asked of an optimized one (LORANK_STRICT=1).
            limit = 50 if os.environ.get("LORANK_STRICT") else 500
            self.assertLess(sorted(watch.health_times)[int(len(watch.health_times) * 0.99)], limit)
            self.assertLess(watch.settled(watch.memory_before + 60) - watch.memory_before, 100)

    def test_values_of_many_small_parts_are_bounded(self):
        many = {"/v1/events": "[" + "[]," * 5_000_000 + "[]]",
                "/v1/search": '{"query": "amber", "fields": [' + '"",' * 3_000_000 + '""]}',
                "/v1/compare": '{"query": "amber", "adapters": [' + '"",' * 3_000_000 + '""]}',
                "/rerank": '{"query": "amber", "texts": [' + '"",' * 3_000_000 + '""]}',
                "/v1/experiments": '{"id": ' + "[" * 100_000 + "]" * 100_000 + "}"}
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            with Watch(server, "millions of small values") as watch:
                for path, body in many.items():
                    statuses = in_threads(6, lambda _: server.request("POST", path, body, {"content-type": "application/json"})[0])
                    self.assertTrue(set(statuses) <= {400, 413, 422, 429}, (path, statuses))
            self.assertLess(watch.memory_during - watch.memory_before, 1_500)
            self.assertLess(watch.settled(watch.memory_before + 60) - watch.memory_before, 150)

    def test_methods_and_paths_that_are_made_up_leave_nothing_behind(self):
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            series = lambda: len(server.request("GET", "/metrics")[1].splitlines())
            ask = lambda method, path: server.request(method, path)[0]
            ask("BREW", "/health"), ask("BREW", "/v1/search"), ask("BREW", "/nowhere"), series()
            before, memory = series(), server.memory()
            for n in range(300):
                with server.connect() as connection:
                    connection.sendall(f"M{n}{'X' * 30_000} /health HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    self.assertIn(" 405 ", answer(connection))
                ask(f"BREW{n}", f"/nowhere/{n}")
            self.assertEqual(series(), before)
            self.assertLess(server.memory() - memory, 30)
            with server.connect() as connection:
                connection.sendall(b"X" * 400_000 + b" /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(" 431 ", answer(connection) or " 431 ")

    def test_slow_uploads_keep_no_writer_waiting(self):
        with Server(self.index, "--adapter", "none", "--body-read-millis", "4000") as server:
            uploads = [server.connect() for _ in range(24)]
            for connection in uploads:
                connection.sendall(post_head("/v1/documents", 1_000_000, "application/x-ndjson"))
                connection.sendall(b'{"id": "slow", "text": "slow"}\n')
            is_over = threading.Event()

            def drip():
                while not is_over.wait(0.5):
                    for connection in uploads:
                        try:
                            connection.sendall(b"\n")
                        except OSError:
                            pass

            dripping = threading.Thread(target=drip)
            dripping.start()
            try:
                began = time.monotonic()
                status, _, _ = server.request("POST", "/v1/documents", lines([{"id": "quick", "text": "quick"}]),
                                              {"content-type": "application/x-ndjson"})
                took = time.monotonic() - began
                self.assertEqual(status, 200)
                self.assertEqual(server.request("DELETE", "/v1/documents/quick")[0], 204)
                # The server lets the index go after ten seconds without a change, whatever the uploads do.
                for _ in range(30):
                    done = run("index", "--index", self.index, "-", "-q", stdin=lines([{"id": "d0", "text": "amber"}]), check=False)
                    if done.returncode == 0:
                        break
                    time.sleep(1)
                self.assertEqual(done.returncode, 0, done.stderr)
                print(f"    a change beside 24 slow uploads took {took * 1e3:.0f} ms; `lorank index` had the index", flush=True)
                self.assertIn(" 408 ", answer(uploads[0]))
            finally:
                is_over.set()
                dripping.join()
            self.assertEqual(server.request("GET", "/v1/documents/slow")[0], 404)

    def test_requests_that_have_arrived_are_answered(self):
        with Server(self.index, "--adapter", "none", "--n-connections-max", "32") as server:
            server.warm_up()
            request = b"GET /v1/search?q=amber&rerank=false HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\n\r\n"

            def client(_):
                answered = 0
                for _ in range(8):
                    with server.connect() as connection:
                        connection.sendall(request)
                        answered += answer(connection).startswith("HTTP/1.1 ")
                return answered

            with Watch(server, "128 clients on 32 connections"):
                answered = sum(in_threads(128, client))
            print(f"    {answered} of {128 * 8} whole requests were answered", flush=True)
            self.assertEqual(answered, 128 * 8)

    def test_connections_that_say_nothing_keep_nobody_out(self):
        with Server(self.index, "--adapter", "none", "--n-connections-max", "64") as server:
            server.warm_up()
            silent = []
            for n in range(300):
                connection = server.connect()
                if n % 3:
                    connection.sendall(b"GET /health HT"[: n % 14])
                silent.append(connection)
            began = time.monotonic()
            for _ in range(10):
                self.assertEqual(server.request("GET", "/health")[0], 200)
            self.assertLess(time.monotonic() - began, 20)

    def test_file_descriptors_that_run_out_end_nothing(self):
        limit = ["bash", "-c", 'ulimit -n 64; exec "$@"', "-"]
        with Server(self.index, "--adapter", "none", prefix=limit) as server:
            server.warm_up()
            held = []
            for _ in range(200):
                try:
                    held.append(server.connect(2))
                except OSError:
                    break
            statuses = [server.request("GET", "/v1/search?q=amber")[0] for _ in range(5)]
            self.assertTrue(set(statuses) <= {200, 503, 500}, statuses)
            for connection in held:
                connection.close()
            self.assertEqual(server.search("amber cobalt")[0], 200)
            status, _, _ = server.request("POST", "/v1/documents", lines([{"id": "fd", "text": "fd"}]),
                                          {"content-type": "application/x-ndjson"})
            self.assertEqual(status, 200)

    def test_descriptors_that_come_back_are_used(self):
        with Server(self.index, "--adapter", "none", prefix=["bash", "-c", 'ulimit -n 400; exec "$@"', "-"]) as server:
            server.warm_up()
            limit = lambda n: resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (n, 400))
            n_open = lambda: int(server.metric("lorank_connections"))
            hold = lambda n: [server.connect() for _ in range(n)]
            limit(len(os.listdir(f"/proc/{server.process.pid}/fd")) + 20)
            held = hold(60)
            time.sleep(1)
            few = n_open()
            limit(400)
            # The server looks for more once a second, when somebody waits for a place.
            time.sleep(1.2)
            held += hold(150)
            many, until = n_open(), time.monotonic() + 10
            while many < 150 and time.monotonic() < until:
                time.sleep(0.2)
                many = max(many, n_open())
            print(f"    {few} connections while there were 20 descriptors for them, {many} of 150 once there were more", flush=True)
            self.assertLess(few, 25)
            self.assertGreaterEqual(many, 150)
            self.assertEqual(server.search("amber")[0], 200)

    def test_expect_is_answered_by_the_length(self):
        with Server(self.index, "--adapter", "none") as server:
            for path, content_type in [("/v1/search", "application/json"), ("/rerank", "application/json"),
                                       ("/v1/documents", "application/x-ndjson"), ("/v1/experiments", "application/json"),
                                       ("/v1/aliases/a", "application/json")]:
                for encoding, length in itertools.product(("", "content-encoding: gzip\r\n"), (300 * MB, 100_000_000_000, (1 << 63) - 1)):
                    with server.connect() as connection:
                        head = post_head(path, length, content_type, f"expect: 100-continue\r\n{encoding}")
                        connection.sendall(head if path != "/v1/aliases/a" else head.replace(b"POST", b"PUT", 1))
                        self.assertIn(" 413 ", answer(connection), (path, encoding, length))

    def test_malformed_requests_are_refused_or_closed(self):
        garbage = [b"\0" * 1000, b"\xff\xfe" * 500, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
                   b"GET / HTTP/1.1\r\nHost: a\r\ncontent-length: -1\r\n\r\n", b"\x16\x03\x01" + b"a" * 200,
                   b"POST /rerank HTTP/1.1\r\nHost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                   b"POST /rerank HTTP/1.1\r\nHost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
                   b"POST /rerank HTTP/1.1\r\nHost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                   b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
                   b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(5_000)) + b"\r\n",
                   b"GET / HTTP/1.1\r\nHost: localhost\r\nx: " + b"a" * 200_000 + b"\r\n\r\n"]
        with Server(self.index, "--adapter", "none") as server:
            for sent in garbage:
                with server.connect() as connection:
                    try:
                        connection.sendall(sent)
                        connection.shutdown(socket.SHUT_WR)
                        got = answer(connection)
                    except OSError:
                        got = ""
                    self.assertFalse(got.startswith(("HTTP/1.1 2", "HTTP/1.1 5")), (sent[:60], got))
            self.assertEqual(server.search("amber")[0], 200)


if __name__ == "__main__":
    unittest.main()
