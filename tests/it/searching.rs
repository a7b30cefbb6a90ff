//! Counts, facets, sorting, searches without words and ranking by an expression, at the command line and over HTTP.

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::serving::Server;

const DOCUMENTS: &str = r#"{"id": "a", "text": "A light bulb burns.", "year": 1879, "lang": "en", "day": "2024-01-01", "views": 10}
{"id": "b", "text": "A tulip bulb grows.", "year": 1600, "lang": "nl", "day": "2024-06-01"}
{"id": "c", "text": "A light year is long.", "year": 1838, "lang": "en", "views": 1000}
{"id": "d", "text": "Hens lay eggs.", "lang": "en"}
"#;

fn indexed() -> Lorank {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], DOCUMENTS);
    lorank
}

fn ids(answer: &Value) -> String {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["id"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// The parts of an answer on which both doors agree.
fn parts(answer: &Value) -> Value {
    json!({
        "ids": ids(answer),
        "total_hits": answer["total_hits"],
        "relation": answer["total_hits_relation"],
        "facets": answer["facets"],
        "reranked": answer["reranked"],
        "rank_by": answer["rank_by"],
    })
}

#[test]
fn both_doors_count_sort_and_rank_alike() {
    let lorank = indexed();
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    let facets = json!({
        "lang": {"values": [{"value": "en", "n_documents": 3}, {"value": "nl", "n_documents": 1}], "n_values": 2, "n_missing": 0},
        "year": {"ranges": [
            {"range": {"lt": 1800}, "n_documents": 1},
            {"range": {"gte": 1800, "lt": 1850}, "n_documents": 1},
            {"range": {"gte": 1850}, "n_documents": 1},
        ]},
    });
    for (args, target, body, expected) in [
        (
            &["bulb", "--no-rerank", "--top-k", "1"][..],
            "/v1/search?q=bulb&rerank=false&top_k=1",
            r#"{"query": "bulb", "rerank": false, "top_k": 1}"#,
            ("a", 2, Value::Null, Value::Null),
        ),
        (
            &["--match-all", "--sort", "year:desc"],
            "/v1/search?match_all=true&sort=year:desc",
            r#"{"match_all": true, "sort": ["year:desc"]}"#,
            ("a c b d", 4, Value::Null, Value::Null),
        ),
        (
            &["--match-all", "--sort", "lang", "--sort", "day:desc", "--offset", "1", "--top-k", "2"],
            "/v1/search?match_all=true&sort=lang,day:desc&offset=1&top_k=2",
            r#"{"match_all": true, "sort": ["lang", "day:desc"], "offset": 1, "top_k": 2}"#,
            ("c d", 4, Value::Null, Value::Null),
        ),
        (
            &["light", "--no-rerank", "--rank-by", "coalesce(views, 0)"],
            "/v1/search?q=light&rerank=false&rank_by=coalesce(views,+0)",
            r#"{"query": "light", "rerank": false, "rank_by": "coalesce(views, 0)"}"#,
            ("c a", 2, Value::Null, json!("coalesce(views, 0)")),
        ),
    ] {
        let (ids, total_hits, facets, rank_by) = expected;
        let expected = json!({
            "ids": ids, "total_hits": total_hits, "relation": "eq", "facets": facets, "reranked": false, "rank_by": rank_by,
        });
        let answer = lorank.json(&[&["search", "--index", "i", "--json"], args].concat());
        assert_eq!(parts(&answer), expected, "{args:?}");
        for (method, target, body) in [("GET", target, ""), ("POST", "/v1/search", body)] {
            let (status, answer) = server.ask(method, target, body);
            assert_eq!((status, parts(&answer)), (200, expected.clone()), "{method} {target} {body}");
        }
    }
    let args = ["--match-all", "--facet", "lang", "--facet", "year=..1800,1800..1850,1850.."];
    let answer = lorank.json(&[&["search", "--index", "i", "--json"], &args[..]].concat());
    assert_eq!(answer["facets"], facets);
    let body = r#"{"match_all": true, "facets": {"lang": {}, "year": {"ranges": [{"lt": 1800}, {"gte": 1800, "lt": 1850}, {"gte": 1850}]}}}"#;
    assert_eq!(server.ask("POST", "/v1/search", body).1["facets"], facets);
    assert_eq!(server.ask("GET", "/v1/search?match_all=true&facets=lang", "").1["facets"]["lang"], facets["lang"]);
}

#[test]
fn an_expression_orders_after_reranking_and_explains_itself() {
    let lorank = indexed();
    let rank_by = "coalesce(views, 1) + 0 * rerank_score";
    let args = ["search", "--index", "i", "light bulb", "--rank-by", rank_by, "--explain"];
    let answer = lorank.json(&[&args[..], &["--json"]].concat());
    assert_eq!(
        (ids(&answer).as_str(), &answer["reranked"], &answer["rank_by"]),
        ("c a b", &json!(true), &json!(rank_by))
    );
    let explanation = &answer["hits"][0]["explanation"]["rank_by"];
    assert_eq!((&explanation["value"], &explanation["inputs"]["views"]), (&json!(1000.0), &json!(1000.0)));
    assert!(explanation["inputs"]["rerank_score"].is_f64());
    let text = lorank.run(&args);
    assert!(text.contains(", ranked by 1000.0000 of ") && text.contains(&format!("ordered by {rank_by}")), "{text}");
}

#[test]
fn facets_are_tables_for_people() {
    let text = indexed().run(&["search", "--index", "i", "--match-all", "--facet", "lang", "--sort", "year"]);
    assert!(text.contains("\nlang  documents\nen            3\nnl            1\n"), "{text}");
    assert!(text.contains("4 documents match; sorted by year:asc, in "), "{text}");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let lorank = indexed();
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    for (body, field, message) in [
        (r#"{"match_all": true, "query": "x"}"#, "match_all", "matches every document"),
        (r#"{"match_all": true, "rerank": true}"#, "rerank", "cannot be combined with `match_all`"),
        (r#"{"match_all": true, "syntax": "plain"}"#, "syntax", "has no effect without a `query`"),
        (r#"{"query": "x", "sort": ["year"], "rerank": true}"#, "rerank", "cannot be combined with `sort`"),
        (r#"{"query": "x", "sort": ["year"], "adapter": "none"}"#, "adapter", "cannot be combined with `sort`"),
        (
            r#"{"query": "x", "sort": ["year"], "min_rerank_score": 0}"#,
            "min_rerank_score",
            "cannot be combined with `sort`",
        ),
        (r#"{"query": "x", "sort": ["yeer"]}"#, "sort", "yeer"),
        (r#"{"query": "x", "sort": ["text"]}"#, "sort", "text fields cannot be sorted"),
        (r#"{"query": "x", "sort": [":desc"]}"#, "sort", "without a field"),
        (r#"{"query": "x", "facets": {"longueur": {}}}"#, "facets", "longueur"),
        (r#"{"query": "x", "facets": {"lang": {"top_n": 5000}}}"#, "facets", "above the limit of 1000"),
        (r#"{"query": "x", "rank_by": "views +"}"#, "rank_by", "found the end at character 8"),
        (r#"{"query": "x", "rank_by": "foo(1)"}"#, "rank_by", "unknown function `foo`"),
        (r#"{"query": "x", "rank_by": "vews"}"#, "rank_by", "vews"),
        (r#"{"query": "x", "rank_by": "lang"}"#, "rank_by", "texts"),
        (r#"{"query": "x", "rerank": false, "rank_by": "rerank_score"}"#, "rank_by", "not reranked"),
        (
            r#"{"query": "x", "rank_by": "views", "blend_weight": 0.5}"#,
            "rank_by",
            "it cannot be combined with `blend_weight`",
        ),
        (r#"{"query": "x", "rank_by": "views", "sort": ["year"]}"#, "rank_by", "it cannot be combined with `sort`"),
    ] {
        let (status, answer) = server.ask("POST", "/v1/search", body);
        assert_eq!((status, answer["error"]["field"].as_str()), (422, Some(field)), "{body}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(message), "{body}: {answer}");
    }
    for (args, code, message) in [
        (&["x", "--match-all"][..], 2, "cannot be used with"),
        (&[], 2, "required"),
        (&["x", "--sort", "year", "--blend", "0.5"], 2, "--blend cannot be used with --sort"),
        (&["x", "--sort", "year", "--adapter", "none"], 2, "--adapter cannot be used with --sort"),
        (&["--match-all", "--min-rerank-score", "1"], 2, "--min-rerank-score cannot be used with --match-all"),
        (&["x", "--no-rerank", "--sort", "yeer"], 1, "yeer"),
        (&["x", "--no-rerank", "--facet", "year=1990"], 2, "is not a facet"),
        (&["x", "--no-rerank", "--rank-by", "1 +"], 2, "at character 4"),
    ] {
        let (found, error) = lorank.fail(&[&["search", "--index", "i"], args].concat(), "");
        assert!(found == code && error.contains(message), "{args:?}: {found} {error}");
    }
}

#[test]
fn a_server_has_an_expression_of_its_own() {
    let lorank = indexed();
    let rank_by = "coalesce(views, 0)";
    lorank.write("lorank.toml", &format!("index = 'i'\n[search]\nrank_by = '{rank_by}'\n"));
    let server = Server::start(&lorank, &["--config", "lorank.toml", "--listen", "127.0.0.1:0"]);
    let answer = |target: &str| parts(&server.ask("GET", target, "").1);
    let ranked = answer("/v1/search?q=light+bulb&rerank=false");
    assert_eq!((&ranked["ids"], &ranked["rank_by"]), (&json!("c a b"), &json!(rank_by)));
    let own = answer("/v1/search?q=light+bulb&rerank=false&rank_by=first_stage_score");
    assert_eq!((&own["ids"], &own["rank_by"]), (&json!("a b c"), &json!("first_stage_score")));
    assert_eq!(answer("/v1/search?q=light+bulb&sort=year")["rank_by"], Value::Null);
    let (code, error) = lorank.fail(&["serve", "--index", "i", "--rank-by", "exq(1)"], "");
    assert!(code == 2 && error.contains("unknown function `exq`"), "{error}");
}
