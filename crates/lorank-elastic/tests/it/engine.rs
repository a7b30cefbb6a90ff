//! Nodes on loopback that answer as a test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use lorank_elastic::{ElasticConfig, ElasticFirstStage};

/// A request that a node received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub line: String,
    pub authorization: Option<String>,
    pub body: String,
}

/// What a node answers: a status with its other headers, and a body. `None` answers nothing and keeps the connection.
pub(crate) type Script = Arc<dyn Fn(&Received) -> Option<(&'static str, String)> + Send + Sync>;

/// A node that answers as its script says.
pub(crate) struct Node {
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Node {
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = received.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, log) = (script.clone(), log.clone());
                thread::spawn(move || serve(stream.unwrap(), &script, &log));
            }
        });
        Self { url, received }
    }

    /// A node with the types of fields that tests use, and `answer` for searches.
    pub(crate) fn searching(
        answer: impl Fn(&Received) -> Option<(&'static str, String)> + Send + Sync + 'static,
    ) -> Self {
        Self::start(Arc::new(move |received| match received.line.contains("/_field_caps") {
            true => Some(("200 OK", FIELD_CAPS.to_owned())),
            false => answer(received),
        }))
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The number of searches that the node received.
    pub(crate) fn n_searches(&self) -> usize {
        self.received().iter().filter(|it| it.line.contains("/_search")).count()
    }
}

/// An address at which nothing listens.
pub(crate) fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

const FIELD_CAPS: &str = r#"{"indices": ["articles"], "fields": {
    "title": {"text": {}}, "text": {"text": {}}, "lang": {"keyword": {}}, "year": {"long": {}}}}"#;

/// The answer with one hit.
pub(crate) const ONE_HIT: &str = r#"{"took": 1, "timed_out": false, "_shards": {"total": 1, "successful": 1, "failed": 0},
    "hits": {"total": {"value": 1, "relation": "eq"}, "hits": [{"_id": "a", "_score": 2.5, "_source": {"text": "A light bulb."}}]}}"#;

pub(crate) fn found() -> Option<(&'static str, String)> {
    Some(("200 OK", ONE_HIT.to_owned()))
}

pub(crate) fn config(nodes: &[&str]) -> ElasticConfig {
    ElasticConfig::new(nodes.iter().map(|url| url.parse().unwrap()).collect(), "articles".parse().unwrap())
}

pub(crate) fn first_stage(nodes: &[&str]) -> ElasticFirstStage {
    ElasticFirstStage::new(config(nodes)).unwrap()
}

fn serve(stream: TcpStream, script: &Script, log: &Mutex<Vec<Received>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(received) = read(&mut reader) {
        log.lock().unwrap().push(received.clone());
        let Some((status, body)) = script(&received) else { continue };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let found =
            lines.iter().filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Received { line: lines[0].clone(), authorization: header("authorization"), body })
}
