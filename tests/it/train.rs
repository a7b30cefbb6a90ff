//! `lorank train` and `lorank export-groups` on a few groups and clicks: the adapter is written, used, and the same again; bad input is
//! named.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::serving::Server;

/// Groups whose relevant document is the second by the base model.
fn groups(lorank: &Lorank) {
    let line = |n: usize| {
        let documents = [
            (0, format!("Question {n} is asked here.")),
            (1, format!("Number {n}: the lamp is lit.")),
            (0, "Hens.".to_owned()),
        ];
        let documents: Vec<Value> =
            documents.iter().map(|(label, text)| json!({"text": text, "label": label})).collect();
        json!({"query_id": n.to_string(), "query": format!("question {n}"), "documents": documents}).to_string()
    };
    lorank.write("groups.jsonl", &(0..5).map(|n| line(n) + "\n").collect::<String>());
}

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--groups", "groups.jsonl", "--learning-rate", "1e-3", "--batch", "2", "--rank", "4"][..], more]
        .concat()
}

#[test]
fn an_adapter_is_trained_used_and_the_same_again() {
    let lorank = Lorank::new();
    groups(&lorank);
    let lines = lorank.run(&with(&["--output", "mine", "--epochs", "3", "--json"]));
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&events[0]["event"], &events[0]["n_groups"], &events[0]["n_held_out"]),
        (&"start".into(), &4.into(), &1.into())
    );
    let steps: Vec<&Value> = events.iter().filter(|event| event["event"] == "step").collect();
    assert_eq!(steps.len(), 6);
    let loss = |step: &Value| step["loss"].as_f64().unwrap();
    assert!(loss(steps[5]) < loss(steps[0]), "{lines}");
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["reason"]), (&"end".into(), &"finished".into()));

    lorank.run(&with(&["--output", "again", "--epochs", "3"]));
    let weights = |folder: &str| fs::read(lorank.path(&format!("{folder}/adapter_model.safetensors"))).unwrap();
    assert_eq!(weights("mine"), weights("again"));
    lorank.run(&with(&["--output", "other", "--epochs", "3", "--seed", "1"]));
    assert_ne!(weights("mine"), weights("other"));

    let added = lorank.run(&["adapters", "add", "mine", "./mine"]);
    assert!(added.contains("mine"), "{added}");
    let (_, error) = lorank.fail(&with(&["--output", "mine"]), "");
    assert!(error.contains("`mine` has an adapter; name another folder, or use --overwrite"), "{error}");
}

/// The operations of a GPU, on the CPU, give the same steps as the kernels; the same seed gives the same adapter, with dropout too.
#[test]
fn the_reference_trains_as_the_kernels_do() {
    let lorank = Lorank::new();
    groups(&lorank);
    let losses = |more: &[&str]| -> Vec<f64> {
        let lines = lorank.run(&with(&[&["--overwrite", "--epochs", "2", "--json"], more].concat()));
        let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&events[0]["device"], &events[0]["precision"]), (&"cpu".into(), &"f32".into()));
        events.iter().filter_map(|event| event["loss"].as_f64()).collect()
    };
    let kernels = losses(&["--output", "mine", "--dropout", "0"]);
    let reference = losses(&["--output", "mine", "--dropout", "0", "--reference"]);
    assert_eq!((kernels.len(), reference.len()), (4, 4));
    for (loss, expected) in reference.iter().zip(&kernels) {
        assert!((loss - expected).abs() < 1e-3 * expected, "{reference:?}, not {kernels:?}");
    }
    losses(&["--output", "a", "--reference", "--threads", "1"]);
    losses(&["--output", "b", "--reference", "--threads", "1"]);
    let weights = |folder: &str| fs::read(lorank.path(&format!("{folder}/adapter_model.safetensors"))).unwrap();
    assert_eq!(weights("a"), weights("b"));
    let added = lorank.run(&["adapters", "add", "mine", "./mine"]);
    assert!(added.contains("mine"), "{added}");
}

