//! The advanced query syntax, over an empty index.

#![no_main]

use std::sync::OnceLock;

use lorank_tantivy::{Index, IndexSettings};

/// In a folder that is not removed, because the fuzzer does not report its end.
static INDEX: OnceLock<Index> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|text: &str| {
    let index = INDEX.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder can be made").keep();
        Index::create(folder, &IndexSettings::default()).expect("an index can be made")
    });
    lorank_tantivy::fuzzing::read_advanced_query(text, index);
});
