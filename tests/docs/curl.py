#!/usr/bin/env python3
"""Runs the curl commands of the API reference, word for word, against a server.

    LORANK_BIN=target/debug/lorank tests/docs/curl.py

The commands are those of `x-codeSamples` in /openapi.json, which the page /docs shows. Only the server's port is changed.
The server has an index, and may add adapters from the folder `adapters`. Commands that need something run after those that
create it. A command that fails ends the run. Python's standard library, bash and curl are all that is needed.
"""
import json
import subprocess
import tempfile
import urllib.request

from follow import Page

# Operation ids. Whatever is in neither list runs between the two, in the order of the document.
FIRST = [
    "post_v1_documents", "post_v1_indexes_index_documents", "put_v1_adapters_id", "put_v1_aliases_name", "post_v1_experiments",
    "delete_v1_experiments_id", "post_v1_experiments", "post_v1_experiments_id_start", "patch_v1_experiments_id",
]
LAST = [
    "post_v1_experiments_id_stop", "delete_v1_aliases_name", "delete_v1_adapters_id",
    "delete_v1_documents_id", "post_v1_documents", "delete_v1_indexes_index_documents_id", "post_v1_documents",
    "delete_v1_documents", "delete_v1_indexes_index_documents",
]


def operations(api):
    """The commands of each operation, by its id."""
    methods = [operation for item in api["paths"].values() for operation in item.values()]
    return {operation["operationId"]: [sample["source"] for sample in operation["x-codeSamples"]] for operation in methods}


def run(command, page):
    command = command.replace("7788", str(page.port)).replace("curl ", "curl --fail-with-body --silent --show-error ", 1)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"failed with status {done.returncode}:\n{command}\n{done.stdout}{done.stderr}")


def main():
    with tempfile.TemporaryDirectory() as folder, Page(folder) as page:
        page.run("lorank index --index data/index corpus.jsonl")
        page.run("lorank serve --index data/index --adapter-source adapters")
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/openapi.json") as answer:
            commands = operations(json.load(answer))
        unknown = [operation for operation in FIRST + LAST if operation not in commands]
        if unknown:
            raise SystemExit(f"unknown operations: {unknown}")
        between = [operation for operation in commands if operation not in FIRST + LAST]
        n_run = 0
        for operation in FIRST + between + LAST:
            for command in commands[operation]:
                run(command, page)
                n_run += 1
        print(f"{n_run} curl commands of {len(commands)} operations succeeded")


if __name__ == "__main__":
    main()