/// Ctrl-C ends the training, and the best adapter stays.
#[test]
#[cfg(unix)]
fn an_interrupted_training_ends_with_its_adapter() {
    use std::io::{BufRead, BufReader};

    let lorank = Lorank::new();
    groups(&lorank);
    let args = with(&["--output", "mine", "--epochs", "100000", "--patience", "1000000", "--json"]);
    let mut command = crate::command::std_command(lorank.folder.path());
    let mut child = command.args(args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert!(events.any(|event| event["is_best"] == true));
    let saved = || fs::read(lorank.path("mine/adapter_model.safetensors")).unwrap();
    assert!(!saved().is_empty());
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["reason"]), (&"end".into(), &"interrupted".into()));
    assert!(child.wait().unwrap().success());
    lorank.run(&["adapters", "add", "mine", "./mine"]);
}

/// A server's log in the folder `data`: two queries, of which every second search has the model's order and the others BM25's, with a
/// click on the same document each time.
fn clicked(lorank: &Lorank, data: &str, reranks: &[bool]) {
    lorank.write(
        "eggs.jsonl",
        "{\"_id\": \"d1\", \"title\": \"Egg\", \"text\": \"An egg, an egg, an egg.\"}\n\
         {\"_id\": \"d2\", \"text\": \"Boil an egg for nine minutes, then cool it in cold water.\"}\n",
    );
    if !lorank.path("i").exists() {
        lorank.run(&["index", "--index", "i", "eggs.jsonl"]);
    }
    let args = ["--index", "i", "--data", data, "--adapter", "none", "--listen", "127.0.0.1:0"];
    let server = Server::start(lorank, &args);
    for (n, rerank) in reranks.iter().enumerate() {
        for query in ["how long to boil an egg", "how many minutes to boil an egg"] {
            let body = json!({"query": query, "unit_id": format!("u{n}"), "rerank": rerank});
            let (_, answer) = server.ask("POST", "/v1/search", &body.to_string());
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let event =
                json!({"action_name": "click", "query_id": answer["request_id"], "object_id": "d2", "timestamp": now});
            let (status, kept) = server.ask("POST", "/v1/events", &event.to_string());
            assert_eq!(status, 200, "{kept}");
        }
    }
    server.end();
}

#[test]
fn an_adapter_is_trained_from_clicks() {
    let lorank = Lorank::new();
    clicked(&lorank, "data", &[true, false]);
    let clicks = ["train", "--clicks", "--index", "i", "--data", "data"];
    let text = lorank.run(&[&clicks[..], &["--dry-run"]].concat());
    for part in [
        "log of the index `default`: 4 searches of 2 queries, 4 clicks",
        "2 groups with 4 documents",
        "Examination of ranks 1 to 2, from 2 documents that a query showed at several ranks: 1.00 1.00",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let found = lorank.json(&[&clicks[..], &["--dry-run", "--json"]].concat());
    let counts = ["n_searches", "n_queries", "n_clicks", "n_groups", "n_documents", "n_missing"];
    assert_eq!(counts.map(|key| found[key].as_u64().unwrap()), [4, 2, 4, 2, 4, 0], "{found}");

    let text = lorank.run(&["export-groups", "--clicks", "--index", "i", "--data", "data"]);
    let groups: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for group in &groups {
        for document in group["documents"].as_array().unwrap() {
            assert_eq!(document["label"] == 1.0, document["id"] == "d2", "{text}");
        }
    }
    let lines = lorank.run(&[&clicks[..], &["--output", "mine", "--epochs", "1", "--rank", "4", "--json"]].concat());
    let start: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&start["n_groups"], &start["n_held_out"]), (&1.into(), &1.into()), "{lines}");
    assert!(start["held_out"][0].as_str().unwrap().ends_with("to boil an egg"), "{lines}");
    lorank.run(&["adapters", "add", "mine", "./mine"]);
}

