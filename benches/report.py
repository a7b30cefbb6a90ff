#!/usr/bin/env python3
"""Measures how long the report of an experiment takes over millions of events, and prints a table in Markdown.

    python3 benches/report.py --lorank target/release/lorank [--events 10000000] [--folder FOLDER] [--store URL]

It fills the store of a new data folder, or an empty database of PostgreSQL: for four events an answer, for five answers a unit, two arms.
Then it starts the server, and asks for the report: for the first time, again, with `if-none-match`, after more events, and from a command
of its own. Ten million events take 4 GB of disk in the folder (default: the folder for temporary files) or in the database. Needs only
Python's standard library and Linux; with --store, `psql`.
"""
import argparse
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--lorank', default='target/release/lorank')
parser.add_argument('--events', type=int, default=10_000_000)
parser.add_argument('--folder', help='where the data folder is made')
parser.add_argument('--store', help='the address of an empty database of PostgreSQL, instead of SQLite in the data folder')
options = parser.parse_args()

EVENTS_PER_ANSWER = 4
ANSWERS_PER_UNIT = 5
DAYS = 14
# Answers come over two weeks until a minute ago.
END_MILLIS = int(time.time() * 1000) - 60_000
START_MILLIS = END_MILLIS - DAYS * 86_400_000
n_answers = options.events // EVENTS_PER_ANSWER
n_units = n_answers // ANSWERS_PER_UNIT


STORE = ['--store', options.store] if options.store else []


def lorank(*arguments, **more):
    return subprocess.run([options.lorank, *arguments], check=True, **more)


def statements(numbers, hexadecimal, hits, iif, empty, units):
    """Answers and events, made by the database itself: through the server they would take hours. Ids have the length and the order of
    the server's own, which are UUIDs of version 7."""
    step_millis = (END_MILLIS - START_MILLIS) // n_answers
    answered_millis = lambda n: f'({START_MILLIS} + {n} * {step_millis})'
    request = lambda n: f"{hexadecimal(answered_millis(n), 12)} || '-7000-8000-' || {hexadecimal(n, 12)}"
    answer = f'((n - 1) / {EVENTS_PER_ANSWER} + 1)'
    clicked_millis = f'{answered_millis(answer)} + 1000'
    return [
        f'''{numbers(n_answers)}
        INSERT INTO exposures (request_id, experiment, unit, arm, arm_name, forced, teams, index_name, query, hits, first_rank,
                               latency_micros, fallback, model, at_millis)
        SELECT {request('n')}, 'big', 'unit-' || (n * 7919 % {units}), n * 7919 % {units} % 2, '', 0, {empty}, 'default',
               'query ' || (n % 1000), '{hits}', 1, 1000 + n % 5000, NULL, NULL, {answered_millis('n')} FROM n''',
        f'''{numbers(n_answers * EVENTS_PER_ANSWER)}
        INSERT INTO events (event_id, query_id, client_id, action_name, object_id, attributes, at_millis, received_millis)
        SELECT 'event-' || n, {request(answer)}, 'page', {iif('n % 7 = 0', "'click'", "'view'")}, 'document-' || (n % 10), '{{}}',
               {clicked_millis}, {clicked_millis} FROM n''',
    ]


HITS = json.dumps([f'document-{n}' for n in range(10)])


def fill_file(file):
    numbers = lambda n: f'WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {n})'
    hexadecimal = lambda number, digits: f"printf('%0{digits}x', {number})"
    connection = sqlite3.connect(file)
    connection.executescript('PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; BEGIN;')
    for statement in statements(numbers, hexadecimal, HITS, lambda *parts: f'iif({", ".join(parts)})', "x''", n_units):
        connection.execute(statement)
    # The experiment was started a moment ago; its answers are older than that.
    connection.execute(f'''UPDATE experiments SET definition = json_set(definition, '$.start_millis', {START_MILLIS}),
                           state = 'running' WHERE id = 'big' ''')
    connection.commit()
    connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    connection.close()
    return os.path.getsize(file)


def psql(sql):
    command = ['psql', '-At', '-v', 'ON_ERROR_STOP=1', options.store]
    return subprocess.run(command, input=sql, text=True, check=True, stdout=subprocess.PIPE).stdout.split()


def fill_database():
    numbers = lambda n: f'WITH n(n) AS (SELECT * FROM generate_series(CAST(1 AS BIGINT), {n}))'
    hexadecimal = lambda number, digits: f"lpad(to_hex(CAST({number} AS BIGINT)), {digits}, '0')"
    iif = lambda condition, yes, no: f'CASE WHEN {condition} THEN {yes} ELSE {no} END'
    started = f"""UPDATE experiments SET definition = CAST(jsonb_set(CAST(definition AS JSONB), '{{start_millis}}', '{START_MILLIS}') AS TEXT)
                  WHERE id = 'big'"""
    filled = [*statements(numbers, hexadecimal, HITS, iif, "''", n_units), started]
    psql(';'.join(filled) + '; ANALYZE')
    return int(psql('SELECT pg_database_size(current_database())')[-1])


