"""Tries a client's recorded call against a lorank that serves.

    python try_one.py http://127.0.0.1:7788 call.json

`try_one.sh` starts the server as well. A call is an object:

    {"client": "whose it is, with its version",
     "method": "POST", "path": "/v1/rerank", "headers": {"x-unit-id": "u1"}, "body": {...},
     "answer": {"status": 200, "headers": {"x-model": "minilm-qa"}, "has": {"results.0.index": 2, "results.0.relevance_score": null}}}

`has` names what the client reads: a path through objects and lists, and the value that must be there, or null for any value but
null. All but `path` may be left out: POST with a body and GET without one, status 200, nothing that must be there.
"""
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

CALL_KEYS = {'client', 'method', 'path', 'headers', 'body', 'answer'}
ANSWER_KEYS = {'status', 'headers', 'has'}


def send(url, call):
    """Status, headers and body of the answer to a call."""
    has_body = 'body' in call
    headers = {'content-type': 'application/json', **call.get('headers', {})} if has_body else call.get('headers', {})
    data = json.dumps(call['body']).encode() if has_body else None
    method = call.get('method', 'POST' if has_body else 'GET')
    request = urllib.request.Request(url.rstrip('/') + call['path'], data=data, method=method, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read().decode()
        return answer.status, answer.headers, text


def value_at(answer, path):
    """The value at a path such as `results.0.index`; an error that names the part that is missing."""
    for part in path.split('.'):
        answer = answer[int(part)] if isinstance(answer, list) else answer[part]
    return answer


def problems(url, call):
    """What is not as the call says that it must be."""
    expected = call.get('answer', {})
    unknown = (set(call) - CALL_KEYS) | (set(expected) - ANSWER_KEYS)
    if unknown or 'path' not in call:
        return [f'the call has unknown keys {sorted(unknown)}' if unknown else 'the call has no path']
    status, headers, text = send(url, call)
    found = []
    if status != expected.get('status', 200):
        found.append(f'the status is {status}: {text}')
    for name, value in expected.get('headers', {}).items():
        if headers.get(name) is None or value is not None and headers[name] != value:
            found.append(f'the header {name} is {headers.get(name)!r}, not {value!r}')
    if not expected.get('has'):
        return found
    try:
        answer = json.loads(text)
    except ValueError:
        return [*found, f'the answer is not JSON: {text}']
    for path, value in expected['has'].items():
        try:
            there = value_at(answer, path)
        except (KeyError, IndexError, TypeError, ValueError):
            there = None
        if there is None or value is not None and there != value:
            found.append(f'`{path}` is {there!r}, not {"there" if value is None else repr(value)}')
    return found


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    URL, CALL = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    FOUND = problems(URL, CALL)
    for problem in FOUND:
        print(problem)
    if FOUND:
        sys.exit(1)
    print(f'{CALL.get("client", sys.argv[2])}: as it expects')