#[test]
fn clicks_that_cannot_be_learned_from_are_named() {
    let lorank = Lorank::new();
    clicked(&lorank, "data", &[false]);
    let clicks = ["train", "--clicks", "--index", "i", "--data", "data"];
    let with = |more: &[&'static str]| [&clicks[..], more].concat();
    for (args, expected) in [
        (
            with(&["--dry-run"]),
            "position bias cannot be estimated: no document was clicked at rank 1 and at another rank",
        ),
        (with(&["--dry-run", "--log-index", "shop"]), "has no search of the index `shop`"),
        (with(&["--dry-run", "--output", "mine"]), "cannot be used with"),
        (with(&["--output", "mine", "--negatives", "3"]), "cannot be used with"),
        (with(&["--output", "mine", "--dataset", "eggs"]), "cannot be used with"),
        (vec!["train", "--clicks", "--dry-run"], "--index <DIR>"),
        (vec!["train", "--groups", "g", "--dry-run"], "cannot be used with"),
        (vec!["train", "--groups", "g", "--output", "mine", "--position-bias", "ignore"], "cannot be used with"),
        (vec!["train", "--clicks", "--index", "i", "--data", "elsewhere", "--dry-run"], "has no log of searches"),
    ] {
        let (_, error) = lorank.fail(&args, "");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
    let text = lorank.run(&with(&["--dry-run", "--position-bias", "ignore"]));
    assert!(text.contains("Position bias is ignored: labels are raw click rates"), "{text}");
}

#[test]
fn groups_are_made_from_judgments_with_the_teachers_scores() {
    let lorank = Lorank::new();
    lorank.write(
        "eggs/corpus.jsonl",
        "{\"_id\": \"d1\", \"title\": \"Egg\", \"text\": \"An egg.\"}\n{\"_id\": \"d2\", \"text\": \"Boil an egg for nine minutes.\"}\n\
         {\"_id\": \"d3\", \"text\": \"An egg from a hen.\"}\n",
    );
    lorank.write(
        "eggs/queries.jsonl",
        "{\"_id\": \"q1\", \"text\": \"boil an egg\"}\n{\"_id\": \"q2\", \"text\": \"hen\"}\n",
    );
    lorank.write("eggs/qrels/train.tsv", "q1\td2\t2\nq1\td1\t0\nq2\td3\t1\n");
    let text = lorank.run(&["export-groups", "--dataset", "eggs", "--teacher", "none"]);
    let groups: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(groups.len(), 2);
    assert_eq!((&groups[0]["query_id"], &groups[0]["documents"][0]["id"]), (&"q1".into(), &"d2".into()));
    assert_eq!(groups[0]["documents"][0]["label"], 2.0);
    let documents = groups[0]["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 3);
    assert!(documents.iter().all(|document| document["teacher"].is_number()), "{text}");
    assert!(documents[1..].iter().all(|document| document["label"] == 0.0), "{text}");
}

#[test]
fn what_cannot_be_trained_is_named() {
    let lorank = Lorank::new();
    groups(&lorank);
    let group =
        |label: &str| format!("{{\"query\": \"q\", \"documents\": [{{\"text\": \"t\", \"label\": {label}}}]}}\n");
    lorank.write("one.jsonl", &group("1"));
    lorank.write("label.jsonl", &group("21"));
    lorank.write("none.jsonl", &group("0").repeat(2));
    for (args, expected) in [
        (vec!["--groups", "one.jsonl"], "nothing can be trained: there is one query"),
        (
            vec!["--groups", "label.jsonl"],
            "line 1 of `label.jsonl`: the label 21 of document 1 is not between 0 and 20",
        ),
        (vec!["--groups", "none.jsonl"], "nothing can be trained: no group has a relevant document"),
        (vec!["--groups", "missing.jsonl"], "could not read `missing.jsonl`"),
        (
            vec!["--groups", "groups.jsonl", "--targets", "q_proj"],
            "has no linear layer `q_proj` to train; it has dense, key",
        ),
        (vec!["--groups", "groups.jsonl", "--loss", "mse"], "the loss needs the teacher's scores"),
        (vec!["--groups", "groups.jsonl", "--precision", "int8"], "training uses f32"),
        (vec!["--groups", "groups.jsonl", "--device", "cuda:1"], "need candle with CUDA; build with `--features cuda`"),
        (vec!["--groups", "groups.jsonl", "--reference", "--precision", "int8"], "supports `bf16` and `f32`"),
        (vec!["--groups", "groups.jsonl", "--dropout", "1"], "it must be from 0 to below 1"),
        (vec!["--groups", "groups.jsonl", "--base", "nowhere"], "nowhere"),
        (vec!["--groups", "groups.jsonl", "--negatives", "3"], "--negatives"),
        (vec![], "--dataset"),
    ] {
        let args = [&["train", "--output", "mine"][..], &args].concat();
        let (_, error) = lorank.fail(&args, "");
        assert!(error.contains(expected), "{args:?}: {error}");
    }
    assert!(!lorank.path("mine").exists());
}
