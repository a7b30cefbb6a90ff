//! `adapters`: the registry from the command line.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::command::Lorank;

fn fixture(name: &str) -> String {
    lorank_testing::fixture(name).display().to_string()
}

/// Where the registry keeps the tensors of an adapter.
fn weights(lorank: &Lorank, id: &str) -> PathBuf {
    let content = lorank.json(&["adapters", "show", id, "--json"])["content"].as_str().unwrap().to_owned();
    lorank.path("share/lorank/adapters/adapters").join(content).join("adapter_model.safetensors")
}

fn ids(lorank: &Lorank) -> Vec<String> {
    let list = lorank.json(&["adapters", "list", "--json"]);
    list["adapters"].as_array().unwrap().iter().map(|adapter| adapter["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_adapter_is_added_listed_shown_and_removed() {
    let lorank = Lorank::new();
    let empty = lorank.run(&["adapters", "list"]);
    assert!(empty.contains("has no adapters; add one with `lorank adapters add ID SOURCE`"), "{empty}");
    assert!(!lorank.path("share").exists(), "who only reads leaves nothing behind");

    let added = lorank.run(&["adapters", "add", "qa", "minilm-qa", "--alias", "default"]);
    assert!(added.starts_with("added qa (rank ") && added.contains("\ndefault now points to qa\n"), "{added}");
    assert!(lorank.run(&["adapters", "add", "qa", "minilm-qa"]).starts_with("qa exists already"));
    let shown = lorank.json(&["adapters", "show", "default", "--json"]);
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "id",
            "digest",
            "content",
            "source",
            "revision",
            "added_at",
            "base_model",
            "rank",
            "targets",
            "n_parameters",
            "bytes",
            "aliases"
        ]
    );
    assert_eq!(
        (&shown["id"], &shown["source"], &shown["aliases"]),
        (&json!("qa"), &json!("starter:minilm-qa"), &json!(["default"]))
    );
    let embedded = lorank.json(&["info", "--json"])["model"]["adapters"][0].clone();
    for fact in ["digest", "rank", "n_parameters"] {
        assert_eq!(shown[fact], embedded[fact], "{fact}: the copy is the adapter that was embedded");
    }
    let text = lorank.run(&["adapters", "show", "qa"]);
    assert!(
        text.contains("\nsource        starter:minilm-qa\n") && text.contains("\naliases       default\n"),
        "{text}"
    );

    lorank.run(&["adapters", "add", "science", "minilm-science"]);
    let table = lorank.run(&["adapters", "list"]);
    assert!(table.starts_with("id       aliases  rank "), "{table}");
    assert!(table.contains("\nqa       default ") && table.contains("\nscience  -  "), "{table}");

    assert_eq!(
        lorank.run(&["adapters", "alias", "default", "science"]),
        "default now points to science (before, to qa)\n\
         not checked on a base model: no server runs with this registry, and --base is not given\n"
    );
    let (code, error) = lorank.fail(&["adapters", "remove", "science"], "");
    assert!(code == 1 && error.contains("adapter `science` is in use by alias `default`"), "{error}");
    assert_eq!(lorank.run(&["adapters", "unalias", "default"]), "removed the alias default (before, to science)\n");
    assert_eq!(lorank.run(&["adapters", "remove", "science"]), "removed science\n");
    assert_eq!(ids(&lorank), ["qa"]);
}

