//! Clients of all speeds, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_pipeline::{Pipeline, PipelineConfig};
use lorank_testing::toy::{self, FakeReranker, Gate, ToyFirstStage};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{CloseReason, ConnectionLimits, ServeOutcome};
use crate::{HttpConfig, LiveConfig, router, serve};

/// Time enough for nothing to depend on it.
pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const SHORT: Duration = Duration::from_millis(50);

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
const READY: &str = "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
const SEARCH: &str = "GET /v1/search?q=egg HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// No limit that could be passed.
pub(super) fn patient() -> HttpConfig {
    let connections = ConnectionLimits {
        header_read: LONG,
        keep_alive: LONG,
        write: LONG,
        shutdown: LONG,
        ..ConnectionLimits::default()
    };
    HttpConfig { body_read: LONG, connections, ..HttpConfig::default() }
}

/// The patient configuration with other limits for connections.
pub(super) fn with(change: impl FnOnce(&mut ConnectionLimits)) -> HttpConfig {
    let mut config = patient();
    change(&mut config.connections);
    config
}

pub(super) struct Running {
    pub(super) address: SocketAddr,
    config: LiveConfig,
    shut_down: oneshot::Sender<()>,
    server: JoinHandle<ServeOutcome>,
}

impl Running {
    pub(super) async fn start(config: HttpConfig) -> Self {
        Self::start_behind(config, None).await
    }

    /// A service whose first stage waits at a gate.
    pub(super) async fn start_behind(config: HttpConfig, gate: Option<&Arc<Gate>>) -> Self {
        let mut first_stage = ToyFirstStage::new(toy::candidates(3));
        if let Some(gate) = gate {
            first_stage = first_stage.behind(gate.clone());
        }
        let pipeline = Pipeline::new(first_stage, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
        let config = LiveConfig::from(config);
        let router = router(Arc::new(pipeline), config.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shut_down, asked) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, router, config.clone(), async { drop(asked.await) }));
        Self { address, config, shut_down, server }
    }

    fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).unwrap())
    }

    pub(super) fn n_ended(&self, reason: CloseReason) -> u64 {
        self.config.connections().n_ended(reason)
    }

    pub(super) async fn end(self) -> ServeOutcome {
        self.shut_down.send(()).unwrap();
        self.server.await.unwrap()
    }
}

/// A client that blocks, away from the threads that serve it.
struct Client(TcpStream);

