"""The attacks of HTTP/2: floods of frames, streams that stop half-way, windows that never open, heads and bodies that grow."""

import json
import time
import unittest
import zlib

import hpack

from harness import Server, Watch, documents, in_threads, index, lines
from http2 import (CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, Client, flood, frame,
                   headers, waits_for_end)

MB = 1 << 20
JSON = [("content-type", "application/json")]
SEARCH = json.dumps({"query": "amber cobalt", "rerank": False, "top_k": 3}).encode()


def head(method="GET", path="/health", more=()):
    return hpack.Encoder().encode(headers(method, path, more))


def ended(server, reason):
    """How many connections ended for a reason."""
    return int(server.metric(f'lorank_connections_ended_total{{reason="{reason}"}}'))


class Http2(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.index = index("http2", documents(300))

    def check_health(self, watch, growth=100):
        """Nobody else has noticed, and memory has come back to within some MB."""
        self.assertEqual(watch.failures, [])
        self.assertLess(watch.settled(watch.memory_before + growth, 10) - watch.memory_before, growth)

    def test_requests_are_answered(self):
        # What the attacks below are compared with.
        with Server(self.index, "--adapter", "none") as server, Client(server) as client:
            status, body = client.ask("POST", "/v1/search", SEARCH, JSON)
            self.assertEqual((status, len(json.loads(body)["hits"])), (200, 3))
            self.assertEqual(client.ask("GET", "/openapi.json")[0], 200)
            self.assertEqual(client.ask("POST", "/v1/search", b"{", JSON)[0], 400)

    def test_heads_that_never_end_keep_nobody_out(self):
        with Server(self.index, "--adapter", "none", "--n-connections-max", "64", "--keep-alive-millis", "3000") as server:
            server.warm_up()
            with Watch(server, "200 connections with half a head") as watch:
                slow = [server.connect() for _ in range(200)]
                for n, connection in enumerate(slow):
                    try:
                        connection.sendall((PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM, 1, head()[:5]))[:[3, 30, 200][n % 3]])
                    except OSError:
                        pass  # it has made room already
                last = waits_for_end(slow[-1], 20)
            self.assertIsNotNone(last, "the last one is closed by the limit of 3 s")
            self.check_health(watch)

    def test_bodies_that_never_end_keep_nobody_out(self):
        with Server(self.index, "--adapter", "none", "--n-connections-max", "32", "--body-read-millis", "20000") as server:
            server.warm_up()
            slow = []
            for _ in range(32):
                client = Client(server)
                client.request("POST", "/v1/search", b'{"query": ', JSON, ends=False)
                slow.append(client)
            # They may be closed five seconds after their heads; the limit in time for a body is twenty.
            began = time.monotonic()
            statuses = in_threads(8, lambda _: server.request("GET", "/health")[0])
            took = time.monotonic() - began
            print(f"    8 clients got in beside 32 half bodies after {took:.1f} s", flush=True)
            self.assertEqual(set(statuses), {200})
            self.assertLess(took, 15)
            for client in slow:
                client.close()
        with Server(self.index, "--adapter", "none", "--body-read-millis", "1000") as server, Client(server) as client:
            self.assertEqual(client.read(client.request("POST", "/v1/search", b"{", JSON, ends=False))[0], 408)

    def test_streams_that_are_reset_at_once_cost_little(self):
        search = head("POST", "/v1/search", JSON)

        def resets():
            for first in range(1, 40_001, 200):
                yield b"".join(frame(HEADERS, END_HEADERS, n, search) + frame(RST_STREAM, 0, n, b"\0\0\0\x08") for n in range(first, first + 200, 2))

        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            with Watch(server, "4 floods of 20,000 resets") as watch:
                outcomes = in_threads(4, lambda _: flood(server, resets()))
            print(f"    the server, and after how many bytes: {outcomes}", flush=True)
            self.check_health(watch)

    def test_continuations_without_end_are_cut_off(self):
        def continuations():
            yield frame(HEADERS, END_STREAM, 1, head())
            for _ in range(100_000):
                yield frame(CONTINUATION, 0, 1, b"\0\x01x\x01y" * 200)

        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            with Watch(server, "4 floods of CONTINUATION") as watch:
                outcomes = in_threads(4, lambda _: flood(server, continuations()))
            print(f"    the server, and after how many bytes: {outcomes}", flush=True)
            for sent, outcome in outcomes:
                self.assertEqual(outcome, "closed the connection")
                self.assertLess(sent, 8 * MB)
            self.check_health(watch)

    def test_floods_of_settings_pings_and_windows_hold_no_memory(self):
        floods = {"SETTINGS": frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff"), "PING": frame(PING, 0, 0, b"12345678"),
                  "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"), "empty DATA": frame(0, 0, 1),
                  "unknown frames": frame(0x42, 0, 0, b"x" * 16)}
        with Server(self.index, "--adapter", "none", "--write-millis", "3000") as server:
            server.warm_up()
            for name, one in floods.items():
                with Watch(server, f"4 floods of {name}") as watch:
                    outcomes = in_threads(4, lambda _: flood(server, (one * 1_000 for _ in range(2_000)), 1.5))
                print(f"    the server, and after how many bytes: {outcomes}", flush=True)
                self.check_health(watch)

    def test_many_streams_with_half_a_body_share_the_budget(self):
        length = [*JSON, ("content-length", "16000000")]
        with Server(self.index, "--adapter", "none", "--bodies-bytes-max", str(64 * MB)) as server:
            server.warm_up()
            with Watch(server, "20 connections of 100 half bodies") as watch:
                def client(_):
                    client, streams = Client(server), []
                    for _ in range(100):
                        streams.append(client.request("POST", "/rerank", b"a" * MB, length, ends=False))
                        client.receive(0.001)
                    for _ in range(20):
                        # More of each body, as the windows open.
                        for stream in streams:
                            try:
                                n = min(client.state.local_flow_control_window(stream), client.state.max_outbound_frame_size)
                                if n > 0:
                                    client.state.send_data(stream, b"a" * n)
                            except Exception:  # the server has reset it
                                pass
                        if client.is_over:
                            break
                        try:
                            client.flush()
                        except OSError:
                            break
                        client.receive(0.01)
                    return client

                clients = in_threads(20, client)
                held = server.metric("lorank_request_bodies_bytes")
                for one in clients:
                    one.close()
            print(f"    bodies held {held / MB:.0f} MiB of the 64 that they may", flush=True)
            self.assertLessEqual(held, 64 * MB)
            self.assertLess(watch.memory_during - watch.memory_before, 300)
            self.check_health(watch)

    def test_windows_that_never_open_are_cut_off(self):
        with Server(self.index, "--adapter", "none", "--write-millis", "2000") as server:
            server.warm_up()
            for window in (0, 1, 20_000):
                before = ended(server, "slow_write")
                with Watch(server, f"20 connections of 100 answers that find a window of {window}") as watch:
                    def client(_):
                        client = Client(server, window=window)
                        try:
                            for _ in range(100):
                                client.request("GET", "/openapi.json")
                        except OSError:
                            return 0.0  # on a busy machine the first answers have waited long enough by now
                        # All but the answers' bodies is taken.
                        return waits_for_end(client.socket, 60)

                    took = in_threads(20, client)
                self.assertNotIn(None, took)
                print(f"    all were closed, the last one after {max(took):.1f} s with a limit of 2 s", flush=True)
                # A client sees its connection closed a moment before the server counts it.
                deadline = time.monotonic() + 5
                while ended(server, "slow_write") - before < 20 and time.monotonic() < deadline:
                    time.sleep(0.05)
                self.assertEqual(ended(server, "slow_write") - before, 20)
                self.assertLess(watch.memory_during - watch.memory_before, 400)
                self.check_health(watch)

    def test_heads_that_grow_are_refused(self):
        # A long value that is kept once and named again by one byte each time: 4 kB become 160 MB.
        long = hpack.Encoder().encode(headers("GET", "/health", [("x", "a" * 4_000)]))
        bomb = long + b"\xbe" * 40_000

        def bombs():
            for n in range(1, 2_001, 2):
                parts = [bomb[at:at + 16_000] for at in range(0, len(bomb), 16_000)]
                yield frame(HEADERS, END_STREAM, n, parts[0]) + b"".join(
                    frame(CONTINUATION, END_HEADERS if part is parts[-1] else 0, n, part) for part in parts[1:])

        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            with Watch(server, "4 floods of heads of 160 MB in 44 kB") as watch:
                outcomes = in_threads(4, lambda _: flood(server, bombs()))
            print(f"    the server, and after how many bytes: {outcomes}", flush=True)
            self.assertLess(watch.memory_during - watch.memory_before, 100)
            self.check_health(watch)

    def test_bodies_that_grow_when_they_are_decoded_are_refused(self):
        pack = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = b"".join(pack.compress(b" " * (64 * MB)) for _ in range(8)) + pack.flush()
        gzip = [("content-encoding", "gzip")]
        with Server(self.index, "--adapter", "none") as server:
            server.warm_up()
            with Watch(server, f"8 bodies of 512 MiB in {len(bomb) >> 10} KiB") as watch:
                def ask(n):
                    path, kind = [("/rerank", "application/json"), ("/v1/documents", "application/x-ndjson")][n % 2]
                    if n < 4:
                        return server.request("POST", path, bomb, {"content-type": kind, **dict(gzip)})[0]
                    # What the first windows let through is enough.
                    with Client(server) as client:
                        return client.read(client.request("POST", "/rerank", bomb, [*JSON, *gzip], ends=False))[0]

                statuses = in_threads(8, ask)
            self.assertEqual(set(statuses), {413})
            self.assertLess(watch.memory_during - watch.memory_before, 200)
            self.check_health(watch)
            self.assertEqual(server.request("POST", "/v1/documents", lines([{"id": "a", "text": "b"}]),
                                            {"content-type": "application/x-ndjson"})[0], 200)


if __name__ == "__main__":
    unittest.main()
