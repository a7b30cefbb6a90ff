"""Compares the values of `lorank eval --json` with trec_eval's of the runs that it wrote: `check.py QRELS JSON RUNS`."""

import collections
import json
import pathlib
import sys

import pytrec_eval

# The names of lorank and of trec_eval.
MEASURES = {"ndcg": "ndcg", "ndcg@10": "ndcg_cut_10", "map": "map", "map@5": "map_cut_5", "mrr": "recip_rank", "recall@5": "recall_5",
            "p@10": "P_10", "success@1": "success_1", "rprec": "Rprec"}
ASKED = {"ndcg", "ndcg_cut.10", "map", "map_cut.5", "recip_rank", "recall.5", "P.10", "success.1", "Rprec"}

qrels_path, json_path, runs = sys.argv[1:]
qrels = collections.defaultdict(dict)
for line in open(qrels_path).read().splitlines()[1:]:
    query, document, grade = line.split("\t")
    qrels[query][document] = int(grade)
evaluation = json.load(open(json_path))
evaluator = pytrec_eval.RelevanceEvaluator(qrels, ASKED)
worst, n_compared = 0.0, 0
for n, ranker in enumerate(evaluation["rankers"]):
    with open(pathlib.Path(runs) / f"{ranker['name']}.run") as file:
        values = evaluator.evaluate(pytrec_eval.parse_run(file))
    for query in evaluation["queries"]:
        # trec_eval has nothing to say of a query without a ranking; its value is 0, as in the mean of `trec_eval -c`.
        expected = values.get(query["id"], {})
        for measure, value in zip(evaluation["measures"], query["values"][n]):
            worst = max(worst, abs(value - expected.get(MEASURES[measure], 0.0)))
            n_compared += 1
assert n_compared == 9 * len(evaluation["rankers"]) * evaluation["n_queries"] > 500, n_compared
assert worst < 1e-6, worst
print(f"{n_compared:,} values of {len(evaluation['rankers'])} rankers are trec_eval's; the largest difference is {worst:.1e}")
