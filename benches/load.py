#!/usr/bin/env python3
"""Measures the server under load from other processes, and prints a table in Markdown.

    lorank index --index INDEX documents.jsonl
    python3 benches/load.py --lorank target/release/lorank --index INDEX --queries QUERIES.jsonl [--seconds 60] [--only PART]

The queries are JSON lines with `text`, one per search. Needs wrk, Linux, and only Python's standard library.
Server and clients share the machine's cores, so the server has fewer cores than alone.

    overhead   one client, one connection, cached scores: the client's latency minus the time reported in the answer
    cached     64 connections, cached queries, maximum throughput
    cold       64 connections, new queries
    overload   new queries at twice the throughput of `cold`, each with a deadline
    slow       10,000 connections that send one byte per second, while one client searches
    long       twenty rerank requests with one document of 15 MB each, while one client searches
"""
import argparse
import asyncio
import json
import logging
import os
import random
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--lorank', default='target/release/lorank')
parser.add_argument('--index', required=True)
parser.add_argument('--queries', required=True)
parser.add_argument('--adapter', default='minilm-qa')
parser.add_argument('--seconds', type=int, default=60)
parser.add_argument('--connections', type=int, default=64)
parser.add_argument('--slow', type=int, default=10_000, help='number of slow connections')
parser.add_argument('--depth', type=int, default=10)
parser.add_argument('--deadline-millis', type=int, default=1_000)
parser.add_argument('--only', help='parts of the table, separated by commas')
options = parser.parse_args()

queries = [json.loads(line)['text'] for line in open(options.queries, encoding='utf-8')]
random.Random(1).shuffle(queries)
HOT = 100
parts = options.only.split(',') if options.only else ['overhead', 'cached', 'cold', 'overload', 'slow', 'long']


