//! The saved corpora of the fuzz targets, through the functions that the targets call: nothing in them may make one panic.

use lorank_tantivy::{IndexSettings, fuzzing};
use lorank_testing::check_corpus;

use crate::Corpus;

#[test]
fn json_lines_never_panic() {
    check_corpus("json_lines", |bytes| fuzzing::read_json_lines(bytes)[1] == 0);
}

#[test]
fn tables_never_panic() {
    check_corpus("table", |bytes| [b',', b'\t'].map(|delimiter| fuzzing::read_table(bytes, delimiter)[1]).contains(&0));
}

#[test]
fn index_settings_never_panic() {
    check_corpus("index_settings", fuzzing::read_index_settings);
}

#[test]
fn advanced_queries_never_panic() {
    let corpus = Corpus::empty(&IndexSettings::default());
    check_corpus("advanced_query", |bytes| {
        fuzzing::read_advanced_query(&String::from_utf8_lossy(bytes), &corpus.index)
    });
}
