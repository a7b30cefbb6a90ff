"""Power cuts and full disks: what was acknowledged is there afterwards, and what is there can be read."""

import glob
import http.client
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import unittest

import faults
from harness import ENVIRONMENT, LORANK, WORK, Server, documents, index, lines, run

NDJSON = {"content-type": "application/x-ndjson"}


def folder(name):
    path = os.path.join(WORK, name)
    os.makedirs(path, exist_ok=True)
    return path


class Disk(unittest.TestCase):
    def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(self):
        root = folder("cut-itself")
        script = """
import os, sys
os.chdir(sys.argv[1])
def write(name, text, syncs):
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(file, text)
    if syncs: os.fsync(file)
    os.close(file)
def sync_folder():
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
if sys.argv[2] == "first":
    for name in ("kept", "changed", "removed", "replaced"): write(name, b"old", True)
    write("empty", b"lost", False)
    sync_folder()
    write("nameless", b"x", True)
else:
    write("changed", b"new and longer", False)
    write("new", b"new", True)
    os.rename("new", "replaced")
    os.unlink("removed")
"""
        for step, expected in [("first", {"kept": b"old", "changed": b"old", "removed": b"old", "replaced": b"old", "empty": b""}),
                               ("second", {"kept": b"old", "changed": b"old", "removed": b"old", "replaced": b"old", "empty": b""})]:
            place = faults.PowerCut(root)
            subprocess.run([sys.executable, "-c", script, root, step], check=True, env={**os.environ, **place.environment()})
            self.assertGreater(place.cut(), 0)
            found = {}
            for name in os.listdir(root):
                with open(os.path.join(root, name), "rb") as file:
                    found[name] = file.read()
            self.assertEqual(found, expected, step)

    def test_a_power_cut_takes_no_acknowledged_event(self):
        data = folder("cut-events")
        place, acknowledged, n = faults.PowerCut(data), [], 0
        where = index("cut-events-index", documents(20))
        chance = random.Random(3)
        for _ in range(4):
            with Server(where, "--adapter", "none", data=data, environment=place.environment()) as server:
                killer = threading.Timer(chance.uniform(0.2, 1.2), server.process.kill)
                killer.start()
                try:
                    while True:
                        events = [{"action_name": "click", "query_id": "q", "event_id": f"e{n}-{i}", "timestamp": "2026-01-01T00:00:00Z"}
                                  for i in range(3)]
                        n += 1
                        if server.request("POST", "/v1/events", events)[0] == 200:
                            acknowledged += [event["event_id"] for event in events]
                except (OSError, http.client.HTTPException):
                    server.process.wait()
            lost = place.cut()
            [path] = glob.glob(os.path.join(data, "**", "experiments.sqlite"), recursive=True)
            database = sqlite3.connect(path)
            self.assertEqual(database.execute("PRAGMA integrity_check").fetchone()[0], "ok")
            kept = {row[0] for row in database.execute("SELECT event_id FROM events")}
            database.close()
            self.assertEqual(set(acknowledged) - kept, set())
            print(f"    a power cut undid {lost} changes of the experiments' database; all {len(acknowledged)} events are there", flush=True)

    def test_a_power_cut_takes_no_acknowledged_document(self):
        where = index("cut-index", documents(20))
        place, acknowledged, n = faults.PowerCut(where), set(), 0
        chance = random.Random(4)
        for _ in range(4):
            with Server(where, "--adapter", "none", environment=place.environment()) as server:
                killer = threading.Timer(chance.uniform(0.3, 1.5), server.process.kill)
                killer.start()
                try:
                    while True:
                        n += 1
                        new = [{"id": f"n{n}-{i}", "text": "amber"} for i in range(5)]
                        if server.request("POST", "/v1/documents", lines(new), NDJSON)[0] == 200:
                            acknowledged |= {document["id"] for document in new}
                except (OSError, http.client.HTTPException):
                    server.process.wait()
            lost = place.cut()
            with Server(where, "--adapter", "none") as server:
                missing = [id for id in acknowledged if server.request("GET", f"/v1/documents/{id}")[0] != 200]
                self.assertEqual(missing, [])
                self.assertEqual(server.search("amber")[0], 200)
            print(f"    a power cut undid {lost} changes of the index; all {len(acknowledged)} documents are there", flush=True)

    def test_a_power_cut_while_indexing_leaves_the_commit_before(self):
        where = index("cut-indexing", documents(200))
        place = faults.PowerCut(where)
        chance = random.Random(5)
        for _ in range(4):
            process = subprocess.Popen([LORANK, "index", "--index", where, "-", "-q"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       text=True, env={**ENVIRONMENT, **place.environment()})
            killer = threading.Timer(chance.uniform(0.05, 1.0), process.kill)
            killer.start()
            try:
                process.communicate(lines(documents(20_000, seed=9)))
            except OSError:
                process.wait()
            killer.cancel()
            lost = place.cut()
            n = json.loads(run("info", "--index", where, "--json").stdout).get("index", {}).get("n_documents")
            found = json.loads(run("search", "--index", where, "amber", "--no-rerank", "--json").stdout)
            self.assertTrue(found["hits"])
            print(f"    a power cut undid {lost} changes of `lorank index`; the index has {n} documents", flush=True)

    def test_a_power_cut_leaves_a_sound_registry(self):
        data = folder("cut-registry")
        place, acknowledged = faults.PowerCut(data), set()
        chance = random.Random(6)
        for n in range(12):
            command = ["adapters", "add", f"a{n}", "minilm-qa" if n % 2 else "minilm-science", "--data", data]
            process = subprocess.Popen([LORANK, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       env={**ENVIRONMENT, **place.environment()})
            try:
                process.wait(chance.uniform(0.05, 0.6) if n % 3 else 60)
            except subprocess.TimeoutExpired:
                process.kill()
            if process.wait() == 0:
                acknowledged.add(f"a{n}")
            place.cut()
            found = json.loads(run("adapters", "list", "--data", data, "--json").stdout)
            ids = {adapter["id"] for adapter in (found["adapters"] if isinstance(found, dict) else found)}
            self.assertEqual(acknowledged - ids, set())
            verified = run("adapters", "verify", "--data", data, check=False)
            damaged = [line for line in (verified.stdout + verified.stderr).splitlines() if "damaged" in line or "missing" in line]
            self.assertEqual(damaged, [])
        print(f"    {len(acknowledged)} of 12 adapters were acknowledged, and each power cut left them", flush=True)

    def test_a_full_disk_is_said_and_takes_nothing(self):
        where = index("full", documents(200))
        before = run("search", "--index", where, "amber", "--no-rerank", "--json").stdout
        for space in [0, 100, 10_000, 200_000]:
            environment = faults.preload(FAULTS_ROOT=where, FAULTS_SPACE=str(space))
            done = run("index", "--index", where, "-", "-q", stdin=lines(documents(20_000, seed=space)), environment=environment, check=False)
            self.assertEqual(done.returncode, 1, (space, done.returncode, done.stderr))
            self.assertIn("No space left on device", done.stderr)
            self.assertNotIn("panicked", done.stderr)
            after = run("search", "--index", where, "amber", "--no-rerank", "--json").stdout
            strip = lambda text: [hit["id"] for hit in json.loads(text)["hits"]]
            self.assertEqual(strip(after), strip(before))
        run("index", "--index", where, "-", "-q", stdin=lines(documents(300, seed=8)))

    def test_a_full_disk_below_a_server_is_said_and_goes_by(self):
        where, data = index("full-server", documents(50)), folder("full-server-data")
        for root in (where, data):
            with Server(where, "--adapter", "none", data=data,
                        environment=faults.preload(FAULTS_ROOT=root, FAULTS_SPACE="400000")) as server:
                statuses = set()
                for n in range(40):
                    statuses.add(server.request("POST", "/v1/documents", lines(documents(500, seed=n)), NDJSON)[0])
                    events = [{"action_name": "click", "query_id": "q", "event_id": f"{root}{n}-{i}", "message": "x" * 1_000,
                               "timestamp": "2026-01-01T00:00:00Z"} for i in range(40)]
                    statuses.add(server.request("POST", "/v1/events", events)[0])
                    self.assertEqual(server.search("amber", rerank=False)[0], 200)
                self.assertTrue(503 in statuses and statuses <= {200, 409, 503}, statuses)
                self.assertTrue(server.is_alive())


if __name__ == "__main__":
    unittest.main()
