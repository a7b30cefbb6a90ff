//! The saved corpora of the fuzz targets, through the functions that the targets call: nothing in them may make one panic.

use std::path::Path;

use lorank_tantivy::{IndexSettings, fuzzing};

use crate::Corpus;

/// Calls `accepts` with the bytes of each file of a corpus, some of which it accepts and some of which it does not.
fn check(target: &str, accepts: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let (good, bad): (Vec<_>, Vec<_>) = files.iter().partition(|file| accepts(&std::fs::read(file).unwrap()));
    assert!(!good.is_empty() && !bad.is_empty(), "{target} accepts {good:?} and refuses {bad:?}");
}

#[test]
fn json_lines_never_panic() {
    check("json_lines", |bytes| fuzzing::read_json_lines(bytes)[1] == 0);
}

#[test]
fn tables_never_panic() {
    check("table", |bytes| [b',', b'\t'].map(|delimiter| fuzzing::read_table(bytes, delimiter)[1]).contains(&0));
}

#[test]
fn index_settings_never_panic() {
    check("index_settings", fuzzing::read_index_settings);
}

#[test]
fn advanced_queries_never_panic() {
    let corpus = Corpus::empty(&IndexSettings::default());
    check("advanced_query", |bytes| fuzzing::read_advanced_query(&String::from_utf8_lossy(bytes), &corpus.index));
}
