#!/usr/bin/env python3
"""Makes a test collection of long documents from one of short documents, in BEIR's layout.

Each long document is N short ones of the collection, in a random order that is the same in every run; each short document
is part of exactly one long one. A long document is as relevant as the most relevant of its parts, which may stand
anywhere in it.

    long_collection.py SOURCE TARGET [N]
"""

import json
import random
import sys
from collections import defaultdict
from pathlib import Path


def main(source: Path, target: Path, n_parts: int) -> None:
    documents = [json.loads(line) for line in (source / "corpus.jsonl").read_text().splitlines()]
    random.Random(7).shuffle(documents)
    target.joinpath("qrels").mkdir(parents=True, exist_ok=True)
    long_id = {}
    with target.joinpath("corpus.jsonl").open("w") as corpus:
        for n in range(0, len(documents), n_parts):
            parts = documents[n : n + n_parts]
            name = f"long-{n // n_parts}"
            long_id |= {part["_id"]: name for part in parts}
            texts = [" ".join(filter(None, [part.get("title"), part["text"]])) for part in parts]
            print(json.dumps({"_id": name, "text": "\n".join(texts)}), file=corpus)
    target.joinpath("queries.jsonl").write_text((source / "queries.jsonl").read_text())
    for qrels in source.joinpath("qrels").glob("*.tsv"):
        header, *lines = qrels.read_text().splitlines()
        grades: dict[tuple[str, str], int] = defaultdict(int)
        for line in lines:
            query, document, grade = line.split("\t")
            if document in long_id:
                key = (query, long_id[document])
                grades[key] = max(grades[key], int(grade))
        rows = [f"{query}\t{document}\t{grade}" for (query, document), grade in grades.items()]
        target.joinpath("qrels", qrels.name).write_text("\n".join([header, *rows]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5)
