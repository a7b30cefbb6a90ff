//! Values and filters: every door compares alike, by the types that a field has.

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::serving::Server;

/// Documents of a CSV, as spreadsheets write it, and of JSON.
fn indexed() -> Lorank {
    let lorank = Lorank::new();
    lorank.write(
        "a.csv",
        "id,text,sku,zip,open,when,n\n007,apple one,04433,\"01569\",TRUE,2024-05-01,2637283987631399372\n\
         008,apple two,4433,1569,False,9999-12-31,0.5\n",
    );
    lorank.write(
        "b.jsonl",
        r#"{"id": 14630868576586246730, "text": "apple", "when": "1500-06-01 12:00", "n": 14630868576586246730}
{"id": "none", "text": "apple"}
"#,
    );
    lorank.run(&["index", "--index", "i", "a.csv", "b.jsonl"]);
    lorank
}

fn ids(answer: &Value) -> Vec<String> {
    let hits = answer["hits"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
    let mut ids: Vec<String> = hits.map(|hit| hit["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// A filter of the command line, the same in a query string, and the same as JSON, with what it finds.
const FILTERS: [(&str, &str, &str, &[&str]); 16] = [
    ("sku=04433", "filter.sku=04433", r#"{"sku": "04433"}"#, &["007"]),
    ("sku=4433", "filter.sku=4433", r#"{"sku": "4433"}"#, &["008"]),
    ("zip=01569", "filter.zip=01569", r#"{"zip": ["01569"]}"#, &["007"]),
    ("id=007", "filter.id=007", r#"{"id": "007"}"#, &["007"]),
    (
        "id=14630868576586246730",
        "filter.id=14630868576586246730",
        r#"{"id": 14630868576586246730}"#,
        &["14630868576586246730"],
    ),
    ("open=true", "filter.open=true", r#"{"open": true}"#, &["007"]),
    ("open=False", "filter.open=False", r#"{"open": "false"}"#, &["008"]),
    ("open!=true", "filter.open!=true", r#"{"open": {"ne": true}}"#, &["008", "14630868576586246730", "none"]),
    ("when>=2024", "filter.when%3E=2024", r#"{"when": {"gte": 2024}}"#, &["007", "008"]),
    (
        "when<=9999-12-31",
        "filter.when%3C=9999-12-31",
        r#"{"when": {"lte": "9999-12-31"}}"#,
        &["007", "008", "14630868576586246730"],
    ),
    ("when=1500-06-01", "filter.when=1500-06-01", r#"{"when": "1500-06-01"}"#, &["14630868576586246730"]),
    ("when<2024-05", "filter.when%3C2024-05", r#"{"when": {"lt": "2024-05"}}"#, &["14630868576586246730"]),
    ("n=2637283987631399373", "filter.n=2637283987631399373", r#"{"n": 2637283987631399373}"#, &[]),
    ("n=2637283987631399372", "filter.n=2637283987631399372", r#"{"n": 2637283987631399372}"#, &["007"]),
    ("n>0.5", "filter.n%3E0.5", r#"{"n": {"gt": 0.5}}"#, &["007", "14630868576586246730"]),
    (
        "n!=0.5,2637283987631399372",
        "filter.n!=0.5,2637283987631399372",
        r#"{"n": {"ne": [0.5, 2637283987631399372]}}"#,
        &["14630868576586246730", "none"],
    ),
];

#[test]
fn every_door_finds_the_same() {
    let lorank = indexed();
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    for (text, query_string, json, expected) in FILTERS {
        let args = ["search", "--index", "i", "--no-rerank", "--json", "--filter", text, "apple"];
        assert_eq!(ids(&lorank.json(&args)), expected, "{text}");
        let (_, answer) = server.ask("GET", &format!("/v1/search?q=apple&rerank=false&{query_string}"), "");
        assert_eq!(ids(&answer), expected, "{query_string}");
        let body = format!(r#"{{"query": "apple", "rerank": false, "filters": {json}}}"#);
        assert_eq!(ids(&server.ask("POST", "/v1/search", &body).1), expected, "{json}");
    }
    // What filters find, they delete. The second of these has lost a document to the first.
    for ((_, _, json, _), n_deleted) in [(FILTERS[0], 1), (FILTERS[9], 2)] {
        let (status, answer) = server.ask("DELETE", "/v1/documents", &format!(r#"{{"filters": {json}}}"#));
        assert_eq!((status, &answer["n_deleted"]), (200, &json!(n_deleted)), "{json}: {answer}");
    }
}

#[test]
fn what_no_document_has_is_refused_alike_and_by_name() {
    let lorank = indexed();
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    for (text, query_string, json, problem) in [
        (
            "skku=1",
            "filter.skku=1",
            r#"{"skku": 1}"#,
            "(did you mean `sku`?); the fields are `n` (numbers), `open` (booleans)",
        ),
        ("n=many", "filter.n=many", r#"{"n": "many"}"#, "compares with `many`, but the field only has numbers"),
        ("when>=2024-13-01", "filter.when%3E=2024-13-01", r#"{"when": {"gte": "2024-13-01"}}"#, "which is not a date"),
    ] {
        let (code, error) = lorank.fail(&["search", "--index", "i", "--no-rerank", "--filter", text, "apple"], "");
        assert!(code != 0 && error.contains(problem), "{text}: {error}");
        let (status, answer) = server.ask("GET", &format!("/v1/search?q=apple&rerank=false&{query_string}"), "");
        assert!(status == 422 && answer.to_string().contains(problem), "{query_string}: {answer}");
        let body = format!(r#"{{"query": "apple", "rerank": false, "filters": {json}}}"#);
        let (status, answer) = server.ask("POST", "/v1/search", &body);
        assert!(status == 422 && answer.to_string().contains(problem), "{json}: {answer}");
        let (status, answer) = server.ask("DELETE", "/v1/documents", &format!(r#"{{"filters": {json}}}"#));
        assert!(status == 422 && answer.to_string().contains(problem), "{json}: {answer}");
    }
    let (code, error) = lorank.fail(&["search", "--index", "i", "--no-rerank", "--filter", "n=>1", "apple"], "");
    assert!(code == 2 && error.contains("`=>` is not an operator"), "{error}");
    let (status, answer) = server.ask("GET", "/v1/search?q=apple&filter.n%3E=1,2", "");
    assert!(status == 422 && answer.to_string().contains("a bound takes one value"), "{answer}");
}

/// Numbers as they are written in documents, and as filters write them.
#[test]
fn numbers_keep_their_digits_and_compare_by_value() {
    let lorank = Lorank::new();
    lorank.write("a.csv", "id,text,n\na,x,3.50\nb,x,1e-05\nc,x,-0\nd,x,0.10\ne,x,2.0\n");
    lorank.write("b.jsonl", "{\"id\": \"f\", \"text\": \"x\", \"n\": 3.50, \"m\": [1.00, {\"k\": 1E3}]}\n{\"id\": \"g\", \"text\": \"x\", \"n\": 1e3}\n");
    lorank.run(&["index", "--index", "i", "a.csv", "b.jsonl"]);
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    let raw = server.ask_raw("GET", "/v1/search?q=x&rerank=false");
    let printed = lorank.run(&["search", "--index", "i", "--no-rerank", "--json", "x"]);
    for text in [&raw, &printed] {
        for field in [
            "\"n\":3.50}",
            "\"n\":1e-05}",
            "\"n\":-0}",
            "\"n\":0.10}",
            "\"n\":2.0}",
            "\"n\":3.50,\"m\":[1.00,{\"k\":1E3}]}",
            "\"n\":1e3}",
        ] {
            assert!(text.contains(field), "{field}: {text}");
        }
    }
    for (value, json, expected) in [
        ("=3.5", "3.5", &["a", "f"][..]),
        ("=3.500", "3.500", &["a", "f"]),
        ("=0", "0", &["c"]),
        ("=-0", "-0", &["c"]),
        ("=0.1", "0.1", &["d"]),
        ("=2", "2", &["e"]),
        ("=1e3", "1e3", &["g"]),
        ("=1000", "1000", &["g"]),
        ("=1E+3", "1E+3", &["g"]),
        ("<0.001", "{\"lt\": 0.001}", &["b", "c"]),
        (">=99999999999999999999", "{\"gte\": \"99999999999999999999\"}", &[]),
        ("<99999999999999999999", "{\"lt\": \"99999999999999999999\"}", &["a", "b", "c", "d", "e", "f", "g"]),
    ] {
        let args = ["search", "--index", "i", "--no-rerank", "--json", "x", "--filter", &format!("n{value}")];
        assert_eq!(ids(&lorank.json(&args)), expected, "{value}");
        let escaped = value.replace('+', "%2B").replace('<', "%3C").replace('>', "%3E");
        let (_, answer) = server.ask("GET", &format!("/v1/search?q=x&rerank=false&filter.n{escaped}"), "");
        assert_eq!(ids(&answer), expected, "{value}");
        let body = format!("{{\"query\": \"x\", \"rerank\": false, \"filters\": {{\"n\": {json}}}}}");
        assert_eq!(ids(&server.ask("POST", "/v1/search", &body).1), expected, "{json}");
    }
    // What is no number is a text in every door, and a field of numbers has none.
    for text in ["+5", "007", "1_000", ".5", "1.", "0x10"] {
        let problem = format!("compares with `{text}`, but the field only has numbers");
        let (code, error) =
            lorank.fail(&["search", "--index", "i", "--no-rerank", "x", "--filter", &format!("n={text}")], "");
        assert!(code == 1 && error.contains(&problem), "{error}");
        let (status, answer) = server.ask("GET", &format!("/v1/search?q=x&filter.n={}", text.replace('+', "%2B")), "");
        assert!(status == 422 && answer.to_string().contains(&problem), "{answer}");
        let (status, answer) =
            server.ask("POST", "/v1/search", &format!("{{\"query\": \"x\", \"filters\": {{\"n\": \"{text}\"}}}}"));
        assert!(status == 422 && answer.to_string().contains(&problem), "{answer}");
    }
}

#[test]
fn integers_beyond_64_bits_in_a_body_are_refused_and_not_rounded() {
    let lorank = indexed();
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    for (method, route, body, field) in [
        ("POST", "/v1/search", r#"{"query": "apple", "filters": {"n": 99999999999999999999}}"#, "filters.n"),
        (
            "POST",
            "/v1/search",
            r#"{"query": "apple", "filters": {"n": {"gt": [-9223372036854775809]}}}"#,
            "filters.n.gt",
        ),
        (
            "POST",
            "/v1/search",
            r#"{"query": "apple", "facets": {"n": {"ranges": [{"lt": 18446744073709551616}]}}}"#,
            "facets.n.ranges.lt",
        ),
        (
            "POST",
            "/v1/compare",
            r#"{"query": "apple", "adapters": ["none"], "filters": {"n": 99999999999999999999}}"#,
            "filters.n",
        ),
        ("DELETE", "/v1/documents", r#"{"filters": {"n": {"lt": 99999999999999999999}}}"#, "filters.n.lt"),
    ] {
        let (status, answer) = server.ask(method, route, body);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        let is_refused =
            message.starts_with(&format!("`{field}` is the integer `")) && message.contains("does not fit in 64 bits");
        assert!(status == 422 && is_refused, "{body}: {answer}");
    }
}

#[test]
fn integers_beyond_64_bits_are_refused_by_name() {
    let lorank = Lorank::new();
    for (name, line, field) in [
        ("a.jsonl", r#"{"id":"x","text":"apple","n":99999999999999999999}"#, "n"),
        ("b.jsonl", r#"{"id":99999999999999999999,"text":"apple"}"#, "id"),
    ] {
        lorank.write(name, line);
        let (code, error) = lorank.fail(&["index", "--index", "i", name], "");
        let problem =
            format!("the field `{field}` contains the integer `99999999999999999999`, which does not fit in 64 bits");
        assert!(code == 1 && error.contains(&problem), "{error}");
    }
}

#[test]
fn ids_of_64_bits_are_ids_in_documents_and_events() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 18446744073709551615, \"text\": \"apple\"}\n");
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    assert_eq!(server.ask("GET", "/v1/documents/18446744073709551615", "").0, 200);
    assert_eq!(server.ask("DELETE", "/v1/documents/18446744073709551615", "").0, 204);
    assert_eq!(server.ask("GET", "/v1/documents/18446744073709551615", "").0, 404);
    let (status, answer) = server.ask_as(
        "application/x-ndjson",
        "POST",
        "/v1/documents",
        "{\"id\": 14630868576586246730, \"text\": \"apple\"}",
    );
    assert_eq!((status, &answer["lines"][0]["id"]), (200, &json!("14630868576586246730")));
}
