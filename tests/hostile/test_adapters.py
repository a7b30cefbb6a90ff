"""Adapters: a thousand of them, and ids and sources that are none."""

import json
import os
import shutil
import time
import unittest

from harness import WORK, Server, documents, in_threads, index, run


class Adapters(unittest.TestCase):
    def test_more_adapters_than_fit_in_memory_are_served(self):
        data = os.path.join(WORK, "many")
        began = time.monotonic()
        with Server(index("many-index", documents(50)), "--adapter", "none", "--adapter-bytes-max", str(64 << 20), "--adapter-source", WORK,
                    data=data) as server:
            source = os.path.join(WORK, "starter-copy")
            run("adapters", "add", "a0", "minilm-qa", "--data", data)
            time.sleep(1.5)
            [weights] = [os.path.join(folder, name) for folder, _, names in os.walk(data) for name in names if name.endswith(".safetensors")]
            shutil.copytree(os.path.dirname(weights), source)
            for n in range(1, int(os.environ.get("N_ADAPTERS", "60"))):
                # Another content for each: the bytes after the header are the last tensor's.
                with open(os.path.join(source, os.path.basename(weights)), "r+b") as file:
                    file.seek(-4, os.SEEK_END)
                    file.write(n.to_bytes(2, "little") + b"\x00\x3c")
                status, answer, _ = server.request("PUT", f"/v1/adapters/a{n}", {"source": source})
                self.assertEqual(status, 201, answer)
            added = time.monotonic() - began
            n_adapters = len(server.json("GET", "/v1/adapters")[1]["adapters"])

            def ask(n):
                for i in range(n, n_adapters, 8):
                    status, answer = server.search("amber", adapter=f"a{i}", depth=3, deadline_millis=20_000)
                    assert (status, answer["reranked"]) == (200, True), answer

            in_threads(8, ask)
            held = server.metric("lorank_adapters_bytes")
            print(f"    {n_adapters} adapters added in {added:.0f} s, each asked for; {held / 2**20:.0f} MiB in memory, the process "
                  f"{server.memory():.0f} MB", flush=True)
            self.assertLess(held, 128 << 20)
            self.assertLess(server.memory(), 700)

    def test_what_is_no_adapter_is_refused(self):
        outside = os.path.join(WORK, "outside")
        inside = os.path.join(WORK, "inside")
        os.makedirs(outside, exist_ok=True)
        os.makedirs(inside, exist_ok=True)
        os.symlink(outside, os.path.join(inside, "link"))
        fifo = os.path.join(inside, "fifo")
        os.makedirs(fifo)
        os.mkfifo(os.path.join(fifo, "adapter_config.json"))
        zero = os.path.join(inside, "zero")
        os.makedirs(zero)
        os.symlink("/dev/zero", os.path.join(zero, "adapter_config.json"))
        with Server(index("no-adapters", documents(20)), "--adapter", "none", "--adapter-source", inside) as server:
            memory = server.memory()
            for id, source in [("none", inside), ("first-stage", inside), ("a", outside), ("a", os.path.join(inside, "link")),
                               ("a", os.path.join(inside, "..", "outside")), ("a", "/etc"), ("a", "hf://owner/name"), ("a", fifo), ("a", zero),
                               ("a", os.path.join(inside, "nowhere")), ("a", ""), ("../a", inside), ("a" * 5_000, inside)]:
                began = time.monotonic()
                status, answer, _ = server.request("PUT", f"/v1/adapters/{id.replace('/', '%2F')}", {"source": source}, timeout=20)
                self.assertTrue(400 <= status < 500, (id[:20], source, status, answer))
                self.assertLess(time.monotonic() - began, 5)
            self.assertLess(server.memory() - memory, 50)
            self.assertEqual(json.loads(server.request("GET", "/v1/adapters")[1])["adapters"], [])


if __name__ == "__main__":
    unittest.main()
