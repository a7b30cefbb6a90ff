//! The saved corpora of the fuzz targets.

use std::path::{Path, PathBuf};

/// Calls `accepts`, which a fuzz target calls too, with the bytes of each file of that target's corpus (`fuzz/corpus/TARGET`).
///
/// # Panics
/// If it does, or if it accepts all files or none.
pub fn check_corpus(target: &str, accepts: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = folder.read_dir().expect("every fuzz target has a corpus");
    let files: Vec<_> = entries.map(|entry| entry.expect("a corpus can be listed").path()).collect();
    let is_accepted = |file: &&PathBuf| accepts(&std::fs::read(file).expect("a corpus holds files alone"));
    let (good, bad): (Vec<_>, Vec<_>) = files.iter().partition(is_accepted);
    assert!(!good.is_empty() && !bad.is_empty(), "{target} accepts {good:?} and refuses {bad:?}");
}
