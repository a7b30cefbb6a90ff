#!/usr/bin/env python3
"""Ranking quality and latency by depth: a table in Markdown, and a picture (OUTPUT/depth.svg).

    python3 benches/depth.py --lorank target/release/lorank --queries 100 --output OUTPUT FOLDER...

Each folder is a collection in BEIR layout. Its documents are indexed, and each question is searched once at the greatest depth, with
the score cache off; the rankings at smaller depths follow from the same scores. nDCG@10 is trec_eval's, with linear gain.
Latency is the median over questions of the server's own time (`timings_millis.total`), and CPU time the mean of the server's CPU
seconds (of all threads, from /proc), both measured separately at each depth. The picture shows CPU time, because other work on the
machine affects it less.
`--depths 50,100 --timed 0` measures other depths, and only the ranking.
OUTPUT/depth.json has the results; those of other collections in it are kept. `--plot` only draws the picture from it, as for the docs:

    python3 benches/depth.py --plot --output docs/images

Python's standard library is all that is needed.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

DEPTHS = [10, 20, 50, 100, 200]
N_TIMED = 15
COLORS = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#6e7781"]
COLORS_DARK = ["#4493f8", "#f0883e", "#3fb950", "#ab7df8", "#f85149", "#9198a1"]


def read_lines(path):
    return [json.loads(line) for line in path.open(encoding="utf-8") if line.strip()]


def read_collection(folder, options):
    """(questions as (id, text), judgments by question), every k-th question that has a judgment."""
    qrels = {}
    path = next(path for path in [folder / "qrels/test.tsv", *sorted(folder.glob("qrels/*.tsv"))] if path.exists())
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) >= 3 and fields[-1].lstrip("-").isdigit():
            qrels.setdefault(fields[0], {})[fields[-2]] = int(fields[-1])
    judged = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    queries = [(query["_id"], query["text"]) for query in read_lines(folder / "queries.jsonl") if query["_id"] in judged]
    step = max(1, len(queries) // options.queries)
    if options.queries_max:
        step = -(-len(queries) // options.queries_max)
    return queries[::step], judged


def ndcg_at_10(ids, grades):
    gain = lambda values: sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:10]))
    ideal = gain(sorted((grade for grade in grades.values() if grade > 0), reverse=True))
    return gain([max(0, grades.get(id, 0)) for id in ids]) / ideal


class Server:
    """`lorank serve` over a new index of a collection, without a score cache."""

    def __init__(self, lorank, folder, work):
        index, config = work / "index", work / "lorank.toml"
        config.write_text("[cache]\nentries_max = 0\n")
        subprocess.run([lorank, "index", "--index", index, folder / "corpus.jsonl"], check=True, stdout=subprocess.DEVNULL)
        command = [lorank, "serve", "--config", config, "--index", index, "--data", work / "data", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if "http://" in line:
                self.url = "http://" + line.split("http://")[1].split()[0].rstrip("/.,")
                return
        sys.exit("the server did not start")

    def cpu_seconds(self):
        """The CPU time of the server so far, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def search(self, text, depth):
        body = json.dumps({"query": text, "depth": depth, "top_k": depth}).encode()
        request = urllib.request.Request(self.url + "/v1/search", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer = json.load(answer)
        if answer["hits"] and not answer["reranked"]:
            sys.exit(f"not reranked: {answer['fallback']}")
        return answer


def at_depth(hits, depth):
    """The ids in the order of an answer at a smaller depth: reranked up to there, the first stage's order beyond."""
    reranked = [hit for hit in hits if hit["first_stage_rank"] <= depth]
    rest = sorted((hit for hit in hits if hit["first_stage_rank"] > depth), key=lambda hit: hit["first_stage_rank"])
    return [hit["id"] for hit in reranked + rest]


def measure(folder, options):
    queries, judged = read_collection(folder, options)
    with tempfile.TemporaryDirectory() as work:
        server = Server(options.lorank, folder, Path(work))
        try:
            quality = {depth: [] for depth in [0, *options.depths]}
            start = time.monotonic()
            for n, (query, text) in enumerate(queries, 1):
                hits = server.search(text, options.depths[-1])["hits"]
                for depth, values in quality.items():
                    values.append(ndcg_at_10(at_depth(hits, depth), judged[query]))
                left = (time.monotonic() - start) / n * (len(queries) - n)
                print(f"\r{folder.name}: {n} of {len(queries)} questions, {left:.0f} s left ", end="", file=sys.stderr)
            print(file=sys.stderr)
            timed = [text for _, text in queries[:options.timed]]
            latency, cpu = {}, {}
            for depth in options.depths if timed else []:
                cpu_before = server.cpu_seconds()
                latency[depth] = statistics.median(server.search(text, depth)["timings_millis"]["total"] for text in timed)
                cpu[depth] = (server.cpu_seconds() - cpu_before) / len(timed) * 1_000
        finally:
            server.process.terminate()
            server.process.wait()
    sampled = ["--queries-max", options.queries_max] if options.queries_max else ["--queries", options.queries]
    depths = ",".join(map(str, options.depths))
    command = ["depth.py", *sampled, "--timed", options.timed, "--depths", depths, folder.name]
    return {"collection": folder.name, "n_queries": len(queries), "n_timed": len(timed), "command": " ".join(map(str, command)),
            "load_average": os.getloadavg()[1], "latency_millis": latency, "cpu_millis": cpu,
            "ndcg_10": {depth: statistics.mean(values) for depth, values in quality.items()}}


def depths_of(rows):
    return [int(depth) for depth in rows[0]["ndcg_10"] if depth != "0"]


def table(rows):
    heads = ["collection", "questions", "BM25", *[f"depth {depth}" for depth in depths_of(rows)]]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in rows:
        cells = [f"{value:.3f}" for value in row["ndcg_10"].values()]
        lines.append("| " + " | ".join([row["collection"], str(row["n_queries"]), *cells]) + " |")
        for name, unit in [("latency_millis", "ms"), ("cpu_millis", "ms CPU")]:
            if row[name]:
                lines.append("| | | | " + " | ".join(f"{value:,.0f} {unit}" for value in row[name].values()) + " |")
    return "\n".join(lines)


def panel(rows, left, x_of, ticks, title):
    """One chart: nDCG@10 over what `x_of` gives for a row and a depth, from 0 to 1 on a logarithmic axis."""
    values = [value for row in rows for value in row["ndcg_10"].values()]
    low, high = math.floor(min(values) * 10) / 10, math.ceil(max(values) * 10) / 10
    xs = lambda share: left + 20 + 340 * share
    ys = lambda value: 270 - 220 * (value - low) / (high - low)
    parts = [f'<text class="ink" x="{left + 190}" y="28" text-anchor="middle">{title}</text>']
    for tenth in range(round(low * 10), round(high * 10) + 1):
        y = ys(tenth / 10)
        parts.append(f'<path class="grid" d="M{left + 10} {y:.1f}H{left + 370}"/>')
        parts.append(f'<text class="soft" x="{left + 2}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    for share, label in ticks:
        parts.append(f'<text class="soft" x="{xs(share):.1f}" y="292" text-anchor="middle">{label}</text>')
    for n, row in enumerate(rows):
        bm25 = ys(row["ndcg_10"]["0"])
        parts.append(f'<path class="bm25 c{n}" d="M{left + 10} {bm25:.1f}H{left + 370}"/>')
        points = [(xs(x_of(row, depth)), ys(row["ndcg_10"][str(depth)])) for depth in depths_of(rows)]
        parts.append(f'<polyline class="c{n}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
        parts += [f'<circle class="f{n}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    return parts


def plot(rows):
    share = lambda value, low, high: math.log(value / low) / math.log(high / low)
    times = [value for row in rows for value in row["cpu_millis"].values()]
    low, high = 10 ** math.floor(math.log10(min(times))), 10 ** math.ceil(math.log10(max(times)))
    powers = [10**n for n in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    depths = depths_of(rows)
    by_depth = panel(rows, 40, lambda row, depth: share(depth, depths[0], depths[-1]),
                     [(share(depth, depths[0], depths[-1]), depth) for depth in depths], "nDCG@10 by depth")
    by_time = panel(rows, 460, lambda row, depth: share(row["cpu_millis"][str(depth)], low, high),
                    [(share(power, low, high), f"{power:,} ms" if power < 1000 else f"{power // 1000} s") for power in powers],
                    "nDCG@10 by CPU time per question")
    light = "".join(f".c{n}{{stroke:{color}}}.f{n}{{fill:{color}}}" for n, color in enumerate(COLORS))
    dark = "".join(f".c{n}{{stroke:{color}}}.f{n}{{fill:{color}}}" for n, color in enumerate(COLORS_DARK))
    legend = [f'<circle class="f{n}" cx="{60 + 135 * n}" cy="318" r="5"/><text class="soft" x="{70 + 135 * n}" y="323">{row["collection"]}</text>'
              for n, row in enumerate(rows)]
    legend.append('<text class="soft" x="830" y="323" text-anchor="end">dotted: BM25</text>')
    style = (".ink{fill:#1f2328}.soft{fill:#59636e;font-size:13px}.grid{stroke:#d1d9e0}polyline,.bm25{fill:none;stroke-width:2}.bm25{stroke-dasharray:2 5}" + light
             + "@media(prefers-color-scheme:dark){.ink{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#3d444d}" + dark + "}")
    return "\n".join(['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 850 335" role="img" font-family="system-ui, sans-serif" font-size="15">',
                      "<title>nDCG@10 by rerank depth and by CPU time</title>", f"<style>{style}</style>",
                      *by_depth, *by_time, *legend, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--lorank", default="target/release/lorank")
    parser.add_argument("--queries", type=int, default=100, help="approximate number of questions per collection")
    parser.add_argument("--queries-max", type=int, metavar="N", help="instead: at most N questions, sampled as by `ranking_quality`")
    parser.add_argument("--depths", type=lambda text: sorted(map(int, text.split(","))), default=DEPTHS, metavar="N,N...",
                        help="depths to measure (%(default)s)")
    parser.add_argument("--timed", type=int, default=N_TIMED, help="number of questions whose latency and CPU time are measured; without any there is no picture")
    parser.add_argument("--output", type=Path, default=Path("."))
    parser.add_argument("--plot", action="store_true", help="only draw the results in OUTPUT/depth.json")
    options = parser.parse_args()
    data = options.output / "depth.json"
    if not options.plot:
        if not options.folders:
            parser.error("name a folder in BEIR layout")
        rows = [measure(folder, options) for folder in options.folders]
        machine = subprocess.run([options.lorank, "info"], capture_output=True, text=True, check=True).stdout
        measured = {row["collection"] for row in rows}
        known = json.loads(data.read_text())["rows"] if data.exists() else []
        rows = [row for row in known if row["collection"] not in measured] + rows
        data.write_text(json.dumps({"machine": machine.splitlines(), "rows": rows}, indent=1) + "\n")
    rows = json.loads(data.read_text())["rows"]
    if all(row["latency_millis"] for row in rows):
        (options.output / "depth.svg").write_text(plot(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
