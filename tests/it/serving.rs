//! `serve` over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::command::{Lorank, std_command};

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    pub(crate) fn start(lorank: &Lorank, args: &[&str]) -> Self {
        let mut command = std_command(lorank.folder.path());
        let mut child = command.arg("serve").args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on http://").expect("the first line names the address").to_owned();
        Self { child, address }
    }

    #[cfg(unix)]
    /// Asks it politely to end, and waits until it has: everything is written then.
    pub(crate) fn end(mut self) {
        let status = std::process::Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success() && self.child.wait().unwrap().success());
    }

    /// Where it listens: host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    #[cfg(unix)]
    /// Sends it SIGHUP.
    pub(crate) fn hang_up(&self) {
        let status = std::process::Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it without asking.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Status and body of an answer.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        self.ask_with("", "application/json", method, target, body)
    }

    /// Status and body of an answer to a body of the given type.
    pub(crate) fn ask_as(&self, content_type: &str, method: &str, target: &str, body: &str) -> (u16, Value) {
        self.ask_with("", content_type, method, target, body)
    }

    /// Status and body of an answer to JSON that comes with a key.
    pub(crate) fn ask_by(&self, key: &str, method: &str, target: &str, body: &str) -> (u16, Value) {
        self.ask_with(key, "application/json", method, target, body)
    }

    /// The body of an answer as it stands.
    pub(crate) fn ask_raw(&self, method: &str, target: &str) -> String {
        self.exchange("", "application/json", method, target, "").1
    }

    fn ask_with(&self, key: &str, content_type: &str, method: &str, target: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.exchange(key, content_type, method, target, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|_| json!(body)))
    }

    fn exchange(&self, key: &str, content_type: &str, method: &str, target: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        let head = if key.is_empty() { head } else { format!("{head}Authorization: Bearer {key}\r\n") };
        write!(stream, "{head}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_served_index_answers_get_and_post() {
    let lorank = Lorank::new();
    let documents = "{\"id\": 1, \"text\": \"A light bulb burns.\"}\n{\"id\": 2, \"text\": \"A tulip bulb grows in light soil.\"}\n";
    lorank.run_with(&["index", "--index", "i", "-"], documents);
    lorank.write("lorank.toml", "index = 'i'\n[model]\nadapters = ['minilm-qa']\n[search]\ntop_k = 1\n");
    let server = Server::start(&lorank, &["--config", "lorank.toml", "--listen", "127.0.0.1:0"]);

    assert_eq!(server.ask("GET", "/health", "").0, 200);
    let (status, first) = server.ask("GET", "/v1/search?q=light+bulb", "");
    assert_eq!((status, &first["reranked"], &first["adapter"]["id"]), (200, &json!(true), &json!("minilm-qa")));
    assert_eq!(first["hits"].as_array().map(Vec::len), Some(1), "the file's top_k counts");
    let (status, again) = server.ask("POST", "/v1/search", "{\"query\": \"light bulb\", \"top_k\": 2}");
    assert_eq!((status, &again["cache"]), (200, &json!({"hits": 2, "misses": 0})));
    assert_eq!(again["hits"].as_array().map(Vec::len), Some(2));
    let (_, science) = server.ask("POST", "/v1/search", "{\"query\": \"light bulb\", \"adapter\": \"minilm-science\"}");
    assert_eq!(science["adapter"]["id"], "minilm-science");
    assert_eq!(server.ask("POST", "/v1/search", "{\"query\": 3}").0 / 100, 4);
}

#[cfg(unix)]
#[test]
fn a_polite_kill_ends_it_well() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 1, \"text\": \"one\"}\n");
    let mut server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    let status = std::process::Command::new("kill").arg(server.child.id().to_string()).status().unwrap();
    assert!(status.success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn keys_are_read_again_at_sighup() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 1, \"text\": \"one\"}\n");
    let key = |name: &str| {
        let lines = lorank.run(&["key", name]);
        let (comment, section) = lines.split_once('\n').unwrap();
        (comment.rsplit(' ').next().unwrap().to_owned(), section.to_owned())
    };
    let ((old, old_section), (new, new_section)) = (key("old"), key("new"));
    let config = |top_k: u32, sections: &str| format!("index = 'i'\n[search]\ntop_k = {top_k}\n{sections}");
    lorank.write("lorank.toml", &config(1, &old_section));
    let server = Server::start(&lorank, &["--config", "lorank.toml", "--listen", "127.0.0.1:0"]);
    let status = |key: &str| server.ask_by(key, "GET", "/v1/search?q=one", "").0;
    assert_eq!((status(&old), status(&new)), (200, 401));

    // A broken file changes nothing. It has been read once an intact one after it has.
    lorank.write("lorank.toml", "indx = 1");
    server.hang_up();
    lorank.write("lorank.toml", &config(2, &new_section));
    server.hang_up();
    let changed = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        status(&new) == 200
    });
    assert!(changed, "the new key is known");
    assert_eq!(status(&old), 401);
}

/// What somebody needs who only wants a rerank service.
#[test]
fn a_server_without_an_index_starts_empty_and_takes_documents() {
    let lorank = Lorank::new();
    for args in [&["--listen", "127.0.0.1:0"][..], &["--index", "new/index", "--listen", "127.0.0.1:0"]] {
        let server = Server::start(&lorank, args);
        assert_eq!(server.ask("GET", "/ready", "").0, 200);
        let (status, answer) = server.ask("GET", "/v1/search?q=egg", "");
        assert_eq!((status, &answer["hits"]), (200, &json!([])), "{answer}");
        let (status, answer) = server.ask("POST", "/rerank", r#"{"query": "egg", "texts": ["An egg.", "A car."]}"#);
        assert_eq!((status, &answer[0]["index"]), (200, &json!(0)), "{answer}");
        let documents = "{\"id\": \"1\", \"text\": \"boiled egg\"}\n";
        assert_eq!(server.ask_as("application/x-ndjson", "POST", "/v1/documents", documents).0, 200);
        assert_eq!(server.ask("GET", "/v1/search?q=egg", "").1["hits"][0]["id"], "1");
        server.kill();
    }
    assert!(lorank.path("share/lorank/index/meta.json").is_file() && lorank.path("new/index/meta.json").is_file());
    let output = lorank.command(&["info", "--index", "new/index", "--json"]).output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["index"]["n_documents"], 1);
}
