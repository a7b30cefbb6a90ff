//! JSON lines, as `lorank index` and the documents' route read them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_tantivy::fuzzing::read_json_lines(bytes);
});