class Server:
    """A separate server for each part, so that parts share no cache."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        command = [options.lorank, 'serve', '--index', options.index, '--adapter', options.adapter,
                   '--depth', str(options.depth), '--listen', '127.0.0.1:0']
        environment = {**os.environ, 'LORANK_DATA': self.folder.name}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        address = self.process.stdout.readline().strip().removeprefix('listening on http://')
        self.host, port = address.split(':')
        self.port = int(port)
        self.resident = []
        self.is_watched = True
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def watch(self):
        while self.is_watched:
            status = open(f'/proc/{self.process.pid}/status').read()
            self.resident.append(int(re.search(r'VmRSS:\s+(\d+)', status)[1]) / 1024)
            time.sleep(0.5)

    def memory(self):
        """Resident memory after a tenth of the time and at the end, and its maximum."""
        seen = self.resident
        return f'{seen[len(seen) // 10]:.0f}, {seen[-1]:.0f}, {max(seen):.0f}'

    def __exit__(self, *_):
        self.is_watched = False
        self.watcher.join()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.folder.cleanup()
        assert status == 0, f'the server ended with {status}'


class Client:
    """A persistent connection."""

    def __init__(self, server):
        self.socket = socket.create_connection((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile('rb')

    def ask(self, query, more=''):
        """The status, the answer, and the time in seconds."""
        target = '/v1/search?q=' + urllib.parse.quote_plus(query) + more
        request = f'GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n'.encode()
        started = time.perf_counter()
        self.socket.sendall(request)
        status = int(self.file.readline().split()[1])
        length = 0
        while (line := self.file.readline().strip()):
            name, _, value = line.partition(b':')
            length = int(value) if name.lower() == b'content-length' else length
        body = self.file.read(length)
        took = time.perf_counter() - started
        return status, json.loads(body), took


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def millis(seconds):
    return f'{seconds * 1000:.2f}' if seconds < 0.1 else f'{seconds * 1000:.0f}'


# The requests of wrk: from a list, or with a word that makes each query new. Threads count statuses and report them at the end.
WRK = '''
local targets = { %s }
local threads, n_thread = {}, 0
function setup(thread)
  n_thread = n_thread + 1
  thread:set("number", n_thread)
  table.insert(threads, thread)
end
function init()
  n, statuses = number * 7919, {}
  for _, status in ipairs({200, 429, 503}) do _G["s" .. status] = 0 end
  others = 0
end
function request()
  n = n + 1
  local target = targets[n %% #targets + 1]
  if %s then target = target .. "+x" .. number .. "y" .. n end
  return wrk.format("GET", target)
end
function response(status)
  local name = "s" .. status
  if _G[name] then _G[name] = _G[name] + 1 else others = others + 1 end
end
function done(summary, latency)
  local sums = { s200 = 0, s429 = 0, s503 = 0, others = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(sums) do sums[name] = sums[name] + thread:get(name) end
  end
  local errors = summary.errors
  io.write(string.format(
    '\\nJSON {"seconds": %%f, "p50": %%f, "p99": %%f, "max": %%f, "s200": %%d, "s429": %%d, "s503": %%d, "others": %%d, "errors": %%d}\\n',
    summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, latency.max / 1e6,
    sums.s200, sums.s429, sums.s503, sums.others, errors.connect + errors.read + errors.write + errors.timeout))
end
'''


def wrk(server, is_cold):
    targets = ', '.join(f'"/v1/search?q={urllib.parse.quote_plus(query)}"' for query in queries[:HOT])
    with tempfile.NamedTemporaryFile('w', suffix='.lua') as script:
        script.write(WRK % (targets, 'true' if is_cold else 'false'))
        script.flush()
        command = ['wrk', '-t', '1', '-c', str(options.connections), '-d', f'{options.seconds}s', '--timeout', '60s',
                   '-s', script.name, f'http://{server.host}:{server.port}']
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(re.search(r'JSON (.*)', output)[1])


def table(title, rows):
    print(f'\n**{title}**\n')
    print('| | |\n|---|---:|')
    for name, value in rows:
        print(f'| {name} | {value} |')
    sys.stdout.flush()


def statuses(found):
    said = [f'{found["s200"]:,} of 200', f'{found["s429"]:,} of 429']
    return ', '.join([*said, f'{found["s503"] + found["others"]:,} others, {found["errors"]} errors of the connection'])


def overhead():
    with Server() as server:
        client, query = Client(server), queries[0]
        for _ in range(200):
            client.ask(query)
        measured, inside = [], []
        for _ in range(3_000):
            status, answer, took = client.ask(query)
            assert status == 200 and answer['reranked'] and answer['cache']['misses'] == 0
            measured.append(took)
            inside.append(answer['timings_millis']['total'] / 1000)
        outside = [took - within for took, within in zip(measured, inside)]
        table('One client, scores cached (ms)', [
            ('p50 as the client measures', millis(statistics.median(measured))),
            ('p50 as the answer says, in process', millis(statistics.median(inside))),
            ('p50 of the difference: HTTP, JSON and the client', millis(statistics.median(outside))),
            ('p99 of the difference', millis(percentile(outside, 0.99))),
        ])


def under_wrk(title, is_cold):
    with Server() as server:
        if not is_cold:
            client = Client(server)
            for query in queries[:HOT]:
                client.ask(query)
        server.resident.clear()
        found = wrk(server, is_cold)
        n = found['s200'] + found['s429']
        table(title, [
            ('answers a second', f'{found["s200"] / found["seconds"]:,.0f}'),
            ('p50, p99, max (ms)', ', '.join(millis(found[key]) for key in ('p50', 'p99', 'max'))),
            ('answers', statuses(found)),
            ('memory at a tenth, at the end, at most (MB)', server.memory()),
        ])
        assert n > 0 and found['others'] + found['s503'] + found['errors'] == 0, found
        return found['s200'] / found['seconds']


async def overload_async(server, rate):
    """An open workload: searches arrive at a given rate, independent of how many are in progress."""
    found = []

    async def one(n):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        query = urllib.parse.quote_plus(f'{queries[n % len(queries)]} z{n}')
        target = f'/v1/search?q={query}&deadline_millis={options.deadline_millis}'
        started = time.perf_counter()
        writer.write(f'GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'.encode())
        answer = await reader.read(-1)
        took = time.perf_counter() - started
        writer.close()
        head, _, body = answer.partition(b'\r\n\r\n')
        found.append((int(head.split()[1]), json.loads(body), took))

    tasks, started = [], time.perf_counter()
    for n in range(int(rate * options.seconds)):
        await asyncio.sleep(max(0.0, started + n / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(n)))
    await asyncio.gather(*tasks)
    return found


def overload(capacity):
    rate = 2 * capacity
    with Server() as server:
        Client(server).ask(queries[0])
        found = asyncio.run(overload_async(server, rate))
        memory = server.memory()
    answered = [(answer, took) for status, answer, took in found if status == 200]
    times = [took for _, took in answered]
    n_reranked = sum(answer['reranked'] for answer, _ in answered)
    deadline = options.deadline_millis / 1000
    table(f'Twice the capacity: {rate:.0f} new searches a second, each with a deadline of {options.deadline_millis} ms', [
        ('answers', f'{len(answered):,} of 200, {sum(status == 429 for status, _, _ in found):,} of 429, '
                    f'{sum(status not in (200, 429) for status, _, _ in found):,} others'),
        ('reranked within the deadline', f'{n_reranked:,} ({n_reranked / max(1, len(found)):.0%} of all)'),
        ('p50, p99, max of the answers (ms)', ', '.join(millis(time) for time in
                                                        (statistics.median(times), percentile(times, 0.99), max(times)))),
        ('answers later than the deadline by more than 100 ms', f'{sum(took > deadline + 0.1 for took in times):,}'),
        ('memory at a tenth, at the end, at most (MB)', memory),
    ])


async def drip(server, n, is_over, counts):
    """Connections that send a request head at one byte per second, and reconnect when closed."""
    async def one():
        while not is_over.is_set():
            try:
                reader, writer = await asyncio.open_connection(server.host, server.port)
            except OSError:
                counts['refused'] += 1
                await asyncio.sleep(1)
                continue
            counts['open'] += 1
            try:
                for byte in b'GET /v1/search?q=slow HTTP/1.1\r\nhost: localhost\r\nx-slow: ' + b'x' * 100_000:
                    if is_over.is_set() or reader.at_eof():
                        break
                    writer.write(bytes([byte]))
                    await asyncio.sleep(1)
            except OSError:
                pass
            counts['open'] -= 1
            counts['closed'] += 1
            writer.close()

    async def later(delay):
        await asyncio.sleep(delay)
        await one()

    # They connect over five seconds.
    await asyncio.gather(*(later(k * 5 / n) for k in range(n)))


def slow():
    # Writing to a connection that the server has closed would log a message for each.
    logging.getLogger('asyncio').setLevel(logging.ERROR)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Server() as server:
        client, query = Client(server), queries[0]
        for _ in range(100):
            client.ask(query)
        alone = [client.ask(query)[2] for _ in range(500)]
        is_over, counts = threading.Event(), {'open': 0, 'closed': 0, 'refused': 0}
        # A separate process would be fairer to the measured client; a thread is enough to detect starvation.
        dripping = threading.Thread(target=lambda: asyncio.run(drip(server, options.slow, is_over, counts)))
        dripping.start()
        while counts['open'] < options.slow * 0.95:
            time.sleep(0.5)
        most, beside, fresh, began = counts['open'], [], [], time.perf_counter()
        while time.perf_counter() - began < min(20, options.seconds):
            beside.append(client.ask(query)[2])
            started = time.perf_counter()
            status, _, _ = Client(server).ask(query)
            fresh.append(time.perf_counter() - started)
            assert status == 200
            most = max(most, counts['open'])
            time.sleep(0.02)
        memory, n_closed = server.memory(), counts['closed']
        is_over.set()
        dripping.join()
    table(f'{options.slow:,} connections that send a byte a second', [
        ('open at most; closed by the server in that time', f'{most:,}; {n_closed:,}'),
        ('a request without them: p50, p99 (ms)', f'{millis(statistics.median(alone))}, {millis(percentile(alone, 0.99))}'),
        ('a request beside them: p50, p99 (ms)', f'{millis(statistics.median(beside))}, {millis(percentile(beside, 0.99))}'),
        ('with a new connection: p50, p99 (ms)', f'{millis(statistics.median(fresh))}, {millis(percentile(fresh, 0.99))}'),
        ('memory at a tenth, at the end, at most (MB)', memory),
    ])


def rerank_long(server, n, statuses):
    """One rerank request with one document of 15 MB, on a separate connection."""
    document = ' '.join(random.Random(n).choices(queries, k=400))
    document = (document * (15_000_000 // len(document) + 1))[:15_000_000]
    body = json.dumps({'query': queries[n], 'documents': [document]}).encode()
    with socket.create_connection((server.host, server.port)) as connection:
        head = f'POST /v1/rerank HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n'
        connection.sendall(head.encode() + body)
        answer = connection.makefile('rb').read()
    statuses.append(int(answer.split()[1]))


def long():
    def search(client, n, more):
        status, answer, took = client.ask(f'{queries[n % len(queries)]} w{n}', '&depth=4&deadline_millis=5000')
        assert status == 200
        more.append((took, answer['reranked']))

    with Server() as server:
        client, alone, beside, statuses = Client(server), [], [], []
        for n in range(50):
            search(client, n, alone)
        before = server.resident[-1]
        senders = [threading.Thread(target=rerank_long, args=(server, n, statuses)) for n in range(20)]
        for sender in senders:
            sender.start()
        n = 50
        while any(sender.is_alive() for sender in senders):
            search(client, n, beside)
            n += 1
        for sender in senders:
            sender.join()
        time.sleep(5)
        after, most = server.resident[-1], max(server.resident)
    times, alone = [took for took, _ in beside], [took for took, _ in alone]
    table('Twenty rerank requests of 15 MB, and one client that searches (4 candidates)', [
        ('rerank requests by status', ', '.join(f'{statuses.count(status)} of {status}' for status in sorted(set(statuses)))),
        ('a search without them: p50, p99 (ms)', f'{millis(statistics.median(alone))}, {millis(percentile(alone, 0.99))}'),
        ('a search beside them: p50, p99, max (ms)',
         f'{millis(statistics.median(times))}, {millis(percentile(times, 0.99))}, {millis(max(times))}'),
        ('searches beside them; in first-stage order', f'{len(beside)}; {sum(not reranked for _, reranked in beside)}'),
        ('memory before, at most, five seconds after (MB)', f'{before:.0f}, {most:.0f}, {after:.0f}'),
    ])


version = subprocess.run([options.lorank, '--version'], check=True, capture_output=True, text=True).stdout.strip()
print(f'{version}, {os.cpu_count()} cores shared by server and clients, depth {options.depth}, {options.seconds} s per part')
capacity = None
if 'overhead' in parts:
    overhead()
if 'cached' in parts:
    under_wrk(f'{options.connections} connections, scores cached', False)
if 'cold' in parts or 'overload' in parts:
    capacity = under_wrk(f'{options.connections} connections, nothing cached', True)
if 'overload' in parts:
    overload(capacity)
if 'slow' in parts:
    slow()
if 'long' in parts:
    long()
