//! Documents from the outside, over a host that keeps them in memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Mutex;

use axum::body::Bytes;
use lorank_core::{DocumentId, ErrorKind, Fields, InvalidQuery};
use serde_json::json;

use super::experiments::ask;
use super::*;

pub(super) const LINES: &str = "application/x-ndjson";

/// Keeps ids and whole lines. A line is a document if it is a JSON object with an `id`; a query matches the lines that hold it.
#[derive(Default)]
pub(super) struct ToyHost {
    documents: Mutex<BTreeMap<String, String>>,
    gate: Option<Arc<Gate>>,
}

impl ToyHost {
    fn add_line(&self, line: &str) -> DocumentOutcome {
        let refused = |kind, message: &str| DocumentOutcome::Refused { kind, message: message.to_owned() };
        let Ok(json) = serde_json::from_str::<Json>(line) else {
            return refused(ErrorKind::Malformed, "no JSON");
        };
        let Some(id) = json["id"].as_str() else { return refused(ErrorKind::Invalid, "no id") };
        match self.documents.lock().unwrap().insert(id.to_owned(), line.to_owned()) {
            None => DocumentOutcome::Added(DocumentId::new(id)),
            Some(_) => DocumentOutcome::Replaced(DocumentId::new(id)),
        }
    }
}

impl ToyHost {
    fn add_array(&self, array: impl Read) -> Vec<LineOutcome> {
        let documents: Vec<Json> = serde_json::from_reader(array).unwrap();
        let outcomes = documents.iter().map(|document| self.add_line(&document.to_string()));
        (1..).zip(outcomes).map(|(n, outcome)| LineOutcome { line: 1, item: Some(n), outcome }).collect()
    }
}

impl DocumentHost for ToyHost {
    fn get(&self, id: &DocumentId) -> Result<Option<Fields>, DocumentError> {
        let found = self.documents.lock().unwrap().get(id.as_str()).cloned();
        Ok(found.map(|line| vec![("line".to_owned(), Value::Text(line.into()))]))
    }

    fn add(
        &self,
        lines: Box<dyn Read + Send>,
        form: BulkForm,
        limits: BulkLimits,
    ) -> Result<Vec<LineOutcome>, DocumentError> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        if form == BulkForm::Array {
            return Ok(self.add_array(lines));
        }
        let mut outcomes = Vec::new();
        for (n, line) in (1..).zip(BufReader::new(lines).lines()) {
            let line = line.map_err(|source| DocumentError::BrokenOff { source })?;
            if outcomes.len() == limits.n_documents_max.get() {
                return Err(DocumentError::TooManyDocuments { n_documents_max: limits.n_documents_max });
            }
            outcomes.push(LineOutcome { line: n, item: None, outcome: self.add_line(&line) });
        }
        Ok(outcomes)
    }

    fn delete(&self, id: &DocumentId) -> Result<bool, DocumentError> {
        match id.as_str() {
            "busy" => Err(DocumentError::Busy { source: "the index is being written to".into() }),
            id => Ok(self.documents.lock().unwrap().remove(id).is_some()),
        }
    }

    fn delete_matching(&self, selection: DocumentSelection) -> Result<u64, DocumentError> {
        let (text, _) = selection.words.unwrap_or_default();
        if text == "(" {
            let source = InvalidQuery { field: "query", message: "it does not close".into() };
            return Err(DocumentError::InvalidQuery { source });
        }
        let mut documents = self.documents.lock().unwrap();
        let n_before = documents.len();
        documents.retain(|_, line| !line.contains(&text));
        Ok((n_before - documents.len()) as u64)
    }

    fn stats(&self) -> Result<DocumentStats, DocumentError> {
        let n_documents = self.documents.lock().unwrap().len() as u64;
        Ok(DocumentStats { n_documents, n_segments: 1, bytes_on_disk: 7 })
    }
}

