//! The settings file of an index.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_tantivy::fuzzing::read_index_settings(bytes);
});
