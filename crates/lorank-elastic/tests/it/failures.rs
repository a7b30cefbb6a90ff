//! Failures of nodes, refusals, and limits.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lorank_core::{
    BoxError, Deadline, ErrorKind, FirstStage, FirstStageFailure, InvalidQuery, Query, QuerySyntax, Retrieval,
};
use lorank_elastic::{Auth, ElasticConfig, ElasticFirstStage, Secret};

use crate::engine::{Node, config, dead, first_stage, found};

const TEN: NonZeroUsize = NonZeroUsize::new(10).unwrap();

fn failure(error: BoxError) -> FirstStageFailure {
    *error.downcast().unwrap_or_else(|error| panic!("{error}"))
}

fn invalid(error: BoxError) -> InvalidQuery {
    *error.downcast().unwrap_or_else(|error| panic!("{error}"))
}

fn search(first_stage: &ElasticFirstStage, query: &Query) -> Result<usize, BoxError> {
    Ok(first_stage.search(&Retrieval::new(query, TEN))?.candidates.len())
}

#[test]
fn another_node_answers_for_one_that_is_down() {
    let node = Node::searching(|_| found());
    let (gone, query) = (dead(), Query::new("light"));
    let first_stage = first_stage(&[&gone, &node.url]);
    for _ in 0..6 {
        assert_eq!(search(&first_stage, &query).unwrap(), 1);
    }
    assert_eq!(node.n_searches(), 6);
}

#[test]
fn without_any_node_the_error_says_so_and_they_may_come_back() {
    let query = Query::new("light");
    let down = first_stage(&[&dead(), &dead()]);
    let error = failure(search(&down, &query).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("none of its 2 nodes answers"), "{}", error.message);
    assert!(!error.message.contains("127.0.0.1"), "an answer names no hosts: {}", error.message);

    let n = AtomicUsize::new(0);
    let recovering = Node::searching(move |_| match n.fetch_add(1, Ordering::Relaxed) {
        0..=1 => Some(("503 Service Unavailable", r#"{"error": "no shard available"}"#.to_owned())),
        _ => found(),
    });
    let first_stage = first_stage(&[&recovering.url]);
    let error = failure(search(&first_stage, &query).unwrap_err());
    assert!(error.message.contains("its node does not answer (status 503: no shard available)"), "{}", error.message);
    assert_eq!(search(&first_stage, &query).unwrap(), 1);
}

#[test]
fn a_search_that_loses_a_node_in_the_middle_is_sent_again() {
    let lost = r#"{"error": {"root_cause": [{"type": "node_disconnected_exception", "reason": "[node1] disconnected"}],
        "type": "search_phase_execution_exception", "reason": "", "phase": "fetch"}, "status": 500}"#;
    let check = |kind: &str, expected: usize| {
        let (n, body) = (AtomicUsize::new(0), lost.replace("node_disconnected_exception", kind));
        let node = Node::searching(move |_| match n.fetch_add(1, Ordering::Relaxed) {
            0 => Some(("500 Internal Server Error", body.clone())),
            _ => found(),
        });
        let first_stage = first_stage(&[&node.url]);
        let answer = search(&first_stage, &Query::new("light"));
        assert_eq!((answer.is_ok(), node.n_searches()), (expected == 2, expected), "{kind}");
    };
    check("node_disconnected_exception", 2);
    check("node_not_connected_exception", 2);
    check("connect_transport_exception", 2);
    // An error of the query's own is not repeated.
    check("null_pointer_exception", 1);
}

#[test]
fn a_busy_engine_is_asked_again_when_it_says_so() {
    let n = AtomicUsize::new(0);
    let node = Node::searching(move |_| match n.fetch_add(1, Ordering::Relaxed) {
        0 => Some(("429 Too Many Requests\r\nretry-after: 0", "{}".to_owned())),
        _ => found(),
    });
    assert_eq!(search(&first_stage(&[&node.url]), &Query::new("light")).unwrap(), 1);
    assert_eq!(node.n_searches(), 2);

    let busy = Node::searching(|_| {
        Some((
            "429 Too Many Requests\r\nretry-after: 30",
            r#"{"error": {"type": "rejected", "reason": "queue full"}}"#.to_owned(),
        ))
    });
    let error = failure(search(&first_stage(&[&busy.url]), &Query::new("light")).unwrap_err());
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Overloaded, Some(Duration::from_secs(30))));
    assert!(error.message.contains("queue full"), "{}", error.message);
    assert_eq!(busy.n_searches(), 1, "the wait is longer than the deadline");
}

#[test]
fn a_stalled_engine_is_late_and_is_not_asked_twice() {
    let node = Node::searching(|_| None);
    let first_stage = first_stage(&[&node.url]);
    let query = Query::new("light");
    let started = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(300));
    let error = first_stage.search(&Retrieval { deadline, ..Retrieval::new(&query, TEN) }).unwrap_err();
    assert_eq!(failure(error).kind, ErrorKind::DeadlineExceeded);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(node.n_searches(), 1);
    let sent = &node.received().pop().unwrap().body;
    let timeout: serde_json::Value = serde_json::from_str(sent).unwrap();
    let millis: u64 = timeout["timeout"].as_str().unwrap().strip_suffix("ms").unwrap().parse().unwrap();
    assert!((1..300).contains(&millis), "the deadline is handed on: {millis}");
}

