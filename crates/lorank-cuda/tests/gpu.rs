//! The GPU beside the host, where there is a GPU. Where there is none, opening it says so in one line.
//!
//! `LORANK_CUDA_FOLDERS` may name folders of cublasLt and NVRTC, as `PATH` does.

mod compare;

use std::env;
use std::path::PathBuf;

use lorank_cuda::{CudaError, Gpu, GpuOptions, Ops};

#[test]
fn the_gpu_computes_what_the_host_computes() {
    let folders: Vec<PathBuf> = env::var_os("LORANK_CUDA_FOLDERS").iter().flat_map(env::split_paths).collect();
    let gpu = match Gpu::open(0, &GpuOptions { folders, cache: None }) {
        Ok(gpu) => gpu,
        Err(error) => return check_that_there_is_none(&error),
    };
    println!("{:?}", gpu.info());
    let before = gpu.memory().unwrap();
    let start = gpu.mark().unwrap();
    compare::compare(&gpu, 64 << 20);
    println!("compared in {:?} of the GPU's time", start.time_until(&gpu.mark().unwrap()).unwrap());
    let now = gpu.memory().unwrap();
    println!("free before {}, now {}, of {}", before.free, now.free, now.total);
    gpu.synchronize().unwrap();
    // A second one on the same card.
    let other = Gpu::open(0, &GpuOptions::default()).unwrap();
    compare::compare(&other, 64 << 20);
}

/// What is wrong says that there is no GPU, not that one cannot be used.
fn check_that_there_is_none(error: &CudaError) {
    println!("no GPU: {error}");
    let is_none = matches!(
        error,
        CudaError::NoDriver { .. }
            | CudaError::DriverTooOld { .. }
            | CudaError::NoDevice { .. }
            | CudaError::ComputeCapability { .. }
    );
    assert!(is_none, "a GPU cannot be used: {error}");
    assert!(!error.to_string().contains('\n'), "one line");
}
