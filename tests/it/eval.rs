//! `lorank eval` on a small collection: tables, JSON, runs, the page, kept scores, and what is refused.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::serving::Server;

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
fn stages_are_one_more_ranker_with_depths_of_their_own() {
    let lorank = collection();
    lorank.run(&["index", "--index", "i", "eggs/corpus.jsonl", "--id-field", "_id"]);
    let stages = ["none:100", "none:1", "none:2,minilm-qa:2"];
    let flags = stages.iter().flat_map(|stages| ["--stages", stages]);
    let flags: Vec<&str> = ["--adapter", "none", "--depths", "1", "--runs", "runs"].into_iter().chain(flags).collect();
    let found = lorank.json(&[&with(&flags)[..], &["--baseline", "none:100", "--json"]].concat());
    let rankers = found["rankers"].as_array().unwrap();
    let names: Vec<&Value> = rankers.iter().map(|ranker| &ranker["name"]).collect();
    assert_eq!(names, ["first-stage", "none", "none:100", "none:1", "none:2,minilm-qa:2"]);
    let means: Vec<&Value> = rankers.iter().map(|ranker| &ranker["means"]).collect();
    assert_eq!((means[2], means[3]), (means[1], means[0]), "one stage is its adapter at that depth");
    assert_ne!(means[1], means[0]);
    let at_1 = &found["depths"][0]["means"];
    assert_eq!((&at_1[1], &at_1[2]), (&means[0][0], &means[2][0]), "--depths is of adapters: {found}");
    // Each ranking is that of a search with the same stages.
    let run = fs::read_to_string(lorank.path("runs/none:2,minilm-qa:2.run")).unwrap();
    for (id, query) in [("q1", "how long to boil an egg"), ("q2", "who made the lamp")] {
        let search = ["search", "--index", "i", query, "--json", "--stage", "none:2", "--stage", "minilm-qa:2"];
        let hits = lorank.json(&search)["hits"].clone();
        let expected: Vec<&str> = hits.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
        let lines = run.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let ranked: Vec<String> = lines.filter(|line| line[0] == id).map(|line| line[2].to_owned()).collect();
        assert_eq!(ranked, expected, "{query}");
    }
    for (flags, message) in [
        (&["--stages", "none:9:0.5"][..], "an evaluation has no deadline; leave out the share of `none:9:0.5`"),
        (&["--stages", "none:9", "--stages", "none:9"], "the stages `none:9` are given twice"),
        (&["--stages", "none:1,none:2"], "the depth of stage 2 is 2"),
        (&["--stages", "none:9", "--baseline", "x"], "it can be first-stage, none, none:9"),
        (&["--stages", "minilm-qa@elsewhere:9"], "`elsewhere`"),
        (&["--stages", "none:9", "--from-log", "--index", "i"], "cannot be used with"),
    ] {
        let (_, error) = lorank.fail(&with(flags), "");
        assert!(error.contains(message), "{flags:?}: {error}");
    }
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

/// A server that logged searches of the collection: BM25's order and the model's, with a click on the same document in each.
fn logged() -> Lorank {
    let lorank = collection();
    lorank.run(&["index", "--index", "i", "eggs/corpus.jsonl"]);
    let server = Server::start(&lorank, &["--index", "i", "--adapter", "none", "--listen", "127.0.0.1:0"]);
    for n in 0..4 {
        let body = json!({"query": "how long to boil an egg", "unit_id": format!("u{n}"), "rerank": n % 2 == 0});
        let (_, answer) = server.ask("POST", "/v1/search", &body.to_string());
        let event = json!({"action_name": "click", "query_id": answer["request_id"], "object_id": "d2", "timestamp": now_millis()});
        let (status, kept) = server.ask("POST", "/v1/events", &event.to_string());
        assert_eq!(status, 200, "{kept}");
    }
    let judgments = "{\"judgments\": [{\"query\": \"who made the lamp\", \"document\": \"d3\", \"grade\": 2}]}";
    let (status, kept) = server.ask("PUT", "/v1/judgments", judgments);
    assert_eq!(status, 200, "{kept}");
    server.end();
    lorank
}

fn now_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

#[test]
fn a_log_is_replayed_under_candidates() {
    let lorank = logged();
    let replay = ["eval", "--from-log", "--index", "i", "--adapter", "none"];
    let found = lorank.json(&[&replay[..], &["--json"]].concat());
    let counts = ["n_searches", "n_queries", "n_clicks", "n_replayed"].map(|key| found[key].as_u64().unwrap());
    assert_eq!(counts, [4, 1, 4, 1], "{found}");
    // The last search was BM25's, so the first stage agrees with it.
    let [first_stage, none] = [0, 1].map(|n| &found["rankers"][n]);
    assert_eq!((&first_stage["name"], first_stage["rbo"].as_f64()), (&"first-stage".into(), Some(1.0)));
    assert!(none["rbo"].as_f64().unwrap() < 1.0, "{none}");
    // `d2` was clicked at ranks 1 and 2, each time it was shown: both are examined as often.
    assert_eq!(found["examination"]["probabilities"][1], 1.0, "{found}");
    assert_eq!(none["clicks"]["candidate"], 1.0, "{none}");
    let text = lorank.run(&replay);
    for part in ["log of the index `default`: 4 searches of 1 query, 4 clicks", "Examination of ranks 1 to 2", "logged"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let (code, error) = lorank.fail(&[&replay[..], &["--log-index", "shop"]].concat(), "");
    assert!(code == 1 && error.contains("has no search of the index `shop`"), "{error}");
    let (_, error) = lorank.fail(&[&replay[..], &["--html", "page.html"]].concat(), "");
    assert!(error.contains("cannot be used with"), "{error}");
    let (_, error) = lorank.fail(&["eval", "--from-log"], "");
    assert!(error.contains("--index <DIR>"), "{error}");
    let (_, error) = lorank.fail(&[&replay[..], &["--data", "elsewhere"]].concat(), "");
    assert!(error.contains("`elsewhere` has no log of searches"), "{error}");
}

#[test]
fn judgments_are_read_from_the_service_and_from_files() {
    let lorank = logged();
    let found = lorank.json(&["eval", "--from-judgments", "--index", "i", "--json"]);
    assert_eq!((&found["collection"], &found["n_queries"]), (&"judgments".into(), &1.into()), "{found}");
    assert_eq!(found["rankers"][0]["means"][0], 1.0, "{found}");
    let files = ["eval", "--queries", "eggs/queries.jsonl", "--qrels", "eggs/qrels/test.tsv"];
    let found = lorank.json(&[&files[..], &["--index", "i", "--json"]].concat());
    assert_eq!(found["n_queries"], 2, "{found}");
    let (_, error) = lorank.fail(&files, "");
    assert!(error.contains("add --index, --queries and --qrels"), "{error}");
    let (_, error) = lorank.fail(&["eval", "--from-judgments", "--index", "i", "--data", "elsewhere"], "");
    assert!(error.contains("`elsewhere` has no judgments"), "{error}");
}
