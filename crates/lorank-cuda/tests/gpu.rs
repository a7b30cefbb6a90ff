//! The GPU beside the host, where there is a GPU. Where there is none, opening it says so in one line.
//!
//! `LORANK_CUDA_FOLDERS` may name folders of cublasLt and NVRTC, as `PATH` does. `.ci/cuda` runs this with a simulated
//! driver.

mod compare;

use std::env;
use std::path::{Path, PathBuf};

use lorank_cuda::{CudaError, Format, Gpu, GpuOptions, Ops};

#[test]
fn the_gpu_computes_what_the_host_computes() {
    let cache = tempfile::tempdir().unwrap();
    let gpu = match open(cache.path()) {
        Ok(gpu) => gpu,
        Err(error) => return check_that_there_is_none(&error),
    };
    println!("{:?}", gpu.info());
    assert!(gpu.info().has_compiled);
    let start = gpu.mark().unwrap();
    compare::compare(&gpu, 1 << 20);
    println!("compared in {:?} of the GPU's time", start.time_until(&gpu.mark().unwrap()).unwrap());
    check_copies(&gpu).unwrap();
    check_memory(&gpu).unwrap();
    let missing = Gpu::open(1000, &GpuOptions::default()).unwrap_err();
    assert!(matches!(missing, CudaError::NoDevice { ordinal: 1000, .. }), "{missing}");
    // A second one on the same card, after the first one.
    drop(gpu);
    let other = open(cache.path()).unwrap();
    assert!(!other.info().has_compiled, "the kernels are in the cache");
    compare::compare(&other, 1 << 20);
}

fn open(cache: &Path) -> Result<Gpu, CudaError> {
    let folders: Vec<PathBuf> = env::var_os("LORANK_CUDA_FOLDERS").iter().flat_map(env::split_paths).collect();
    Gpu::open(0, &GpuOptions { folders, cache: Some(cache.to_owned()) })
}

/// Rows that fill the buffer of copies several times: many, and few that are longer than the buffer.
fn check_copies(gpu: &Gpu) -> Result<(), CudaError> {
    for [n_rows, width] in [[300, 40_000], [2, 9_000_001]] {
        let wide = gpu.weights([n_rows, width + 3], Format::Bf16)?;
        let rows = wide.columns(2..2 + width);
        // Numbers that bf16 has.
        let values: Vec<f32> = (0..n_rows * width).map(|n| (n % 255) as f32).collect();
        gpu.write(&wide, &vec![-1.0; n_rows * (width + 3)])?;
        gpu.write(&rows, &values)?;
        assert!(gpu.read(&rows)? == values, "{n_rows} rows of {width}");
        for gap in [0..2, 2 + width..3 + width] {
            assert!(gpu.read(&wide.columns(gap))?.iter().all(|x| *x == -1.0), "{n_rows} rows of {width}");
        }
    }
    Ok(())
}

/// Memory is given back, and too much of it is an error that leaves the GPU in order.
fn check_memory(gpu: &Gpu) -> Result<(), CudaError> {
    let before = gpu.memory()?;
    let error = gpu.reserve_arena(before.total + 1).expect_err("more than there is");
    assert!(matches!(error, CudaError::OutOfMemory { purpose: "activations", .. }), "{error}");
    gpu.reserve_arena(1 << 20)?;
    gpu.close_slabs();
    gpu.reserve_weights(256 << 20)?;
    let weights = gpu.weights([1 << 10, 1 << 10], Format::F32)?;
    let with_weights = gpu.memory()?;
    gpu.close_slabs();
    drop(weights);
    let after = gpu.memory()?;
    assert!(after.free >= with_weights.free + (256 << 20), "{before:?}, {with_weights:?}, {after:?}");
    gpu.synchronize()
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
