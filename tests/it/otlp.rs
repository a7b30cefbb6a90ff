//! Traces, as a collector gets them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use crate::command::Lorank;
use crate::serving::Server;

/// A collector on a free port: its address, and the bodies that come to `/v1/traces`.
fn collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = sender.send(receive(stream.unwrap()));
        }
    });
    (address, bodies)
}

fn receive(mut stream: TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = reader.by_ref().lines().map(|line| line.unwrap().to_lowercase());
    assert_eq!(lines.next().unwrap(), "post /v1/traces http/1.1");
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    body
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(unix)]
#[test]
fn a_search_leaves_a_trace_without_its_texts() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 1, \"text\": \"A tulip grows.\"}\n");
    let (address, bodies) = collector();
    let args = ["--index", "i", "--adapter", "minilm-qa", "--listen", "127.0.0.1:0", "--otlp-endpoint", &address];
    let server = Server::start(&lorank, &args);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let head = "GET /v1/search?q=tulip HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-request-id: asked-by-a-test\r\n";
    write!(stream, "{head}traceparent: 00-{trace}-b7ad6b7169203331-01\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.end();

    let sent: Vec<u8> = bodies.try_iter().flatten().collect();
    for part in [
        "service.name",
        "lorank",
        "GET /v1/search",
        "http.route",
        "http.response.status_code",
        "asked-by-a-test",
        "first_stage",
        "queue",
        "model",
    ] {
        assert!(contains(&sent, part.as_bytes()), "{part} was not sent: {}", String::from_utf8_lossy(&sent));
    }
    assert!(contains(&sent, &u128::from_str_radix(trace, 16).unwrap().to_be_bytes()), "the caller's trace goes on");
    assert!(!contains(&sent, b"tulip"), "{}", String::from_utf8_lossy(&sent));
}

#[test]
fn an_endpoint_that_is_no_address_is_wrong_usage() {
    let (code, stderr) = Lorank::new().fail(&["serve", "--index", "i", "--otlp-endpoint", "localhost:4318"], "");
    assert!(code == 2 && stderr.contains("http:// or https://"), "{stderr}");
}