#[test]
fn a_changed_byte_is_found_and_put_right() {
    let lorank = Lorank::new();
    lorank.run(&["adapters", "add", "a", &fixture("tiny-llama/adapter-a")]);
    lorank.run(&["adapters", "add", "b", &fixture("tiny-llama/adapter-b")]);
    assert_eq!(lorank.run(&["adapters", "verify"]), "2 adapters are unchanged since they were added\n");

    let path = weights(&lorank, "b");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = lorank.command(&["adapters", "verify"]).output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(text.ends_with("adapter_model.safetensors` was changed; add adapter `b` again\n"), "{text}");
    assert!(error.starts_with("error: 1 of the files and folders in "), "{error}");
    let output = lorank.command(&["adapters", "verify", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&found["n_adapters"], &found["findings"][0]["what"]), (&json!(2), &json!("changed")));
    assert_eq!(found["findings"][0]["ids"], json!(["b"]));

    lorank.run(&["adapters", "add", "b", &fixture("tiny-llama/adapter-b")]);
    lorank.run(&["adapters", "verify"]);
}

#[test]
fn an_adapter_is_tried_on_its_base_model_where_that_is_named() {
    let lorank = Lorank::new();
    let base = fixture("tiny-llama/base");
    let (code, error) = lorank.fail(&["adapters", "add", "a", &fixture("tiny-bert/adapter-a"), "--base", &base], "");
    assert!(code == 1 && error.contains("error: could not load the adapter"), "{error}");
    assert_eq!(ids(&lorank), [""; 0]);
    lorank.run(&["adapters", "add", "a", &fixture("tiny-llama/adapter-a"), "--base", &base]);
    assert_eq!(ids(&lorank), ["a"]);
    // Nobody asked for a base model here, so nobody knows.
    lorank.run(&["adapters", "add", "b", &fixture("tiny-bert/adapter-a")]);
}

#[test]
fn what_came_from_the_hub_keeps_its_commit() {
    let lorank = Lorank::new();
    let repository = lorank.path("hf/hub/models--owner--qa");
    let (commit, snapshots) = ("0123456789abcdef0123456789abcdef01234567", repository.join("snapshots"));
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), commit).unwrap();
    std::fs::create_dir_all(snapshots.join(commit)).unwrap();
    lorank_testing::copy_fixture("tiny-llama/adapter-a", &snapshots.join(commit));
    let added = lorank.json(&["adapters", "add", "qa", "hf://owner/qa", "--json"]);
    assert_eq!(
        (&added["source"], &added["revision"], &added["outcome"]),
        (&json!("hf://owner/qa"), &json!(commit), &json!("added"))
    );
    let shown = lorank.run(&["adapters", "show", "qa"]);
    assert!(shown.contains(&format!("\nsource        hf://owner/qa at {commit}\n")), "{shown}");
}

#[test]
fn what_cannot_be_done_says_why() {
    let lorank = Lorank::new();
    lorank.fail(&["adapters", "remove", "a"], "");
    assert!(!lorank.path("share").exists(), "what failed has made nothing");
    lorank.run(&["adapters", "add", "a", &fixture("tiny-llama/adapter-a")]);
    for (args, part) in [
        (&["show", "b"][..], "the registry has no adapter and no alias `b`; known names: `a`"),
        (&["remove", "b"], "no adapter and no alias `b`"),
        (&["alias", "default", "b"], "no adapter and no alias `b`"),
        (&["alias", "a", "a"], "`a` is an adapter id"),
        (&["unalias", "default"], "no alias `default`"),
        (&["add", "b", "minilm-qa", "--alias", "a"], "`a` is an adapter id"),
        (&["add", "default", "minilm-qa"], "the adapter id `default` is reserved"),
        (&["add", "b", "nowhere"], "`nowhere` is neither a folder nor a built-in name"),
        (&["add", "b", "."], "has no `adapter_config.json`"),
        (
            &["show", "a", "--server", "http://127.0.0.1:1"],
            "could not get the adapter `a` from the server `http://127.0.0.1:1`",
        ),
    ] {
        let (code, error) = lorank.fail(&[&["adapters"], args].concat(), "");
        assert!(code == 1 && error.contains(part), "{args:?}: {error}");
    }
    assert_eq!(ids(&lorank), ["a"], "what failed has added nothing");
}

