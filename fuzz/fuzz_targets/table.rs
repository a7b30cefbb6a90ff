//! CSV and TSV tables, as `lorank index` reads them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for delimiter in [b',', b'\t'] {
        lorank_tantivy::fuzzing::read_table(bytes, delimiter);
    }
});