class Server:
    def __init__(self, data, index):
        command = [options.lorank, 'serve', '--index', index, '--listen', '127.0.0.1:0', *STORE]
        environment = {**os.environ, 'LORANK_DATA': data}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.url = self.process.stdout.readline().strip().removeprefix('listening on ')

    def ask(self, path, body=None, **headers):
        """The status, the tag, the size of the body, and the time in seconds."""
        if body is not None:
            body, headers = json.dumps(body).encode(), {**headers, 'content-type': 'application/json'}
        headers = {name.replace('_', '-'): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, headers)
        started = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=3600) as answer:
                found = answer.status, answer.headers['etag'], answer.read()
        except urllib.error.HTTPError as error:
            found = error.code, error.headers['etag'], error.read()
        took = time.perf_counter() - started
        assert found[0] in (200, 304), found
        return *found, took

    def report(self, tag=None):
        return self.ask('/v1/experiments/big/report', **({'if_none_match': tag} if tag else {}))

    def memory(self, which='RSS'):
        return int(re.search(rf'Vm{which}:\s+(\d+)', open(f'/proc/{self.process.pid}/status').read())[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def shown(took):
    return f'{took:.1f} s' if took >= 1 else f'{took * 1000:.1f} ms'


def median(measure, n=21):
    return sorted(measure() for _ in range(n))[n // 2]


with tempfile.TemporaryDirectory(dir=options.folder) as data:
    environment = {**os.environ, 'LORANK_DATA': data}
    index = os.path.join(data, 'index')
    lorank('index', '--index', index, '-', input=b'{"id": "d0", "text": "an egg"}\n', env=environment, stdout=subprocess.DEVNULL)
    lorank('experiments', 'create', 'big', *STORE, '--arm', 'control=first-stage', '--arm', 'base=none', '--start', env=environment,
           stdout=subprocess.DEVNULL)
    started = time.perf_counter()
    if options.store:
        n_bytes = fill_database()
    else:
        [file] = [os.path.join(folder, 'experiments.sqlite') for folder, _, files in os.walk(data) if 'experiments.sqlite' in files]
        n_bytes = fill_file(file)
    print(f'{n_answers:,} answers of {n_units:,} units with {n_answers * EVENTS_PER_ANSWER:,} events: '
          f'{n_bytes / 1e9:.1f} GB, filled in {shown(time.perf_counter() - started)}\n', flush=True)
    server = Server(data, index)
    rows = []
    before = server.memory()
    _, tag, report, took = server.report()
    report = json.loads(report)
    assert sum(arm['n_queries'] for arm in report['arms']) == n_answers, report['arms']
    rows.append(('first report', shown(took)))
    rows.append(('again, nothing came', shown(median(lambda: server.report()[3]))))

    def poll():
        status, _, body, took = server.report(tag)
        assert status == 304 and body == b'', status
        return took

    rows.append(('`if-none-match`, nothing came (304)', shown(median(poll))))

    def request_id(n):
        return f'{START_MILLIS + n * ((END_MILLIS - START_MILLIS) // n_answers):012x}-7000-8000-{n:012x}'

    def events(n, first):
        return [{'event_id': f'new-{n}', 'query_id': request_id(first + n * 1013 % n_answers), 'client_id': 'page', 'action_name': 'click',
                 'object_id': 'document-1', 'timestamp': END_MILLIS} for n in range(n)]

    server.ask('/v1/events', events(1000, 1))
    status, new_tag, _, took = server.report(tag)
    assert status == 200 and new_tag != tag
    rows.append(('after 1,000 more clicks', shown(took)))
    after, peak = server.memory(), server.memory('HWM')
    rows.append(('memory of the server', f'{before:.0f} MB before the first report, {after:.0f} MB after, {peak:.0f} MB at most'))
    server.stop()
    started = time.perf_counter()
    told = lorank('experiments', 'report', 'big', *STORE, '--json', env=environment, stdout=subprocess.PIPE).stdout
    took = time.perf_counter() - started
    assert sum(arm['n_queries'] for arm in json.loads(told)['arms']) == n_answers
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rows.append(('`lorank experiments report`', f'{shown(took)}'))
    rows.append(('memory of the largest process', f'{largest:.0f} MB'))
    print('| | |\n|---|---:|')
    for what, value in rows:
        print(f'| {what} | {value} |')