#[test]
fn a_running_experiment_holds_its_adapters() {
    let lorank = Lorank::new();
    lorank.run(&["adapters", "add", "a", &fixture("tiny-llama/adapter-a"), "--alias", "new"]);
    lorank.run(&["experiments", "create", "e", "--arm", "old=none", "--arm", "new=new"]);
    lorank.run(&["adapters", "unalias", "new"]);
    lorank.run(&["adapters", "alias", "new", "a"]);
    lorank.run(&["experiments", "start", "e"]);
    let (code, error) = lorank.fail(&["adapters", "remove", "a"], "");
    assert!(code == 1 && error.contains("in use by alias `new`, running experiment `e`"), "{error}");

    lorank.run(&["adapters", "add", "b", &fixture("tiny-llama/adapter-b")]);
    // The arm is pinned to what the alias stood for at the start, so the alias may go anywhere, and the adapter may not.
    let output = lorank.command(&["adapters", "alias", "new", "b"]).output().unwrap();
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !warning.contains("running experiment"), "{warning}");
    lorank.run(&["adapters", "unalias", "new"]);
    let (code, error) = lorank.fail(&["adapters", "remove", "a"], "");
    assert!(code == 1 && error.contains("adapter `a` is in use by running experiment `e`"), "{error}");
    let (a, b) = (fixture("tiny-llama/adapter-a"), fixture("tiny-llama/adapter-b"));
    let (code, error) = lorank.fail(&["adapters", "add", "a", &b, "--replace"], "");
    let part = "adapter `a` is in use by running experiment `e` and cannot be replaced";
    assert!(code == 1 && error.contains(part), "{error}");
    assert!(lorank.run(&["adapters", "add", "a", &a, "--replace"]).starts_with("a exists already"), "the same files");
    lorank.run(&["experiments", "stop", "e"]);
    assert!(lorank.run(&["adapters", "add", "a", &b, "--replace"]).starts_with("replaced a"));
    lorank.run(&["adapters", "remove", "b"]);
    lorank.run(&["adapters", "remove", "a", "--force"]);
    assert_eq!(
        lorank.json(&["adapters", "list", "--json"]),
        json!({"adapters": [], "aliases": {}, "bases": {}, "rank_by": {}})
    );
}

/// A server that gives one answer; its address, and what it was asked.
fn answering(status: &str, body: &str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
        let asked: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        stream.write_all(answer.as_bytes()).unwrap();
        asked.join("\n")
    });
    (url, asked)
}

#[test]
fn a_server_says_what_it_has_in_memory() {
    let lorank = Lorank::new();
    lorank.run(&["adapters", "add", "a", &fixture("tiny-llama/adapter-a"), "--alias", "default"]);
    let digest = lorank.json(&["adapters", "show", "a", "--json"])["digest"].clone();
    let body = json!({"id": "a", "digest": digest, "in_memory": true, "cached_scores": 1234, "rank": 16}).to_string();

    let (url, asked) = answering("200 OK", &body);
    let text = lorank.run(&["adapters", "show", "default", "--server", &url, "--key", "secret"]);
    assert!(text.ends_with("in memory     yes\ncached scores 1,234\n"), "{text}");
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("GET /v1/adapters/a HTTP/1.1\n"), "{asked}");
    assert!(asked.to_lowercase().contains("\nauthorization: bearer secret"), "{asked}");

    let (url, asked) = answering("200 OK", &body.replace(digest.as_str().unwrap(), "5eed"));
    let shown = lorank.json(&["adapters", "show", "a", "--json", "--server", &format!("{url}/")]);
    assert_eq!((&shown["in_memory"], &shown["cached_scores"]), (&json!(true), &json!(1234)));
    asked.join().unwrap();

    let (url, asked) = answering("401 Unauthorized", "{}");
    let (code, error) = lorank.fail(&["adapters", "show", "a", "--server", &url], "");
    assert!(code == 1 && error.contains("\n  because: the key is missing or insufficient"), "{error}");
    asked.join().unwrap();
}
