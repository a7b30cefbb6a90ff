//! A program that is killed in the middle of indexing.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::command::{Lorank, std_command};
use crate::serving::Server;

/// How many documents the index holds, once it can be opened.
fn n_documents(lorank: &Lorank) -> Option<u64> {
    let output = lorank.command(&["info", "--index", "i", "--json"]).output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).ok()?;
    info["index"]["n_documents"].as_u64()
}

fn line(n: u64) -> String {
    format!("{{\"id\": {n}, \"text\": \"document number {n}\"}}\n")
}

#[test]
fn what_was_committed_survives_and_indexing_again_completes() {
    let lorank = Lorank::new();
    let mut command = std_command(lorank.folder.path());
    command.args(["index", "--index", "i", "--commit-every", "100", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Standard input stays open, so the program is in the middle for as long as we like. It reads on past each commit,
    // so once it has taken more than a pipe holds after line 500, the commit of the 500 is made or under way.
    let mut stdin = child.stdin.take().unwrap();
    for n in 0..550 {
        stdin.write_all(line(n).as_bytes()).unwrap();
    }
    stdin.flush().unwrap();
    let is_committed = (0..2_000).any(|_| n_documents(&lorank) == Some(500));
    assert!(is_committed, "asked 2,000 times, and the 500 documents are not there");
    assert_eq!(child.try_wait().unwrap(), None, "the program ended before it was killed");
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(n_documents(&lorank), Some(500), "the last commit is there, and nothing after it");
    let all: String = (0..550).map(line).collect();
    lorank.run_with(&["index", "--index", "i", "-"], &all);
    assert_eq!(n_documents(&lorank), Some(550));
}

#[test]
fn a_first_run_that_is_killed_leaves_nothing_that_is_taken_for_an_index() {
    let lorank = Lorank::new();
    let mut command = std_command(lorank.folder.path());
    command.args(["index", "--index", "i", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line(1).as_bytes()).unwrap();
    stdin.flush().unwrap();
    let is_begun = (0..2_000).any(|_| lorank.fail(&["info", "--index", "i"], "").1.contains("is not finished"));
    assert!(is_begun, "asked 2,000 times, and the index is not begun");
    let (code, error) = lorank.fail(&["index", "--index", "i", "-"], &line(2));
    assert!(code == 1 && error.contains("locked by another writer"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();

    for command in [&["search", "--index", "i", "--no-rerank", "document"][..], &["serve", "--index", "i"]] {
        let (code, error) = lorank.fail(command, "");
        assert!(code == 1 && error.contains("is under way or was interrupted"), "{command:?}: {error}");
    }
    lorank.run_with(&["index", "--index", "i", "-"], &line(3));
    assert_eq!(n_documents(&lorank), Some(1), "nothing of the killed run is left");
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    assert_eq!(server.ask("GET", "/v1/search?q=document&rerank=false", "").1["total_hits"], 1);
}
