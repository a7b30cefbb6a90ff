//! The filters of a search as JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_http::fuzzing::read_search_filters(bytes);
});