pub(super) fn document_service(host: ToyHost, config: HttpConfig) -> Router {
    let pipeline = Pipeline::new(ToyFirstStage::new(Vec::new()), FakeReranker::hashing(), PipelineConfig::default());
    router(Service::from(Arc::new(pipeline.unwrap())).with_documents(Arc::new(host)), config)
}

/// Status and answer of a bulk request.
async fn bulk(service: &Router, body: impl Into<Body>) -> (u16, Json) {
    let (status, _, body) = send(service, request("POST", "/v1/documents", LINES, body)).await;
    (status.as_u16(), serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn documents_come_are_read_and_go() {
    let service = document_service(ToyHost::default(), HttpConfig::default());
    let (status, answer) = bulk(&service, "{\"id\":\"a/b\"}\n{]\n{}\n{\"id\":\"a/b\",\"x\":1}\n{\"id\":\"c\"}").await;
    let counts = json!([answer["n_added"], answer["n_replaced"], answer["n_refused"], answer["n_documents"]]);
    assert_eq!((status, counts), (200, json!([2, 1, 2, 2])));
    let line = |line: u64, id: Json, outcome: &str, error: Json| json!({"line": line, "id": id, "outcome": outcome, "error": error});
    let lines = json!([
        line(1, "a/b".into(), "added", Json::Null),
        line(2, Json::Null, "refused", json!({"kind": "malformed_request", "message": "no JSON"})),
        line(3, Json::Null, "refused", json!({"kind": "invalid_value", "message": "no id"})),
        line(4, "a/b".into(), "replaced", Json::Null),
        line(5, "c".into(), "added", Json::Null),
    ]);
    assert_eq!(answer["lines"], lines);
    assert!(answer["took_millis"].as_f64().unwrap() >= 0.0 && answer["request_id"].is_string());

    let stored = json!({"id": "a/b", "fields": {"line": "{\"id\":\"a/b\",\"x\":1}"}});
    assert_eq!(ask(&service, "GET", "/v1/documents/a%2Fb", Json::Null).await, (200, stored));
    assert_eq!(ask(&service, "DELETE", "/v1/documents/a%2Fb", Json::Null).await.0, 204);
    for method in ["GET", "DELETE"] {
        check_error(
            &service,
            (method, "/v1/documents/a%2Fb", "", ""),
            (404, "not_found", None, "unknown document `a/b`"),
        )
        .await;
    }
    let (status, deleted) = ask(&service, "DELETE", "/v1/documents", json!({"all": true})).await;
    assert_eq!((status, &deleted["n_deleted"], &deleted["n_documents"]), (200, &json!(1), &json!(0)));
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let config = HttpConfig { bulk_bytes_max: 100, bulk_lines_max: NonZeroUsize::MIN, ..HttpConfig::default() };
    let service = document_service(ToyHost::default(), config);
    let delete = |body| ("DELETE", "/v1/documents", JSON, body);
    let post = |content_type, body| ("POST", "/v1/documents", content_type, body);
    let too_long = "x".repeat(101);
    for (sent, expected) in [
        (post("text/csv", "id\n1"), (415, "unsupported_media_type", None, "`text/csv`; send one document per line")),
        (post("", "{}"), (415, "unsupported_media_type", None, "(none)")),
        (post(LINES, &too_long), (413, "payload_too_large", None, "the limit of 100 bytes")),
        (post(LINES, "{}\n{}"), (413, "payload_too_large", None, "more documents than the limit of 1")),
        (delete("{}"), (422, "invalid_value", Some("query"), "use `\"all\": true`")),
        (delete(r#"{"filters": {}}"#), (422, "invalid_value", Some("query"), "is missing")),
        (delete(r#"{"all": true, "query": "a"}"#), (422, "invalid_value", Some("all"), "remove it")),
        (delete(r#"{"query": "a", "top_k": 3}"#), (422, "invalid_value", Some("top_k"), "is unknown")),
        (
            delete(r#"{"filters": {"year": 1}, "syntax": "plain"}"#),
            (422, "invalid_value", Some("syntax"), "has no effect"),
        ),
        (delete(r#"{"query": "("}"#), (422, "invalid_value", Some("query"), "it does not close")),
        (delete(r#"{"filters": {"year": {}}}"#), (422, "invalid_value", Some("filters.year"), "no condition")),
        (("DELETE", "/v1/documents/busy", "", ""), (409, "conflict", None, "later: the index is being written to")),
        (("PUT", "/v1/documents/a", JSON, "{}"), (405, "method_not_allowed", None, "does not support the method PUT")),
    ] {
        check_error(&service, sent, expected).await;
    }
    check_error(&toy_service(), post(LINES, "{}"), (404, "not_found", None, "without documents of its own")).await;
}

#[tokio::test]
async fn an_array_is_json() {
    let service = document_service(ToyHost::default(), HttpConfig::default());
    let body = json!([{"id": "a"}, {"x": 1}]);
    let (status, answer) = ask(&service, "POST", "/v1/documents", body).await;
    let lines = json!([
        {"line": 1, "item": 1, "id": "a", "outcome": "added", "error": null},
        {"line": 1, "item": 2, "id": null, "outcome": "refused", "error": {"kind": "invalid_value", "message": "no id"}},
    ]);
    assert_eq!((status, &answer["lines"]), (200, &lines), "{answer}");
}

/// A body of pieces, the last of which may be an error.
struct Pieces(Vec<Result<&'static str, std::io::Error>>);

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        let next = (!self.0.is_empty()).then(|| self.0.remove(0));
        std::task::Poll::Ready(next.map(|piece| piece.map(|text| http_body::Frame::data(Bytes::from(text)))))
    }
}

#[tokio::test]
async fn lines_may_come_in_any_pieces_and_break_off() {
    let service = document_service(ToyHost::default(), HttpConfig::default());
    let pieces = || vec![Ok("{\"id\""), Ok(""), Ok(":\"a\"}\n{\"i"), Ok("d\":\"b\"}")];
    let (status, answer) = bulk(&service, Body::new(Pieces(pieces()))).await;
    assert_eq!((status, &answer["n_added"]), (200, &json!(2)));
    let small = HttpConfig { bulk_bytes_max: 20, ..HttpConfig::default() };
    let (status, answer) = bulk(&document_service(ToyHost::default(), small), Body::new(Pieces(pieces()))).await;
    assert_eq!((status, &answer["error"]["kind"]), (413, &json!("payload_too_large")), "{answer}");
    let mut broken = pieces();
    broken.push(Err(std::io::ErrorKind::ConnectionReset.into()));
    let (status, answer) = bulk(&service, Body::new(Pieces(broken))).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!((status, &answer["error"]["kind"]), (400, &json!("malformed_request")));
    assert!(message.starts_with("the request body is incomplete; nothing was stored; send it again"), "{message}");
    assert_eq!(ask(&service, "GET", "/v1/stats", Json::Null).await.1["documents"]["n_documents"], 2);
}

/// A body of which something has come, and nothing more comes.
struct Stuck(Option<&'static str>);

impl axum::body::HttpBody for Stuck {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        let Some(text) = self.0.take() else { return std::task::Poll::Pending };
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from(text)))))
    }
}

#[tokio::test]
async fn bodies_that_do_not_come_keep_no_change_waiting() {
    let n_changes_max = NonZeroUsize::MIN;
    let service = document_service(ToyHost::default(), HttpConfig { n_changes_max, ..HttpConfig::default() });
    let stuck: Vec<_> = [None, Some("\n"), Some("{\"id\":\"s\"}\n"), Some("{\"id\":")]
        .into_iter()
        .map(|begin| {
            let service = service.clone();
            tokio::spawn(async move { bulk(&service, Body::new(Stuck(begin))).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(bulk(&service, "{\"id\":\"a\"}").await.0, 200);
    assert_eq!(ask(&service, "DELETE", "/v1/documents/a", Json::Null).await.0, 204);
    assert!(stuck.iter().all(|upload| !upload.is_finished()));
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused() {
    let millis = std::time::Duration::from_millis;
    for (body_read, bulk_read, message) in [
        (millis(20), millis(60_000), "at less than the minimum rate of 4096 bytes per second over 20 ms"),
        (millis(60_000), millis(20), "the body of the request was not complete within 20 ms"),
    ] {
        let config = HttpConfig { body_read, bulk_read, ..HttpConfig::default() };
        let service = document_service(ToyHost::default(), config);
        let (status, answer) = bulk(&service, Body::new(Stuck(Some("\n")))).await;
        assert_eq!((status, &answer["error"]["kind"]), (408, &json!("request_timeout")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(message), "{answer}");
    }
}

#[tokio::test]
async fn long_bodies_go_through_a_file() {
    let service = document_service(ToyHost::default(), HttpConfig::default());
    let lines: String =
        (0..20_000).map(|n| format!("{{\"id\":\"d{n}\",\"x\":\"{}\"}}\n", "x".repeat(n % 50))).collect();
    let (status, answer) = bulk(&service, lines).await;
    assert_eq!((status, &answer["n_added"], &answer["n_documents"]), (200, &json!(20_000), &json!(20_000)));
}

#[tokio::test]
async fn changes_are_few_at_once() {
    let gate = Gate::closed();
    let host = ToyHost { gate: Some(gate.clone()), ..ToyHost::default() };
    let config = HttpConfig { n_changes_max: NonZeroUsize::MIN, ..HttpConfig::default() };
    let service = document_service(host, config);
    let first = tokio::spawn({
        let service = service.clone();
        async move { bulk(&service, "{\"id\":\"a\"}").await }
    });
    wait_for_arrivals(&gate, 1).await;
    let (status, headers, body) = send(&service, request("DELETE", "/v1/documents/a", "", "")).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (429, &"1".parse().unwrap()), "{body}");
    assert_eq!(ask(&service, "GET", "/v1/documents/a", Json::Null).await.0, 404, "reading goes on");
    gate.open();
    assert_eq!(first.await.unwrap().0, 200);
}

#[tokio::test]
async fn stats_say_what_there_is() {
    let service = document_service(ToyHost::default(), HttpConfig::default());
    let (status, stats) = ask(&service, "GET", "/v1/stats", Json::Null).await;
    let documents = json!({"n_documents": 0, "n_segments": 1, "bytes_on_disk": 7});
    assert_eq!((status, &stats["documents"], &stats["adapters"]), (200, &documents, &Json::Null));
    assert!(stats["uptime_seconds"].as_f64().unwrap() >= 0.0 && stats["cache"]["n_entries"] == 0, "{stats}");
    assert_eq!(ask(&toy_service(), "GET", "/v1/stats", Json::Null).await.1["documents"], Json::Null);
}

#[tokio::test]
async fn reading_takes_the_role_of_a_search_and_changing_that_of_a_writer() {
    let key = |role: Role| Key::new(role.name(), role, &Key::hash_of(role.name())).unwrap();
    let access = Access { keys: Role::ALL.map(key).into() };
    let service = document_service(ToyHost::default(), HttpConfig { access, ..HttpConfig::default() });
    for (method, uri, needed) in [
        ("GET", "/v1/documents/a", Role::Search),
        ("GET", "/v1/stats", Role::Search),
        ("POST", "/v1/documents", Role::Write),
        ("DELETE", "/v1/documents", Role::Write),
        ("DELETE", "/v1/documents/a", Role::Write),
    ] {
        for role in Role::ALL {
            let mut request = request(method, uri, LINES, "");
            request.headers_mut().insert("authorization", format!("Bearer {}", role.name()).parse().unwrap());
            let (status, _, _) = send(&service, request).await;
            assert_eq!(status == StatusCode::FORBIDDEN, role < needed, "{method} {uri} with {role:?}: {status}");
        }
    }
}
