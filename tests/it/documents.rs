//! Documents that come and go over HTTP, while they are searched.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::serving::Server;

const LISTEN: [&str; 4] = ["--index", "i", "--listen", "127.0.0.1:0"];

/// Where the server makes an empty index.
fn prepared() -> Lorank {
    Lorank::new()
}

fn bulk(server: &Server, lines: &str) -> Value {
    let (status, answer) = server.ask_as("application/x-ndjson", "POST", "/v1/documents", lines);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn ids(answer: &Value) -> Vec<String> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

/// The ids that words find, in first-stage order.
fn found(server: &Server, words: &str) -> Vec<String> {
    ids(&server.ask("GET", &format!("/v1/search?q={words}&rerank=false"), "").1)
}

#[test]
fn a_garbage_line_is_named_and_the_others_are_there() {
    let lorank = prepared();
    let server = Server::start(&lorank, &LISTEN);
    let answer = bulk(
        &server,
        "{\"id\": 1, \"text\": \"A light bulb.\", \"year\": 1879}\n\n garbage\n{\"id\": null, \"title\": \"no id\"}\n{\"id\": 2, \"text\": \"A tulip bulb.\"}",
    );
    assert_eq!(
        answer["lines"],
        json!([
            {"line": 1, "id": "1", "outcome": "added", "error": null},
            {"line": 3, "id": null, "outcome": "refused",
             "error": {"kind": "malformed_request", "message": "not valid JSON at column 2: a value is expected"}},
            {"line": 4, "id": null, "outcome": "refused",
             "error": {"kind": "invalid_value", "message": "the id in the field `id` is null; an id must be a string or an integer"}},
            {"line": 5, "id": "2", "outcome": "added", "error": null},
        ])
    );
    assert_eq!(found(&server, "bulb"), ["1", "2"]);
    let fields = json!({"text": "A light bulb.", "year": 1879});
    assert_eq!(server.ask("GET", "/v1/documents/1", ""), (200, json!({"id": "1", "fields": fields})));

    // The score of a text is no other text's: the replaced document is scored anew.
    let search = || server.ask("GET", "/v1/search?q=bulb", "").1;
    let before = search();
    let answer = bulk(&server, "{\"id\": 1, \"text\": \"Nothing but a bulb of garlic.\"}");
    assert_eq!((&answer["n_added"], &answer["n_replaced"], &answer["n_documents"]), (&json!(0), &json!(1), &json!(2)));
    let after = search();
    assert_eq!((&before["cache"]["misses"], &after["cache"]), (&json!(2), &json!({"hits": 1, "misses": 1})));

    assert_eq!(server.ask("DELETE", "/v1/documents/1", "").0, 204);
    assert_eq!(server.ask("DELETE", "/v1/documents/1", "").0, 404);
    assert_eq!(server.ask("GET", "/v1/documents/1", "").0, 404);
    assert_eq!(found(&server, "bulb"), ["2"]);
    let stats = server.ask("GET", "/v1/stats", "").1;
    assert_eq!((&stats["documents"]["n_documents"], &stats["cache"]["n_entries"]), (&json!(1), &json!(3)), "{stats}");
}

#[test]
fn queries_delete_what_they_match() {
    let lorank = prepared();
    let server = Server::start(&lorank, &LISTEN);
    let line = |n: usize| format!("{{\"id\": {n}, \"text\": \"number{n} {}\", \"n\": {n}}}\n", ["even", "odd"][n % 2]);
    bulk(&server, &(0..10).map(line).collect::<String>());
    let delete = |body: Value| {
        let (status, answer) = server.ask("DELETE", "/v1/documents", &body.to_string());
        assert_eq!(status, 200, "{answer}");
        (answer["n_deleted"].as_u64().unwrap(), answer["n_documents"].as_u64().unwrap())
    };
    assert_eq!(delete(json!({"query": "even", "filters": {"n": {"gte": 6}}})), (2, 8));
    assert_eq!(delete(json!({"filters": {"n": [1, 2, 77]}})), (2, 6));
    assert_eq!(delete(json!({"query": "+odd -number9", "syntax": "advanced"})), (3, 3));
    assert_eq!(delete(json!({"query": "nowhere"})), (0, 3));
    assert_eq!((found(&server, "odd"), found(&server, "even").len()), (vec!["9".to_owned()], 2));
    assert_eq!(server.ask("DELETE", "/v1/documents", "{}").0, 422);
    let (status, refused) = server.ask("DELETE", "/v1/documents", "{\"query\": \"(odd\", \"syntax\": \"advanced\"}");
    assert_eq!((status, &refused["error"]["field"]), (422, &json!("query")), "{refused}");
    assert_eq!(delete(json!({"all": true})), (3, 0));
}

#[test]
fn what_is_acknowledged_survives_a_kill() {
    let lorank = prepared();
    let server = Server::start(&lorank, &LISTEN);
    for n in 0..5 {
        bulk(&server, &format!("{{\"id\": {n}, \"text\": \"bulb\"}}\n"));
    }
    assert_eq!(server.ask("DELETE", "/v1/documents/3", "").0, 204);
    server.kill();
    let again = Server::start(&lorank, &LISTEN);
    assert_eq!(found(&again, "bulb"), ["0", "1", "2", "4"]);
    assert_eq!(bulk(&again, "{\"id\": 4, \"text\": \"bulb\"}")["n_replaced"], 1, "the lock has gone with the process");
}

#[test]
fn two_processes_do_not_write_at_once() {
    let lorank = prepared();
    let servers = [Server::start(&lorank, &LISTEN), Server::start(&lorank, &LISTEN)];
    bulk(&servers[0], "{\"id\": 1, \"text\": \"bulb\"}");
    let (status, refused) = servers[1].ask_as("application/x-ndjson", "POST", "/v1/documents", "{\"id\": 2}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!((status, &refused["error"]["kind"]), (409, &json!("conflict")));
    assert!(message.ends_with("is locked by another writer; wait until it has finished"), "{message}");
    assert_eq!(found(&servers[1], "bulb"), ["1"], "but both see what is committed");
}

#[test]
fn searching_and_indexing_do_not_disturb_each_other() {
    let lorank = prepared();
    let server = Server::start(&lorank, &LISTEN);
    bulk(&server, "{\"id\": \"always\", \"text\": \"bulb\"}");
    let (is_over, n_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut n_before = 1;
                while !is_over.load(Ordering::Relaxed) {
                    let (status, answer) = server.ask("GET", "/v1/search?q=bulb&rerank=false&top_k=1000&fields=", "");
                    let hits = ids(&answer);
                    // Documents only come here.
                    assert!(status == 200 && hits.contains(&"always".to_owned()), "{answer}");
                    assert!(hits.len() >= n_before, "{} after {n_before}", hits.len());
                    n_before = hits.len();
                    n_answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let writers = [0, 1, 2].map(|writer| {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                for n in 0..10 {
                    let line = |part| format!("{{\"id\": \"{writer}-{n}-{part}\", \"text\": \"bulb\"}}\n");
                    assert_eq!(bulk(server, &(0..5).map(line).collect::<String>())["n_added"], 5);
                    let (status, _) = server.ask("GET", &format!("/v1/documents/{writer}-{n}-4"), "");
                    assert!(status == 200 && !is_over.load(Ordering::Relaxed), "acknowledged means seen");
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.ask("GET", "/v1/stats", "").1["documents"]["n_documents"], 151);
    assert!(n_answers.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_requested_field_that_no_document_has_is_a_warning() {
    let lorank = Lorank::new();
    let documents = "{\"id\": 1, \"title\": \"bulb\", \"text\": \"A light bulb.\", \"meta\": {\"lang\": \"en\"}}\n\
                     {\"id\": 2, \"text\": \"A lamp.\", \"year\": 1990}\n";
    lorank.run_with(&["index", "--index", "i", "-"], documents);
    let server = Server::start(&lorank, &["--index", "i", "--adapter", "none", "--listen", "127.0.0.1:0"]);
    // `year` is a field of another document than the hit.
    for (fields, expected) in [
        ("title,year,meta,id", json!([])),
        (
            "titel",
            json!([
                "`fields` names `titel`, which no document has (did you mean `title`?); the fields are `meta`, `text`, `title`, `year`"
            ]),
        ),
        (
            "meta.lang",
            json!(["`fields` names `meta.lang`, a part of the field `meta`; whole fields are returned: name `meta`"]),
        ),
    ] {
        let (status, answer) = server.ask("GET", &format!("/v1/search?q=bulb&rerank=false&fields={fields}"), "");
        let messages: Vec<&Value> = answer["warnings"].as_array().unwrap().iter().map(|w| &w["message"]).collect();
        assert_eq!((status, json!(messages)), (200, expected), "{answer}");
    }
    let (_, answer) = server.ask("GET", "/v1/search?q=nothing&rerank=false&fields=titel", "");
    assert_eq!(answer["warnings"], json!([]), "without a hit nothing is missing");
    let body = json!({"query": "bulb", "adapters": ["none"], "fields": ["titel"]}).to_string();
    let (_, compared) = server.ask("POST", "/v1/compare", &body);
    assert_eq!(compared["warnings"][0]["reason"], "unknown_field", "{compared}");
}
