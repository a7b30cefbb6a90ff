//! Downloads from a hub: a small local server that implements the hub's protocol and counts requests.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use lorank_model::{Files, Hub, HubRepository, LoadOptions, ModelError, ModelReranker, Source};
use lorank_testing::fixture;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The repository `owner/name` with these files, gated by the token `secret`.
struct FakeHub {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    fn serve(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &files, &log);
            }
        });
        Self { address, asked }
    }

    fn n_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().transpose()?.unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    log.lock().unwrap().push(path.clone());
    let (status, extra, body) = if !headers.iter().any(|header| header == "authorization: bearer secret") {
        ("401 Unauthorized", String::new(), Vec::new())
    } else if path == "/api/models/owner/name/revision/main" {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        ("200 OK", String::new(), serde_json::json!({ "siblings": siblings, "sha": COMMIT }).to_string().into_bytes())
    } else if let Some(bytes) =
        path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/")).and_then(|name| files.get(name))
    {
        let wanted = headers.iter().find_map(|header| header.strip_prefix("range: bytes=")).unwrap_or("0-");
        let (start, end) = wanted.split_once('-').unwrap();
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
        let etag = path.rsplit('/').next().unwrap();
        let extra = format!(
            "x-repo-commit: {COMMIT}\r\netag: \"{etag}\"\r\ncontent-range: bytes {start}-{}/{}\r\n",
            end.max(1) - 1,
            bytes.len()
        );
        ("206 Partial Content", extra, bytes[start..end].to_vec())
    } else {
        ("404 Not Found", String::new(), Vec::new())
    };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{extra}\r\n", body.len())?;
    stream.write_all(&body)
}

fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = folder.read_dir().unwrap().flatten();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

fn repository(text: &str) -> HubRepository {
    match text.parse().unwrap() {
        Source::Hub(repository) => repository,
        Source::Folder(_) => panic!("{text} is a hub source"),
    }
}

fn hub(server: &FakeHub, cache: &Path) -> Hub {
    Hub {
        cache: cache.to_owned(),
        token: Some("secret".into()),
        endpoint: Some(server.address.clone()),
        offline: false,
    }
}

#[test]
fn a_sharded_base_is_fetched_once_with_progress() {
    let server = FakeHub::serve(files_of(&fixture("tiny-llama/base-causal-sharded")));
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, cache.path());
    let seen = RefCell::new(BTreeMap::new());
    let on_progress = |file: &str, done: u64, total: u64| {
        seen.borrow_mut().insert(file.to_owned(), (done, total));
    };

    let folder = hub.fetch_base(&repository("hf://owner/name"), &on_progress).unwrap();
    ModelReranker::load(&Files::folder(folder.clone()).unwrap(), LoadOptions::default()).unwrap();
    let seen = seen.into_inner();
    assert!(seen.contains_key("model-00002-of-00003.safetensors"), "{seen:?}");
    assert!(seen.values().all(|(done, total)| done == total), "{seen:?}");

    let n_asked = server.n_asked();
    let offline = Hub { offline: true, token: None, ..hub.clone() };
    for (hub, revision) in [(&hub, ""), (&offline, ""), (&offline, &format!("@{COMMIT}"))] {
        assert_eq!(hub.fetch_base(&repository(&format!("hf://owner/name{revision}")), &|_, _, _| {}).unwrap(), folder);
    }
    assert_eq!(server.n_asked(), n_asked, "what was fetched is not asked for again");
}

#[test]
fn an_adapter_is_fetched() {
    let server = FakeHub::serve(files_of(&fixture("tiny-llama/adapter-a")));
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(&server, cache.path()).fetch_adapter(&repository("hf://owner/name"), &|_, _, _| {}).unwrap();
    let base = Files::folder(fixture("tiny-llama/base")).unwrap();
    let reranker = ModelReranker::load(&base, LoadOptions::default()).unwrap();
    reranker.add_adapter("a".parse().unwrap(), &Files::folder(folder).unwrap()).unwrap();
}

#[test]
fn what_cannot_be_fetched_is_named() {
    let mut files = files_of(&fixture("tiny-llama/base"));
    files.remove("tokenizer.json");
    let server = FakeHub::serve(files);
    let cache = tempfile::tempdir().unwrap();
    let good = hub(&server, cache.path());
    let check = |hub: &Hub, parts: &[&str]| {
        let error = hub.fetch_base(&repository("hf://owner/name"), &|_, _, _| {}).unwrap_err();
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    check(&good, &["`tokenizer.json`", "hf://owner/name@main", "check the repository's name"]);
    check(&Hub { token: None, ..good.clone() }, &["HF_TOKEN"]);
    check(&Hub { offline: true, cache: cache.path().join("empty"), ..good.clone() }, &["HF_HUB_OFFLINE"]);
    check(&Hub { endpoint: Some("http://127.0.0.1:9".into()), ..good }, &["the list of files", "network"]);
}

#[test]
fn a_repository_of_pickles_is_refused() {
    let server = FakeHub::serve(BTreeMap::from([
        ("adapter_config.json".to_owned(), b"{}".to_vec()),
        ("adapter_model.bin".to_owned(), b"\x80".to_vec()),
    ]));
    let cache = tempfile::tempdir().unwrap();
    let error = hub(&server, cache.path()).fetch_adapter(&repository("hf://owner/name"), &|_, _, _| {}).unwrap_err();
    assert!(matches!(&error, ModelError::PickleRefused { file, .. } if file == "adapter_model.bin"), "{error}");
}