impl Client {
    /// Sends some bytes.
    fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).unwrap();
    }

    /// Reads until the server closes.
    async fn rest(mut self) -> String {
        let read = move || {
            let mut bytes = Vec::new();
            // A server that closes while bytes of ours are unread resets the connection: that is an end as well.
            let _ = self.0.read_to_end(&mut bytes);
            String::from_utf8(bytes).unwrap()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// Sends a request on a connection that stays open, and gives the answer's status.
    async fn ask(mut self, request: &'static str) -> (Self, String) {
        let ask = move || {
            self.send(request);
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"}") {
                let mut chunk = [0; 1024];
                let n = self.0.read(&mut chunk).unwrap();
                assert_ne!(n, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
                bytes.extend_from_slice(&chunk[..n]);
            }
            let text = String::from_utf8(bytes).unwrap();
            let status = text.split(' ').nth(1).unwrap().to_owned();
            (self, status)
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_is_told_that_it_took_too_long() {
    let running = Running::start(with(|limits| limits.header_read = SHORT)).await;
    let mut client = running.connect();
    client.send("GET /health HTTP/1.1\r\nhost: loc");
    let answer = client.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["kind"], "request_timeout");
    assert_eq!(body["error"]["message"], "the head of the request was not complete within 50 ms, which is the limit");
    assert_eq!(running.n_ended(CloseReason::SlowHead), 1);
    assert_eq!(running.end().await, ServeOutcome::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_is_no_excuse() {
    let running = Running::start(with(|limits| limits.header_read = SHORT)).await;
    let mut client = running.connect();
    let drip = move || {
        let mut n_sent = 0;
        while client.0.write_all(b"x").is_ok() {
            n_sent += 1;
            std::thread::sleep(Duration::from_millis(5));
            assert!(n_sent < 2_000, "the server listens for ever");
        }
    };
    tokio::task::spawn_blocking(drip).await.unwrap();
    assert_eq!(running.n_ended(CloseReason::SlowHead), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_is_told_that_it_took_too_long() {
    let running = Running::start(HttpConfig { body_read: SHORT, ..patient() }).await;
    let mut client = running.connect();
    let head = "POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100";
    client.send(&format!("{head}\r\n\r\n{{\"query\": "));
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.contains("the body of the request was not complete within 50 ms"), "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_without_a_word() {
    let running = Running::start(with(|limits| limits.keep_alive = SHORT)).await;
    let (client, status) = running.connect().ask(HEALTH).await;
    assert_eq!((status.as_str(), client.rest().await.as_str()), ("200", ""));
    assert_eq!(running.connect().rest().await, "", "one that never said anything");
    assert_eq!(running.n_ended(CloseReason::Idle), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_keep_nobody_out() {
    let max = NonZeroUsize::new(4).unwrap();
    let running = Running::start(with(|limits| limits.n_connections_max = max)).await;
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..20 {
        let mut client = running.connect();
        // Some are gone already when they come to this.
        let _ = client.0.write_all(b"GET /hea");
        slow.push(client);
        let (_, status) = running.connect().ask(HEALTH).await;
        assert_eq!(status, "200");
    }
    assert!(running.n_ended(CloseReason::MadeRoom) >= 10, "{}", running.n_ended(CloseReason::MadeRoom));
    assert!(running.config.connections().n_open() <= max.get() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_being_answered_is_not_closed_for_others() {
    let gate = Gate::closed();
    let limits = with(|limits| limits.n_connections_max = NonZeroUsize::MIN);
    let running = Running::start_behind(limits, Some(&gate)).await;
    let first = tokio::spawn(running.connect().ask(SEARCH));
    let arrived = gate.clone();
    tokio::task::spawn_blocking(move || arrived.wait_for_arrivals(1)).await.unwrap();
    let second = tokio::spawn(running.connect().ask(HEALTH));
    gate.open();
    assert_eq!((first.await.unwrap().1.as_str(), second.await.unwrap().1.as_str()), ("200", "200"));
}

/// Whole requests on more connections than may be open, each on one of its own.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_that_has_arrived_is_answered() {
    let max = NonZeroUsize::new(4).unwrap();
    let running = Running::start(with(|limits| limits.n_connections_max = max)).await;
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..max.get() {
        idle.push(running.connect().ask(HEALTH).await.0);
    }
    let ask = |client: Client| tokio::spawn(async { client.ask(SEARCH).await.1 });
    let clients: Vec<_> = (0..64).map(|_| ask(running.connect())).collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), "200");
    }
    assert!(running.config.connections().n_open() <= max.get());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_body_that_is_refused_gets_the_answer() {
    let running = Running::start(HttpConfig { body_bytes_max: 1_000, ..patient() }).await;
    for path in ["/v1/search", "/rerank", "/v1/events"] {
        let mut client = running.connect();
        let length = 16 << 20;
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close");
        let client = tokio::task::spawn_blocking(move || {
            client.send(&format!("{head}\r\ncontent-length: {length}\r\n\r\n"));
            client.send(&" ".repeat(length));
            client
        });
        let answer = client.await.unwrap().rest().await;
        assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_word_to_go_on_is_answered_by_the_length() {
    let running = Running::start(HttpConfig { body_bytes_max: 1_000, bulk_bytes_max: 1_000, ..patient() }).await;
    let status = async |path: &str, headers: &str, length: u64| {
        let mut client = running.connect();
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nconnection: close");
        client.send(&format!("{head}\r\n{headers}content-length: {length}\r\n\r\n"));
        if length > 1_000 {
            return client.rest().await;
        }
        let mut word = [0; 25];
        client.0.read_exact(&mut word).unwrap();
        String::from_utf8(word.to_vec()).unwrap()
    };
    for path in
        ["/v1/search", "/v1/compare", "/v1/events", "/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/experiments"]
    {
        for encoding in ["", "content-encoding: gzip\r\n", "content-encoding: deflate\r\n"] {
            let headers = format!("content-type: application/json\r\n{encoding}");
            for length in [1_001, 100_000_000_000, u64::MAX / 2] {
                let answer = status(path, &headers, length).await;
                assert!(
                    answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
                    "{path} {headers} {length}: {answer}"
                );
                assert!(answer.contains("longer than the limit of 1000 bytes"), "{path} {headers} {length}: {answer}");
            }
            assert_eq!(status(path, &headers, 1_000).await, "HTTP/1.1 100 Continue\r\n\r\n", "{path} {headers}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_an_answer_is_cut_off() {
    let running = Running::start(with(|limits| limits.write = SHORT)).await;
    let mut client = running.connect();
    // Answers that nobody reads fill the buffers of both sides.
    let flood = move || {
        let many = HEALTH.repeat(1_000);
        while client.0.write_all(many.as_bytes()).is_ok() {}
    };
    tokio::task::spawn_blocking(flood).await.unwrap();
    assert_eq!(running.n_ended(CloseReason::SlowWrite), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_answers_and_for_nothing_else() {
    let gate = Gate::closed();
    let running = Running::start_behind(patient(), Some(&gate)).await;
    let (idle, _) = running.connect().ask(HEALTH).await;
    let silent = running.connect();
    let mut searching = running.connect();
    searching.send(SEARCH);
    let arrived = gate.clone();
    tokio::task::spawn_blocking(move || arrived.wait_for_arrivals(1)).await.unwrap();
    let address = running.address;
    let end = tokio::spawn(running.end());
    assert_eq!((idle.rest().await, silent.rest().await), (String::new(), String::new()), "closed at once");
    gate.open();
    assert_eq!(end.await.unwrap(), ServeOutcome { n_cut_off: 0 });
    let answer = searching.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"hits\""), "{answer}");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_answers_new_requests_and_is_not_ready() {
    let running = Running::start(with(|limits| limits.drain = LONG)).await;
    let (idle, _) = running.connect().ask(HEALTH).await;
    let (address, config) = (running.address, running.config.clone());
    let end = tokio::spawn(running.end());
    while !config.is_stopping() {
        tokio::task::yield_now().await;
    }
    let connect = || Client(TcpStream::connect(address).unwrap());
    for (client, request, status) in [(idle, SEARCH, "200"), (connect(), SEARCH, "200"), (connect(), READY, "503")] {
        let mut client = client;
        client.send(request);
        let answer = client.rest().await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert_eq!(answer.contains("the server is shutting down"), request == READY, "{answer}");
    }
    assert!(!end.is_finished(), "it accepts requests for the time that is configured");
    end.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_drained_ends() {
    let running = Running::start(with(|limits| limits.drain = SHORT)).await;
    let (idle, _) = running.connect().ask(HEALTH).await;
    let address = running.address;
    assert_eq!(running.end().await, ServeOutcome { n_cut_off: 0 });
    assert_eq!(idle.rest().await, "", "closed at the end");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_cuts_off_what_takes_too_long() {
    let gate = Gate::closed();
    let running = Running::start_behind(with(|limits| limits.shutdown = SHORT), Some(&gate)).await;
    let (mut searching, mut slow) = (running.connect(), running.connect());
    searching.send(SEARCH);
    slow.send("GET /hea");
    let arrived = gate.clone();
    tokio::task::spawn_blocking(move || arrived.wait_for_arrivals(1)).await.unwrap();
    while running.config.connections().n_open() < 2 {
        tokio::task::yield_now().await;
    }
    let ended = running.end().await;
    assert_eq!(searching.rest().await, "");
    assert!((1..=2).contains(&ended.n_cut_off), "{ended:?}: the slow one may not have been read from");
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_limits_hold_from_the_next_request_on() {
    let running = Running::start(patient()).await;
    let (client, _) = running.connect().ask(HEALTH).await;
    running.config.replace(HttpConfig { body_bytes_max: 10, ..patient() });
    let post = "POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"query\": \"egg\"}";
    assert_eq!(client.ask(post).await.1, "413");
}
