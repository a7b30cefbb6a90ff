//! Several indexes in one server.

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::serving::Server;

fn found(server: &Server, target: &str) -> Vec<String> {
    let (status, answer) = server.ask("GET", target, "");
    assert_eq!(status, 200, "{target}: {answer}");
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_index_has_its_own_documents_and_all_share_one_cache() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 1, \"text\": \"A light bulb burns.\"}\n");
    let shop =
        "{\"id\": 1, \"text\": \"A light bulb burns.\"}\n{\"id\": 2, \"text\": \"A lamp, sold without a bulb.\"}\n";
    lorank.run_with(&["index", "--index", "s", "-"], shop);
    let server = Server::start(&lorank, &["--index", "i", "--index", "shop=s", "--listen", "127.0.0.1:0"]);

    let documents = |n: u64, answer: &Value| assert_eq!(answer["documents"]["n_documents"], n, "{answer}");
    let (_, indexes) = server.ask("GET", "/v1/indexes", "");
    let names: Vec<&Value> = indexes["indexes"].as_array().unwrap().iter().map(|index| &index["name"]).collect();
    assert_eq!(names, ["default", "shop"]);
    let field = |name, boost: Option<f32>, types: &[&str]| json!({"name": name, "is_searched": boost.is_some(), "boost": boost, "types": types});
    let searched = [field("title", Some(1.0), &[]), field("text", Some(1.0), &[])];
    assert_eq!(indexes["indexes"][1]["fields"], json!(searched), "no other field");
    documents(1, &server.ask("GET", "/v1/stats", "").1);
    documents(2, &server.ask("GET", "/v1/indexes/shop/stats", "").1);

    for (target, expected) in [
        ("/v1/search?q=bulb&rerank=false", &["1"][..]),
        ("/v1/indexes/default/search?q=bulb&rerank=false", &["1"]),
        ("/v1/indexes/shop/search?q=bulb&rerank=false", &["1", "2"]),
        ("/v1/indexes/shop/search?match_all=true&sort=id:desc", &["2", "1"]),
    ] {
        assert_eq!(found(&server, target), expected, "{target}");
    }
    // The key of a score is the text, in whichever index it stands.
    assert_eq!(server.ask("GET", "/v1/search?q=light+bulb", "").1["cache"], json!({"hits": 0, "misses": 1}));
    let (_, answer) = server.ask("POST", "/v1/indexes/shop/search", "{\"query\": \"light bulb\"}");
    assert_eq!(answer["cache"], json!({"hits": 1, "misses": 1}));
    let (status, compared) =
        server.ask("POST", "/v1/indexes/shop/compare", "{\"query\": \"lamp\", \"adapters\": [\"none\"]}");
    assert_eq!((status, compared["total_hits"].as_u64()), (200, Some(1)));

    let line = "{\"id\": 3, \"text\": \"Another bulb.\"}";
    assert_eq!(server.ask_as("application/x-ndjson", "POST", "/v1/indexes/shop/documents", line).0, 200);
    assert_eq!(server.ask("GET", "/v1/indexes/shop/documents/3", "").1["fields"], json!({"text": "Another bulb."}));
    assert_eq!(server.ask("GET", "/v1/documents/3", "").0, 404);
    assert_eq!(server.ask("DELETE", "/v1/indexes/shop/documents/3", "").0, 204);
    assert_eq!(server.ask("DELETE", "/v1/indexes/shop/documents", "{\"query\": \"lamp\"}").1["n_deleted"], 1);
    documents(1, &server.ask("GET", "/v1/indexes/shop/stats", "").1);

    for target in ["search?q=x", "documents/1", "stats"] {
        let (status, answer) = server.ask("GET", &format!("/v1/indexes/nope/{target}"), "");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            status == 404 && message.starts_with("unknown index `nope`; the indexes are `default`, `shop`"),
            "{answer}"
        );
    }
    assert_eq!(server.ask("GET", "/ready", "").1["checks"]["index"], "ok");
    let metrics = server.ask("GET", "/metrics", "").1;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("index=\"shop\"") && metrics.contains("route=\"/v1/indexes/{index}/search\""),
        "{metrics}"
    );
    assert!(!metrics.contains("nope"), "callers make no series: {metrics}");
}

#[test]
fn without_a_default_index_requests_name_one() {
    let lorank = Lorank::new();
    for folder in ["a", "b"] {
        lorank.run_with(&["index", "--index", folder, "-"], "{\"id\": 1, \"text\": \"one\"}\n");
    }
    lorank.write("lorank.toml", "index = ['a=a', 'b=b']\n");
    let server = Server::start(&lorank, &["--config", "lorank.toml", "--listen", "127.0.0.1:0"]);
    let (status, answer) = server.ask("GET", "/v1/search?q=one", "");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(status == 404 && message.starts_with("unknown index `default`; the indexes are `a`, `b`"), "{answer}");
    assert_eq!(found(&server, "/v1/indexes/b/search?q=one"), ["1"]);
    let body = "{\"query\": \"one\", \"documents\": [\"one\"]}";
    assert_eq!(server.ask("POST", "/v1/rerank", body).0, 200, "reranking needs no index");
    assert_eq!(server.ask("GET", "/v1/stats", "").1["documents"], Value::Null);
}

#[test]
fn indexes_that_cannot_be_told_apart_are_refused() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 1, \"text\": \"one\"}\n");
    for (args, message) in [
        (["--index", "a=i", "--index", "a=j"], "the indexes `a=i` and `a=j` have the same name or the same folder"),
        (["--index", "i", "--index", "j=i"], "the indexes `i` and `j=i` have the same name or the same folder"),
        (["--index", "i", "--index", "default=j"], "the indexes `i` and `j` have the same name or the same folder"),
        (["--index", "i", "--index", "shop="], "`shop=` has no folder"),
    ] {
        let (code, error) = lorank.fail(&[&["serve"][..], &args].concat(), "");
        assert!(code == 2 && error.contains(message), "{args:?}: {code} {error}");
    }
}
