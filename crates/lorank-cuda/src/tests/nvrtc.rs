//! Compiles the kernels with NVRTC, which needs no GPU. `.ci/cuda` installs it from PyPI, and runs this.

use std::env;
use std::path::PathBuf;

use crate::gpu::{NVRTC, kernels};

/// Folders of libraries, as `PATH` has them.
const FOLDERS: &str = "LORANK_CUDA_FOLDERS";

#[test]
#[ignore = "needs NVRTC: `.ci/cuda` installs and runs it"]
fn a_gpu_that_nvrtc_does_not_know_gets_intermediate_code() {
    let folders = env::var_os(FOLDERS).unwrap_or_else(|| panic!("{FOLDERS} names the folder of NVRTC's package"));
    let folders: Vec<PathBuf> = env::split_paths(&folders).collect();
    NVRTC.load(&folders).unwrap();
    let (code, _) = kernels((99, 0), None).unwrap();
    let text = String::from_utf8(code).unwrap();
    assert!(text.contains(".target sm_") && text.ends_with('\0'), "code for the driver to compile");
    let error = kernels((1, 0), None).unwrap_err().to_string();
    assert_eq!(error, "the GPU kernels do not compile for `sm_10`: NVRTC supports newer GPUs only");
}
