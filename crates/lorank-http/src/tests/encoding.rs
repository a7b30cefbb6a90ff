//! Compressed bodies of requests and answers.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::documents::{LINES, ToyHost, document_service};
use super::*;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encoded(method: &str, uri: &str, content_type: &str, encoding: &str, body: Vec<u8>) -> Request<Body> {
    let mut request = request(method, uri, content_type, body);
    request.headers_mut().insert("content-encoding", encoding.parse().unwrap());
    request
}

/// Every route that reads a body, with one that it takes.
const BODIES: [(&str, &str, &str, &str); 9] = [
    ("POST", "/v1/search", JSON, r#"{"query": "egg"}"#),
    ("POST", "/v1/compare", JSON, r#"{"query": "egg", "adapters": ["none"]}"#),
    ("POST", "/rerank", JSON, r#"{"query": "egg", "texts": ["a"]}"#),
    ("POST", "/rerank", JSON, r#"{"query": "egg", "documents": ["a"]}"#),
    ("POST", "/v1/rerank", JSON, r#"{"query": "egg", "documents": ["a"]}"#),
    ("POST", "/v2/rerank", JSON, r#"{"query": "egg", "documents": ["a"]}"#),
    ("POST", "/score", JSON, r#"{"text_1": "egg", "text_2": "a"}"#),
    ("DELETE", "/v1/documents", JSON, r#"{"query": "egg"}"#),
    ("POST", "/v1/documents", LINES, "{\"id\": \"g0\"}\n{\"id\": \"g1\"}\n"),
];

fn small_service() -> Router {
    let limits = HttpConfig { body_bytes_max: 2_000, bulk_bytes_max: 2_000, ..HttpConfig::default() };
    document_service(ToyHost::default(), limits)
}

#[tokio::test]
async fn every_route_decodes_its_body() {
    let service = small_service();
    for (method, uri, content_type, body) in BODIES {
        for (encoding, bytes) in [
            ("gzip", gzip(body.as_bytes())),
            ("x-gzip", gzip(body.as_bytes())),
            ("deflate", zlib(body.as_bytes())),
            ("deflate", deflate(body.as_bytes())),
            ("identity", body.into()),
        ] {
            let (status, _, answer) = send(&service, encoded(method, uri, content_type, encoding, bytes)).await;
            assert_eq!(status, 200, "{method} {uri} {encoding}: {answer}");
            assert!(uri != "/v1/documents" || method != "POST" || answer.contains("\"n_refused\":0"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_body_that_decodes_to_too_much_is_too_large() {
    let service = small_service();
    let bomb = b" ".repeat(1 << 20);
    for (method, uri, content_type, _) in BODIES {
        for (encoding, bytes) in [("gzip", gzip(&bomb)), ("deflate", zlib(&bomb)), ("deflate", deflate(&bomb))] {
            assert!(bytes.len() < 2_000);
            let (status, _, answer) = send(&service, encoded(method, uri, content_type, encoding, bytes)).await;
            assert!(status == 413 && answer.contains("limit of 2000 bytes"), "{method} {uri} {encoding}: {answer}");
        }
    }
}

#[tokio::test]
async fn damaged_bodies_and_other_encodings_are_refused() {
    let service = small_service();
    for (method, uri, content_type, body) in BODIES {
        let cut = gzip(body.as_bytes());
        for (encoding, bytes) in [("gzip", cut[..cut.len() - 1].to_vec()), ("deflate", b"\xff\xff\xff".to_vec())] {
            let (status, _, answer) = send(&service, encoded(method, uri, content_type, encoding, bytes)).await;
            assert!(status == 400 && answer.contains("it is not valid "), "{method} {uri} {encoding}: {answer}");
        }
        for encoding in ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "gzip;q=1", ""] {
            let request = encoded(method, uri, content_type, encoding, gzip(body.as_bytes()));
            let (status, headers, answer) = send(&service, request).await;
            let message = format!("the content encoding `{encoding}` is not supported");
            assert!(status == 415 && answer.contains(&message), "{method} {uri} {encoding}: {answer}");
            assert_eq!(headers["accept-encoding"], "gzip, deflate, identity");
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_accept_it() {
    let service = small_service();
    let answer = async |accepted: &str| {
        let mut request = request("GET", "/openapi.json", "", "");
        request.headers_mut().insert("accept-encoding", accepted.parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.headers, axum::body::to_bytes(body, usize::MAX).await.unwrap())
    };
    let (headers, plain) = answer("identity").await;
    assert!(!headers.contains_key("content-encoding") && headers["vary"] == "accept-encoding");
    for (accepted, chosen) in [("gzip", "gzip"), ("gzip, deflate, br", "gzip"), ("br;q=1, gzip;q=0.5", "gzip")] {
        let (headers, compressed) = answer(accepted).await;
        assert!(headers["content-encoding"] == chosen && headers["vary"] == "accept-encoding", "{accepted}");
        assert!(compressed.len() * 3 < plain.len());
        let mut decoded = Vec::new();
        GzDecoder::new(&compressed[..]).read_to_end(&mut decoded).unwrap();
        assert!(decoded == plain, "{accepted}");
    }
    for accepted in ["br", "gzip;q=0", ""] {
        assert!(!answer(accepted).await.0.contains_key("content-encoding"), "{accepted}");
    }
    // What fits into a packet is sent as it is.
    let mut short = request("GET", "/health", "", "");
    short.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let (_, headers, _) = send(&service, short).await;
    assert!(!headers.contains_key("content-encoding"));
}
