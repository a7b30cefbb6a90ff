//! The assembled server: starts on a free port, answers, reloads limits, and ends.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use lorank_core::ErrorKind;
use lorank_http::axum::routing::get;
use lorank_http::{Key, Role};
use lorank_server::{Error, IndexSpec, LoadedServer, Server, ServerConfig, ServerHandle, StartOptions};
use lorank_tantivy::{Document, Index, IndexSettings, WriterOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A configuration for an index of two documents, the tiny fixture model, and a free port.
fn config(folder: &Path) -> ServerConfig {
    let (index, settings) = (folder.join("index"), IndexSettings::default());
    let mut writer = Index::create(&index, &settings).unwrap().writer(&WriterOptions::default()).unwrap();
    for line in [r#"{"id": 1, "text": "a light bulb burns"}"#, r#"{"id": 2, "text": "a tulip bulb in light soil"}"#] {
        writer.add(&Document::from_json(line.as_bytes(), &settings).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    writer.close().unwrap();
    let mut config = ServerConfig::new(index, folder.join("data"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.model.base = vec![lorank_testing::fixture("tiny-bert/base").display().to_string().parse().unwrap()];
    config
}

/// The status and body of a response.
async fn ask(address: SocketAddr, method: &'static str, target: &'static str, body: &'static str) -> (u16, String) {
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        let length = body.len();
        write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

/// The address of a running server, and its handle.
struct Running {
    address: SocketAddr,
    handle: ServerHandle,
}

/// Starts a server, runs `requests` with its address and handle, and ends it.
fn with_server<F: Future<Output = ()>>(server: impl Future<Output = Server>, requests: impl FnOnce(Running) -> F) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let server = server.await;
        let (address, handle) = (server.address(), server.handle());
        let (end, ended) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async { ended.await.unwrap_or_default() }));
        requests(Running { address, handle }).await;
        end.send(()).unwrap();
        assert_eq!(running.await.unwrap().unwrap().n_cut_off, 0);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    });
}

#[test]
fn it_starts_answers_takes_other_limits_and_ends() {
    let folder = TempDir::new().unwrap();
    let config = config(folder.path());
    with_server(async { Server::start(config.clone()).await.unwrap() }, async |Running { address, handle }| {
        let (status, answer) = ask(address, "GET", "/v1/search?q=light+bulb", "").await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &answer["reranked"], answer["hits"].as_array().map(Vec::len)),
            (200, &true.into(), Some(2))
        );
        // The registry, the experiments and the documents are available too.
        for target in ["/v1/adapters", "/v1/experiments", "/v1/stats", "/ready"] {
            assert_eq!(ask(address, "GET", target, "").await.0, 200, "{target}");
        }

        let body = r#"{"query": "a query of some length"}"#;
        assert_eq!(ask(address, "POST", "/v1/search", body).await.0, 200);
        let mut changed = config.clone();
        changed.server.body_bytes_max = 10;
        changed.search.depth = 7.try_into().unwrap();
        assert_eq!(handle.reload(&changed).unwrap(), ["search.depth"], "the depth waits for the next start");
        assert_eq!(ask(address, "POST", "/v1/search", body).await.0, 413);

        changed.keys = vec![Key::new("shop", Role::Search, &Key::hash_of("a key")).unwrap()];
        handle.reload(&changed).unwrap();
        assert_eq!(ask(address, "GET", "/v1/search?q=bulb", "").await.0, 401);
    });
}

#[test]
fn routes_of_the_application_stand_beside_the_servers() {
    let folder = TempDir::new().unwrap();
    let config = config(folder.path());
    let server = async {
        let server = Server::start(config).await.unwrap();
        server.map_router(|router| router.route("/own", get(async || "the application's own")))
    };
    with_server(server, async |Running { address, .. }| {
        assert_eq!(ask(address, "GET", "/own", "").await, (200, "the application's own".to_owned()));
        assert_eq!(ask(address, "GET", "/health", "").await.0, 200);
    });
}

#[test]
fn a_loaded_server_searches_without_a_socket() {
    let folder = TempDir::new().unwrap();
    let loaded = LoadedServer::load(config(folder.path()), StartOptions::default()).unwrap();
    let answer = loaded.pipeline().search(&lorank_pipeline::SearchRequest::new("tulip")).unwrap();
    assert_eq!((answer.reranked, answer.hits.len()), (true, 1));
}

#[test]
fn what_cannot_be_started_says_why() {
    let folder = TempDir::new().unwrap();
    let good = config(folder.path());
    let check = |change: &dyn Fn(&mut ServerConfig), kind: ErrorKind, part: &str| {
        let mut config = good.clone();
        change(&mut config);
        let error = LoadedServer::load(config, StartOptions::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    check(&|config| config.data = None, ErrorKind::Invalid, "set `data`");
    check(&|config| config.listen.set_ip([0, 0, 0, 0].into()), ErrorKind::Invalid, "without API keys");
    let file = folder.path().join("file");
    std::fs::write(&file, "no index").unwrap();
    check(&|config| config.index = vec![IndexSpec::unnamed(&file)], ErrorKind::Malformed, "is not a lorank index");
    let missing = vec!["./nowhere".parse().unwrap()];
    check(&|config| config.model.base = missing.clone(), ErrorKind::NotFound, "no model folder at `./nowhere`");
    check(&|config| config.search.depth = config.search.depth_max.saturating_add(1), ErrorKind::Invalid, "depth");
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(folder.path());
    config.listen = taken.local_addr().unwrap();
    let error = tokio::runtime::Runtime::new().unwrap().block_on(Server::start(config)).unwrap_err();
    assert!(matches!(&error, Error::Bind { .. }) && error.kind() == ErrorKind::Unavailable, "{error}");
}

#[test]
fn keys_cannot_be_taken_from_a_server_that_others_reach() {
    let folder = TempDir::new().unwrap();
    let mut config = config(folder.path());
    config.listen.set_ip([0, 0, 0, 0].into());
    config.keys = vec![Key::new("shop", Role::Search, &Key::hash_of("a key")).unwrap()];
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let handle = Server::start(config.clone()).await.unwrap().handle();
        config.keys.clear();
        let error = handle.reload(&config).unwrap_err();
        assert!(matches!(error, Error::Unprotected { .. }), "{error}");
        // Changing `no_keys` does not help either, because it needs a restart.
        config.no_keys = true;
        assert!(handle.reload(&config).is_err());
    });
}
