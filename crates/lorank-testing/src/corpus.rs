//! The saved corpora of the fuzz targets.

use std::path::Path;

/// Calls `accepts`, which a fuzz target calls too, with the bytes of each file of that target's corpus (`fuzz/corpus/TARGET`).
///
/// # Panics
/// If it does, or if it accepts all files or none.
pub fn check_corpus(target: &str, accepts: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let (good, bad): (Vec<_>, Vec<_>) = files.iter().partition(|file| accepts(&std::fs::read(file).unwrap()));
    assert!(!good.is_empty() && !bad.is_empty(), "{target} accepts {good:?} and refuses {bad:?}");
}
