//! Clients that speak HTTP/2 from their first byte.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode};
use h2::client::{Builder, Connection, SendRequest};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tests::{LONG, Running, SHORT, patient, with};
use super::{CloseReason, ServeOutcome};
use crate::HttpConfig;

/// A client, and its connection until that is over.
async fn connect(running: &Running, builder: &Builder) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (client, connection): (_, Connection<TcpStream, Bytes>) = builder.handshake(stream).await.unwrap();
    (client.ready().await.unwrap(), tokio::spawn(connection))
}

fn request(method: Method, path: &str) -> Request<()> {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    request.header("content-type", "application/json").body(()).unwrap()
}

/// Status and body of an answer.
async fn ask(client: &mut SendRequest<Bytes>, method: Method, path: &str, body: &'static str) -> (StatusCode, String) {
    let (answer, mut sender) = client.send_request(request(method, path), body.is_empty()).unwrap();
    if !body.is_empty() {
        sender.send_data(body.into(), true).unwrap();
    }
    let (head, mut stream) = answer.await.unwrap().into_parts();
    let mut text = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.unwrap();
        stream.flow_control().release_capacity(chunk.len()).unwrap();
        text.extend_from_slice(&chunk);
    }
    (head.status, String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_answers_many_requests() {
    let running = Running::start(patient()).await;
    let (client, connection) = connect(&running, &Builder::new()).await;
    let asks = (0..40).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let (status, body) = ask(&mut client, Method::POST, "/v1/search", r#"{"query": "egg", "top_k": 1}"#).await;
            assert!(status == 200 && body.contains("\"hits\":[{"), "{status} {body}");
        })
    });
    for asked in asks.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    let mut client = client;
    let (status, body) = ask(&mut client, Method::POST, "/v1/search", "{").await;
    assert!(status == 400 && body.contains("\"request_id\""), "{status} {body}");
    let (status, body) = ask(&mut client, Method::GET, "/openapi.json", "").await;
    assert!(status == 200 && body.len() > 20_000, "{status}");
    drop(client);
    connection.await.unwrap().unwrap();
    assert_eq!(running.end().await, ServeOutcome::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_their_limits() {
    let running = Running::start(HttpConfig { body_bytes_max: 30, body_read: SHORT, ..patient() }).await;
    let (mut client, _connection) = connect(&running, &Builder::new()).await;
    let long = r#"{"query": "an egg that is too long"}"#;
    assert_eq!(ask(&mut client, Method::POST, "/v1/search", long).await.0, 413);
    // One that never ends.
    let (answer, mut sender) = client.send_request(request(Method::POST, "/v1/search"), false).unwrap();
    sender.send_data("{".into(), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 408);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let running = Running::start(with(|limits| limits.keep_alive = SHORT)).await;
    let (mut client, connection) = connect(&running, &Builder::new()).await;
    assert_eq!(ask(&mut client, Method::GET, "/health", "").await.0, 200);
    let _ = timeout(LONG, connection).await.unwrap().unwrap();
    // One that says no more than that it is HTTP/2.
    let (_client, connection) = connect(&running, &Builder::new()).await;
    let _ = timeout(LONG, connection).await.unwrap().unwrap();
    assert_eq!(running.n_ended(CloseReason::Idle), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let running = Running::start(with(|limits| limits.write = SHORT)).await;
    // Without a window nothing of a body can be sent.
    let (mut client, connection) = connect(&running, Builder::new().initial_window_size(0)).await;
    let (answer, _) = client.send_request(request(Method::GET, "/openapi.json"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let _ = timeout(LONG, connection).await.unwrap().unwrap();
    assert_eq!(running.n_ended(CloseReason::SlowWrite), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_taken_do_not_excuse_one_that_is_not() {
    let running = Running::start(with(|limits| limits.write = SHORT)).await;
    // Room for small answers, and not for a long one.
    let (mut client, connection) = connect(&running, Builder::new().initial_window_size(1_024)).await;
    let (answer, _) = client.send_request(request(Method::GET, "/openapi.json"), true).unwrap();
    let _stalled = answer.await.unwrap();
    let others = async move {
        loop {
            let Ok((answer, _)) = client.send_request(request(Method::GET, "/health"), true) else { break };
            let Ok(answer) = answer.await else { break };
            let mut body = answer.into_body();
            while let Some(Ok(_)) = body.data().await {}
            match client.ready().await {
                Ok(ready) => client = ready,
                Err(_) => break,
            }
        }
    };
    timeout(LONG, others).await.expect("the connection is closed");
    let _ = timeout(LONG, connection).await.unwrap().unwrap();
    assert_eq!(running.n_ended(CloseReason::SlowWrite), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_ends_the_connection() {
    let running = Running::start(patient()).await;
    let (mut client, connection) = connect(&running, &Builder::new()).await;
    for _ in 0..20_000 {
        let Ok((answer, mut sender)) = client.send_request(request(Method::POST, "/v1/search"), false) else { break };
        sender.send_reset(h2::Reason::CANCEL);
        drop(answer);
        match client.ready().await {
            Ok(ready) => client = ready,
            Err(_) => break,
        }
    }
    // The server has had enough, or has served them all: it answers others either way.
    connection.abort();
    let (mut other, _connection) = connect(&running, &Builder::new()).await;
    let asked = timeout(Duration::from_secs(10), ask(&mut other, Method::GET, "/health", "")).await.unwrap();
    assert_eq!(asked.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_requests_under_way() {
    let gate = lorank_testing::toy::Gate::closed();
    let running = Running::start_behind(patient(), Some(&gate)).await;
    let (mut client, connection) = connect(&running, &Builder::new()).await;
    let asked = tokio::spawn(async move { ask(&mut client, Method::GET, "/v1/search?q=egg", "").await.0 });
    while gate.n_arrived() == 0 {
        tokio::task::yield_now().await;
    }
    let ended = tokio::spawn(running.end());
    gate.open();
    assert_eq!(asked.await.unwrap(), 200);
    let _ = connection.await.unwrap();
    assert_eq!(ended.await.unwrap(), ServeOutcome::default());
}
