//! Memory during and after loading. A single test, so that nothing else runs in its process.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::fs;
use std::path::{Path, PathBuf};

use lorank_core::Precision;
use lorank_model::{Files, LoadOptions, ModelReranker};

/// A line of the process's status in bytes: `VmRSS` is the memory in use, `VmHWM` its maximum so far.
fn memory(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|one| one.strip_prefix(line)).unwrap();
    let kilobytes: f64 = value.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap();
    kilobytes * 1024.0
}

fn starter(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lorank-starter/data").join(folder)
}

#[test]
fn loading_takes_little_more_than_what_stays() {
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        // No memory is released in between, so the maximum is that of this load.
        let before = memory("VmRSS");
        let files = Files::folder(starter("minilm")).unwrap();
        let options = LoadOptions { precision: precision.into(), ..LoadOptions::default() };
        let reranker = ModelReranker::load(&files, options).unwrap();
        let (peak, after) = (memory("VmHWM") - before, memory("VmRSS") - before);
        println!("{precision}: {:.0} MB, at most {:.0} MB while loading", after / 1e6, peak / 1e6);
        assert!(after > 20e6, "{precision}: there is a model in memory, and not {after} bytes");
        assert!(peak < 1.3 * after, "{precision}: {peak} bytes at the peak, {after} afterwards");

        let folder = starter("adapters/minilm-qa");
        let file_bytes = fs::metadata(folder.join("adapter_model.safetensors")).unwrap().len() as f64;
        let adapter = Files::folder(folder).unwrap();
        // Many adapters, so that single pages do not matter.
        let n = 16;
        for copy in 0..n {
            reranker.add_adapter(format!("copy-{copy}").parse().unwrap(), &adapter).unwrap();
        }
        let each = (memory("VmRSS") - before - after) / f64::from(n);
        println!("{precision}: {:.2} MB an adapter, whose file has {:.2} MB", each / 1e6, file_bytes / 1e6);
        assert!(each < 1.2 * file_bytes, "{precision}: {each} bytes an adapter, its file {file_bytes}");
        // Kept to the end, because released memory would make the next model look smaller.
        std::mem::forget(reranker);
    }
}