#[test]
fn refusals_have_the_engines_own_reason() {
    let refuse = |status: &'static str, kind: &str, reason: &str| {
        let cause = format!(r#"{{"type": "{kind}", "reason": "{reason}"}}"#);
        let body = format!(
            r#"{{"error": {{"root_cause": [{cause}], "type": "{kind}", "reason": "{reason}"}}, "status": 400}}"#
        );
        Node::searching(move |_| Some((status, body.clone())))
    };
    let missing = refuse("404 Not Found", "index_not_found_exception", "no such index [articles]");
    let error = failure(search(&first_stage(&[&missing.url]), &Query::new("light")).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(
        error.message.contains("no index `articles`: index_not_found_exception: no such index"),
        "{}",
        error.message
    );

    let locked = refuse("401 Unauthorized", "security_exception", "missing authentication credentials");
    let error = failure(search(&first_stage(&[&locked.url]), &Query::new("light")).unwrap_err());
    assert!(error.message.contains("credentials (status 401): security_exception: missing"), "{}", error.message);

    let strict = refuse("400 Bad Request", "query_shard_exception", "Failed to parse query [a AND]");
    let first_stage = first_stage(&[&strict.url]);
    let advanced = Query { syntax: QuerySyntax::Advanced, ..Query::new("a AND") };
    let error = invalid(search(&first_stage, &advanced).unwrap_err());
    assert_eq!(error.field, "query");
    assert!(error.message.contains("Failed to parse query [a AND]"), "{}", error.message);
    // The caller of a plain query is not to blame.
    let error = failure(search(&first_stage, &Query::new("a AND")).unwrap_err());
    assert!(error.message.contains("Failed to parse query"), "{}", error.message);
}

#[test]
fn fields_that_do_not_exist_are_named() {
    let node = Node::searching(|_| found());
    let search = |config: ElasticConfig| search(&ElasticFirstStage::new(config).unwrap(), &Query::new("light"));
    let config = || config(&[&node.url]);
    let wrong_text = ElasticConfig { text_fields: vec!["body".to_owned()], ..config() };
    let error = failure(search(wrong_text).unwrap_err());
    assert!(
        error.message.contains("no field `body`, which is configured as `elastic.text_fields`"),
        "{}",
        error.message
    );
    let wrong_search = ElasticConfig { search_fields: vec!["titel^2".parse().unwrap()], ..config() };
    let error = failure(search(wrong_search).unwrap_err());
    assert!(error.message.contains("no field `titel`"), "{}", error.message);
    assert_eq!(node.n_searches(), 0);
    let filtered = Query { filters: vec!["nix=1".parse().unwrap()], ..Query::new("light") };
    let error = invalid(first_stage(&[&node.url]).search(&Retrieval::new(&filtered, TEN)).unwrap_err());
    assert_eq!(error.field, "filters");
    assert!(error.message.contains("`nix`"), "{}", error.message);
}

#[test]
fn credentials_are_sent_and_not_shown() {
    let node = Node::searching(|_| found());
    let secret = || Secret::new("open sesame").unwrap();
    for (auth, expected) in [
        (Auth::None, None),
        (Auth::Basic { user: "ali".to_owned(), password: secret() }, Some("Basic YWxpOm9wZW4gc2VzYW1l")),
        (Auth::Bearer(secret()), Some("Bearer open sesame")),
        (Auth::ApiKey(secret()), Some("ApiKey open sesame")),
    ] {
        let config = ElasticConfig { auth, ..config(&[&node.url]) };
        let first_stage = ElasticFirstStage::new(config).unwrap();
        search(&first_stage, &Query::new("light")).unwrap();
        assert_eq!(node.received().pop().unwrap().authorization.as_deref(), expected);
        let shown = format!("{first_stage:?}");
        assert!(!shown.contains("sesame") && !shown.contains("YWxp"), "{shown}");
    }
}

#[test]
fn answers_are_limited_and_checked() {
    let node = Node::searching(|_| Some(("200 OK", format!(r#"{{"hits": "{}"}}"#, "x".repeat(2_000)))));
    let config = ElasticConfig { answer_bytes_max: 1_000, ..config(&[&node.url]) };
    let error = failure(search(&ElasticFirstStage::new(config).unwrap(), &Query::new("light")).unwrap_err());
    assert!(error.message.contains("larger than the limit of 1000 bytes"), "{}", error.message);
    let error = failure(search(&first_stage(&[&node.url]), &Query::new("light")).unwrap_err());
    assert!(error.message.contains("cannot be read: _search:"), "{}", error.message);
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let refused = |config: ElasticConfig| ElasticFirstStage::new(config).unwrap_err().to_string();
    let config = || config(&["http://localhost:9200"]);
    for (config, part) in [
        (ElasticConfig { nodes: Vec::new(), ..config() }, "`elastic.urls` is missing"),
        (ElasticConfig { text_fields: Vec::new(), ..config() }, "`elastic.text_fields` is empty"),
        (ElasticConfig { search_fields: Vec::new(), ..config() }, "`elastic.search_fields` is empty"),
        (ElasticConfig { ca: Some(b"no certificate".to_vec()), ..config() }, "`elastic.ca_file` has no certificate"),
        (
            ElasticConfig {
                auth: Auth::Basic { user: "a:b".to_owned(), password: Secret::new("x").unwrap() },
                ..config()
            },
            "`elastic.user` cannot have a colon",
        ),
    ] {
        let error = refused(config);
        assert!(error.contains(part), "{error}");
    }
}
