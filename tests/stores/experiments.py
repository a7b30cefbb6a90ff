#!/usr/bin/env python3
"""Experiments that lorank servers share in PostgreSQL: `experiments.py`. Prints each check; a failed one ends the run."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import LORANK, Load, Lorank, Postgres, certificates, until

ARMS = [{"name": "control", "model": "first-stage", "weight": 1}, {"name": "base", "model": "none", "weight": 1}]
N_UNITS = 40


def lorank(*arguments, check=True):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LORANK_")} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([LORANK, "--quiet", *map(str, arguments)], capture_output=True, text=True, timeout=120, env=environment)
    assert not check or done.returncode == 0, (arguments, done.stderr)
    return done


def an_index(folder):
    documents = folder / "documents.jsonl"
    documents.write_text("".join(json.dumps({"id": f"d{n}", "text": f"Boil the egg for {n} minutes."}) + "\n" for n in range(4)))
    lorank("index", "--index", folder / "index", documents)
    return folder / "index"


def search(server, unit):
    status, answer = server.ask("/v1/search", {"query": "egg", "unit_id": unit})
    assert status == 200, answer
    return answer


def arm(server, unit):
    return (search(server, unit)["experiment"] or {}).get("arm")


def click(event_id, query_id, object_id="d1"):
    return {"event_id": event_id, "action_name": "click", "query_id": query_id, "object_id": object_id, "timestamp": int(time.time() * 1000)}


def state(server, name="shared"):
    status, answer = server.ask(f"/v1/experiments/{name}")
    return answer if status == 200 else {}


def servers_share_experiments(one, other):
    """What one server creates, starts, raises and stops, the other one does within seconds, and units get the same arm."""
    status, answer = one.ask("/v1/experiments", {"id": "shared", "salt": "1", "layer": "main", "traffic_share": 0.5, "arms": ARMS})
    assert status == 201, answer
    assert one.ask("/v1/experiments/shared/start", {}, "POST")[0] == 200
    began = time.monotonic()
    until(lambda: any(arm(other, f"unit-{n}") for n in range(N_UNITS)), "the other server runs it", 5)
    print(f"   started at the other server after {time.monotonic() - began:.1f} s")
    arms = [[arm(server, f"unit-{n}") for n in range(N_UNITS)] for server in [one, other]]
    assert arms[0] == arms[1] and set(arms[0]) == {None, "control", "base"}, arms
    status, answer = other.ask("/v1/experiments/shared", {"traffic_share": 1.0}, "PATCH")
    assert status == 200, answer
    until(lambda: all(arm(one, f"unit-{n}") for n in range(N_UNITS)), "the share is raised at the first server", 5)
    raised = [[arm(server, f"unit-{n}") for n in range(N_UNITS)] for server in [one, other]]
    assert raised[0] == raised[1], raised
    assert all(before in (None, after) for before, after in zip(arms[0], raised[0])), "no unit changes its arm"


def an_event_counts_once_however_many_servers_get_it(postgres, one, other):
    answers = [search(one, f"unit-{n}")["request_id"] for n in range(20)]
    events = [click(f"once-{n}", request) for n, request in enumerate(answers)]
    accepted = []

    def send(server):
        for event in events:
            status, answer = server.ask("/v1/events", [event])
            assert status == 200, answer
            accepted.append(answer["accepted"])

    threads = [threading.Thread(target=send, args=(server,)) for server in [one, other, one, other]]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(accepted) == len(events) and len(accepted) == 4 * len(events), sum(accepted)
    assert postgres.query("select count(*), count(distinct event_id) from events where event_id like 'once-%'") == "20|20"
    until(lambda: report(one) == report(other), "both servers report the same", 5)


def report(server):
    status, answer = server.ask("/v1/experiments/shared/report")
    assert status == 200, answer
    return answer


def acknowledged_events_outlive_the_server(postgres, one, other, name, down, up):
    """Under load PostgreSQL goes away and comes back: no search fails, and what was acknowledged is there, once."""
    acknowledged, lock = [], threading.Lock()

    def submit(n):
        event_id = f"{name}-{n}"
        status, answer = (one, other)[n % 2].ask("/v1/events", [click(event_id, "none")], timeout=120)
        if status == 200:
            with lock:
                acknowledged.append(event_id)
        else:
            time.sleep(0.05)
        return status

    with Load(lambda n: search((one, other)[n % 2], f"unit-{n % N_UNITS}")["request_id"]) as searches, Load(submit, 4) as events:
        until(lambda: len(acknowledged) > 100, "events are acknowledged", 60)
        down()
        searches.wait_for_more(30)
        up()
        n_before = len(acknowledged)
        until(lambda: len(acknowledged) > n_before + 100, "events are acknowledged again", 60)
    slowest = max(took for _, took, _ in searches.results)
    stored = set(postgres.query(f"select event_id from events where event_id like '{name}-%'").split())
    assert set(acknowledged) <= stored, set(acknowledged) - stored
    assert len(acknowledged) == len(set(acknowledged))
    n_refused = sum(1 for _, _, status in events.results if status != 200)
    print(f"   {name}: {len(searches.results)} searches, none failed, slowest {slowest:.2f} s; {len(acknowledged)} events acknowledged, "
          f"all stored; {n_refused} refused")
    # Exposures wait for the database.
    ids = [request for _, _, request in searches.results]
    until(lambda: all_stored(postgres, ids), f"{name}: all exposures are stored", 20)


def submitted(server, events):
    """The status of a submission, its time to retry, and how long it took."""
    request = urllib.request.Request(server.url + "/v1/events", json.dumps(events).encode(), {"content-type": "application/json"})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read()), None, time.monotonic() - began
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers["retry-after"], time.monotonic() - began


def a_store_that_stands_still_refuses_events_in_time(postgres, flags):
    """PostgreSQL stands still: submissions are refused within the limit, searches go on, and events that are sent again count once."""
    n_events = 40
    with Lorank(*flags, "--store-wait-millis", "1500") as server:
        search(server, "unit-1")
        events = [click(f"still-{n}", "none") for n in range(n_events)]
        assert submitted(server, events[0])[0] == 200
        postgres.signal_all(signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(n_events) as pool:
                refused = list(pool.map(lambda event: submitted(server, event), events))
                slowest = max(took for *_, took in refused)
                for status, answer, retry_after, _ in refused:
                    assert status == 503 and int(retry_after) >= 1 and answer["error"]["kind"] == "unavailable", (status, answer, retry_after)
                    assert "did not confirm the records within 1.5 s" in answer["error"]["message"], answer
                assert slowest < 10, slowest
                # Nothing waits for the store: searches, the readiness check, and changes, which are refused in time, too.
                began = time.monotonic()
                [search(server, f"unit-{n}") for n in range(20)]
                assert server.ask("/ready")[0] == 200
                assert time.monotonic() - began < 10
                status, answer = server.ask("/v1/experiments/shared", {"end_millis": None}, "PATCH", timeout=20)
                assert status == 503, (status, answer)
        finally:
            postgres.signal_all(signal.SIGCONT)
        for event in events:
            until(lambda: submitted(server, event)[0] == 200, "events are stored again")
        assert postgres.query("select count(*), count(distinct event_id) from events where event_id like 'still-%'") == f"{n_events}|{n_events}"
        print(f"   {n_events} submissions were refused, the slowest after {slowest:.1f} s")
        postgres.signal_all(signal.SIGSTOP)
        try:
            assert submitted(server, click("still-last", "none"))[0] == 503
            began = time.monotonic()
            server.send(signal.SIGTERM)
            assert server.process.wait(60) == 1 and "could not write the last exposures" in server.messages(), server.messages()
            print(f"   it ended after {time.monotonic() - began:.1f} s beside a store that stands still")
        finally:
            postgres.signal_all(signal.SIGCONT)


def all_stored(postgres, ids):
    names = ",".join(f"'{one}'" for one in ids)
    return int(postgres.query(f"select count(distinct request_id) from exposures where request_id in ({names})")) == len(set(ids))


def a_file_is_copied(postgres, folder, index):
    """A store in SQLite, filled by a server of its own, has the same reports after the copy."""
    with Lorank("--index", index, data=folder / "file") as alone:
        draft = {"id": "copied", "salt": "2", "layer": "other", "traffic_share": 1.0, "arms": ARMS}
        assert alone.ask("/v1/experiments", draft)[0] == 201
        assert alone.ask("/v1/experiments/copied/start", {}, "POST")[0] == 200
        for n in range(30):
            answer = search(alone, f"unit-{n}")
            assert answer["experiment"]["id"] == "copied"
            if n % 3:
                assert alone.ask("/v1/events", [click(f"copied-{n}", answer["request_id"], "d2")])[1]["accepted"] == 1
        alone.stop()
    file, store = ["--data", folder / "file"], ["--data", folder / "none", "--store", postgres.url]
    copied = json.loads(lorank("experiments", "copy", "--json", *file, "--store", postgres.url).stdout)
    assert (copied["n_experiments"], copied["n_exposures"], copied["n_events"]) == (1, 30, 20), copied
    again = json.loads(lorank("experiments", "copy", "--json", *file, "--store", postgres.url).stdout)
    assert (again["n_experiments"], again["n_exposures"], again["n_events"]) == (0, 0, 0), again
    for command in [["report", "copied", "--json"], ["show", "copied", "--json"]]:
        before, after = [json.loads(lorank("experiments", *command, *where).stdout) for where in [file, store]]
        assert before == after, (command, before, after)
    assert "copied" in lorank("experiments", "list", *store).stdout
    lorank("experiments", "stop", "copied", *store)


def secrets_are_in_no_output(folder, index):
    """TLS, and errors that name the address without its password."""
    certificates(folder)
    with Postgres(tls=folder) as postgres:
        url = postgres.url + "?sslmode=require"
        with Lorank("--index", index, "--store", url, "--store-ca", str(folder / "ca.pem")) as server:
            search(server, "unit-1")
            until(lambda: postgres.query("select count(*) from exposures") == "1", "the exposure is stored", 10)
            encrypted = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'lorank'"
            assert postgres.query(encrypted) == "t"
            assert "sesame" not in server.messages(), server.messages()
        for flags, part in [
            (["--store", url], "certificate"),
            (["--store", url.replace("open-sesame", "close-sesame"), "--store-ca", folder / "ca.pem"], "password authentication failed"),
            (["--store", postgres.url.replace(str(postgres.port), "1")], "could not open `postgres://lorank:***@127.0.0.1:1/postgres`"),
        ]:
            done = lorank("experiments", "list", "--data", folder / "none", *flags, check=False)
            assert done.returncode == 1 and part in done.stderr and "sesame" not in done.stderr, done.stderr
        shown = lorank("config", "show", "--store", url).stdout
        assert "sesame" not in shown and "***" in shown, shown
        postgres.query("update lorank_schema set version = 99")
        done = lorank("experiments", "list", "--data", folder / "none", "--store", url, "--store-ca", folder / "ca.pem", check=False)
        assert done.returncode == 1 and "has the schema 99" in done.stderr and "sesame" not in done.stderr, done.stderr


def main():
    with tempfile.TemporaryDirectory() as folder, Postgres() as postgres:
        folder = Path(folder)
        index = an_index(folder)
        flags = ["--index", index, "--store", postgres.url]
        with Lorank(*flags) as one, Lorank(*flags) as other:
            servers_share_experiments(one, other)
            print("ok servers share experiments")
            an_event_counts_once_however_many_servers_get_it(postgres, one, other)
            print("ok an event counts once, however many servers get it")
            crash = lambda: (postgres.kill(), time.sleep(1))
            acknowledged_events_outlive_the_server(postgres, one, other, "kill", crash, postgres.start)
            stop, go_on = lambda: postgres.signal_all(signal.SIGSTOP), lambda: postgres.signal_all(signal.SIGCONT)
            acknowledged_events_outlive_the_server(postgres, one, other, "stop", stop, go_on)
            print("ok acknowledged events outlive PostgreSQL, and searches go on without it")
            a_store_that_stands_still_refuses_events_in_time(postgres, flags)
            print("ok a store that stands still refuses events in time")
            assert one.ask("/v1/experiments/shared/stop", {}, "POST")[0] == 200
            until(lambda: arm(other, "unit-1") is None, "it is stopped at the other server", 5)
            print("ok they stop together")
            a_file_is_copied(postgres, folder, index)
            print("ok a store in SQLite is copied")
            one.stop()
            other.stop()
    with tempfile.TemporaryDirectory() as folder:
        secrets_are_in_no_output(Path(folder), an_index(Path(folder)))
    print("ok TLS and passwords, which are in no output")


if __name__ == "__main__":
    main()
