//! `lorank eval` on a small collection: tables, JSON, runs, the page, kept scores, and what is refused.

use std::fs;

use serde_json::Value;

use crate::command::Lorank;

/// Three documents and two queries. BM25 ranks the long document about eggs behind the short one.
fn collection() -> Lorank {
    let lorank = Lorank::new();
    lorank.write(
        "eggs/corpus.jsonl",
        "{\"_id\": \"d1\", \"title\": \"Egg\", \"text\": \"An egg, an egg, an egg.\"}\n\
         {\"_id\": \"d2\", \"title\": \"\", \"text\": \"Boil an egg for nine minutes, then cool it in cold water.\"}\n\
         {\"_id\": \"d3\", \"title\": \"Lamp\", \"text\": \"Edison made a lamp with a carbon filament.\"}\n",
    );
    lorank.write(
        "eggs/queries.jsonl",
        "{\"_id\": \"q1\", \"text\": \"how long to boil an egg\"}\n{\"_id\": \"q2\", \"text\": \"who made the lamp\"}\n\
         {\"_id\": \"q3\", \"text\": \"not judged\"}\n",
    );
    lorank.write("eggs/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td2\t1\nq1\td1\t0\nq2\td3\t1\n");
    lorank
}

const EVAL: [&str; 3] = ["eval", "--dataset", "eggs"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&EVAL[..], more].concat()
}

#[test]
fn adapters_are_compared_with_the_first_stage() {
    let lorank = collection();
    let depths = [
        "--adapter",
        "none",
        "--adapter",
        "minilm-qa",
        "--depths",
        "1,2",
        "--runs",
        "runs",
        "--html",
        "pages/page.html",
    ];
    let text = lorank.run(&with(&depths));
    for part in [
        "eggs: 2 queries, BM25, depth 100, cross-encoder/ms-marco-MiniLM-L-12-v2 in ",
        "ranker       ndcg@10  mrr@10  recall@100  seconds a query",
        "ndcg@10 compared with first-stage",
        "ndcg@10 by depth",
        "the runs are in `runs`",
        "the page is `pages/page.html`",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let found = lorank.json(&with(&["--adapter", "none", "--adapter", "minilm-qa", "--json"]));
    let names: Vec<&Value> = found["rankers"].as_array().unwrap().iter().map(|ranker| &ranker["name"]).collect();
    assert_eq!(names, ["first-stage", "none", "minilm-qa"]);
    assert_eq!((&found["n_queries"], &found["collection"]), (&2.into(), &"eggs".into()));
    assert_eq!(found["measures"], serde_json::json!(["ndcg@10", "mrr@10", "recall@100"]));
    // Reranked, both answers are first.
    assert_eq!(found["rankers"][1]["means"], serde_json::json!([1.0, 1.0, 1.0]));
    // The second evaluation scored nothing, so nothing is known of its time.
    assert_eq!(found["rankers"][1]["seconds_per_query"], Value::Null);
    let page = fs::read_to_string(lorank.path("pages/page.html")).unwrap();
    assert!(page.contains("<h1>Evaluation on eggs</h1>") && page.contains("ndcg@10 by depth"));
    let run = fs::read_to_string(lorank.path("runs/minilm-qa.run")).unwrap();
    assert!(run.starts_with("q1 Q0 d2 1 ") && run.trim_end().ends_with(" lorank-minilm-qa"), "{run}");
}

#[test]
fn a_run_names_the_candidates() {
    let lorank = collection();
    lorank.write("bad.run", "q1 Q0 d1 1 2.5 x\nq1 Q0 d2 2 1.5 x\n");
    let args =
        with(&["--run", "bad.run", "--measure", "recip_rank", "--measure", "P_1", "--json", "--baseline", "none"]);
    let found = lorank.json(&args);
    assert_eq!(found["queries"][0]["values"][0], serde_json::json!([0.5, 0.0]));
    assert_eq!(found["queries"][0]["values"][1], serde_json::json!([1.0, 1.0]));
    assert_eq!(found["queries"][1]["n_candidates"], 0);
    assert_eq!(found["rankers"][0]["comparisons"][0]["losses"], 1);
    assert_eq!(found["rankers"][0]["seconds_per_query"], Value::Null);
    assert!(lorank.run(&with(&["--run", "bad.run"])).contains("1 of the queries have no candidates"));
}

/// An evaluation that ends in the middle keeps the scores that it has.
#[test]
fn an_evaluation_goes_on_where_it_stopped() {
    let lorank = collection();
    lorank.write("broken.run", "q1 Q0 d1 1 2.5 x\nq1 Q0 d2 2 1.5 x\nq2 Q0 missing 1 1 x\n");
    let (_, error) = lorank.fail(&with(&["--run", "broken.run", "--scores", "kept/scores"]), "");
    assert!(
        error.contains("ranks the document `missing` for query `q2`, and the index has no such document"),
        "{error}"
    );
    lorank.write("whole.run", "q1 Q0 d1 1 2.5 x\nq1 Q0 d2 2 1.5 x\nq2 Q0 d3 1 1 x\n");
    let text = lorank.run(&with(&["--run", "whole.run", "--scores", "kept/scores"]));
    assert!(text.contains("2 scores were known from an earlier evaluation"), "{text}");
    let text = lorank.run(&with(&["--run", "whole.run", "--scores", "kept/scores"]));
    assert!(text.contains("3 scores were known from an earlier evaluation"), "{text}");
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let lorank = collection();
    lorank.write("bad.tsv", "q1 0 d1 yes\n");
    lorank.write("bad.run", "q1 Q0 d1 1 inf x\n");
    for (args, expected) in [
        (vec!["eval", "--dataset", "nowhere"], "`nowhere` is not a test collection: it has no file `corpus.jsonl`"),
        (with(&["--split", "dev"]), "`eggs` has no judgments `qrels/dev.tsv`; its splits are test"),
        (with(&["--qrels", "bad.tsv"]), "line 1 of `bad.tsv`: the grade `yes` is not a whole number"),
        (with(&["--queries", "bad.run"]), "line 1 of `bad.run`: it is neither a JSON object nor an id and a text"),
        (with(&["--run", "bad.run"]), "line 1 of `bad.run`: the score `inf` is not a finite number"),
        (with(&["--measure", "ndgc@10"]), "`ndgc@10` is not a measure; did you mean `ndcg`?"),
        (with(&["--measure", "recall"]), "`recall` needs a number of documents, as in `recall@10`"),
        (with(&["--baseline", "qa"]), "the baseline `qa` is not evaluated; it can be first-stage, none"),
        (with(&["--adapter", "none", "--adapter", "none"]), "`none` is given twice; evaluate different adapters"),
        (with(&["--depths", "10,0"]), "--depths"),
        (with(&["--scores", "bad.tsv"]), "`bad.tsv` is not a file of scores"),
        (with(&["--index", "nowhere"]), "nowhere"),
    ] {
        let (_, error) = lorank.fail(&args, "");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}
