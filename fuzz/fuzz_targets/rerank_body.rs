//! The bodies of requests for reranking and scoring, in the formats of all supported services.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_http::fuzzing::read_rerank_body(bytes);
});
