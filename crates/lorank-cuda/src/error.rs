//! Why the GPU or an operation on it failed.

use std::path::PathBuf;

/// An error of the GPU, or of the host in its place. Each message is one line that tells what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The driver's library is not installed.
    #[error("no NVIDIA driver: the library `{library}` was not found ({tried}); install the driver, or use the CPU")]
    NoDriver {
        /// The file name.
        library: String,
        /// What was tried, for people.
        tried: Tried,
    },
    /// The driver is older than the oldest one that works.
    #[error(
        "the NVIDIA driver supports CUDA {found}, but at least {needed} is needed; update the driver, or use the CPU"
    )]
    DriverTooOld {
        /// The newest version of CUDA that it supports.
        found: String,
        /// The oldest one that works.
        needed: String,
    },
    /// There is no GPU of this number.
    #[error("there is no GPU `cuda:{ordinal}`: the driver finds {n_devices}")]
    NoDevice {
        /// The number asked for, from 0.
        ordinal: usize,
        /// How many there are.
        n_devices: usize,
    },
    /// The GPU is older than the oldest one that works.
    #[error(
        "`{name}` has compute capability {major}.{minor}, but at least 8.0 (Ampere, 2020) is needed; use another GPU, \
         or the CPU"
    )]
    ComputeCapability {
        /// The GPU's name.
        name: String,
        /// The first number of its compute capability.
        major: i32,
        /// The second one.
        minor: i32,
    },
    /// The GPU has no products in [`Format::E4m3`](crate::Format::E4m3).
    #[error("`{name}` has no FP8 (compute capability 8.9, Ada or Hopper, is needed); use `--precision bf16`")]
    NoE4m3 {
        /// The GPU's name.
        name: String,
    },
    /// A library of CUDA's toolkit is missing.
    #[error(
        "the library `{library}` was not found ({tried}); install it from the CUDA toolkit, or with \
         `pip install {package}`"
    )]
    LibraryNotFound {
        /// Its name.
        library: String,
        /// What was tried, for people.
        tried: Tried,
        /// The package of PyPI that has it.
        package: &'static str,
    },
    /// The device's memory does not suffice for weights or for the arena.
    #[error(
        "not enough GPU memory for {purpose}: {needed} bytes needed, {free} free; use a smaller model, or fewer tokens at \
         once (`--tokens-max`)"
    )]
    OutOfMemory {
        /// What the memory was for.
        purpose: &'static str,
        /// In bytes.
        needed: usize,
        /// In bytes.
        free: usize,
    },
    /// A batch does not fit into the arena.
    #[error("the batch does not fit into the GPU memory reserved for it: {needed} bytes needed, {free} of {size} free")]
    ArenaFull {
        /// In bytes.
        needed: usize,
        /// The largest free piece, in bytes.
        free: usize,
        /// The size of the arena, in bytes.
        size: usize,
    },
    /// A call of the driver, of cublasLt or of NVRTC failed.
    #[error("the GPU failed: {call}: {why}")]
    Failed {
        /// What was called.
        call: &'static str,
        /// The library's name for the error.
        why: String,
    },
    /// The kernels do not compile, which is a bug or a broken NVRTC.
    #[error("the GPU kernels do not compile for `{architecture}`: {first_line}")]
    Compile {
        /// As `sm_90`.
        architecture: String,
        /// The first error in NVRTC's log.
        first_line: String,
    },
}

/// The names and folders in which a library was looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// File names, looked for in the system's folders.
    pub names: Vec<String>,
    /// Other folders.
    pub folders: Vec<PathBuf>,
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tried {}", self.names.join(", "))?;
        let folders: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        if folders.is_empty() { Ok(()) } else { write!(f, "; also in {}", folders.join(", ")) }
    }
}

impl CudaError {
    /// Whether a smaller batch, or a smaller arena, may succeed.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } | Self::ArenaFull { .. } => true,
            // The driver and cublasLt allocate memory of their own, for code that is loaded when it is first used.
            Self::Failed { why, .. } => ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].contains(&&**why),
            _ => false,
        }
    }

    /// Whether the GPU is lost to this process: its context is broken, and every later call fails too.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Failed { why, .. } if STICKY.contains(&why.as_str()))
    }
}

/// The names of errors after which the driver's documentation wants a new process. cublasLt has names of its own for a call in a
/// broken context.
const STICKY: [&str; 22] = [
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_CONTAINED",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    "CUDA_ERROR_DEINITIALIZED",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_EXTERNAL_DEVICE",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_MPS_CLIENT_TERMINATED",
    "CUDA_ERROR_NO_DEVICE",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_TENSOR_MEMORY_LEAK",
    "CUDA_ERROR_UNKNOWN",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_and_name_what_was_tried() {
        let tried = Tried { names: vec!["libx.so.12".to_owned()], folders: vec![PathBuf::from("/a/nvidia/x/lib")] };
        let error = CudaError::LibraryNotFound { library: "x".to_owned(), tried, package: "nvidia-x-cu12" };
        let expected = "the library `x` was not found (tried libx.so.12; also in /a/nvidia/x/lib); install it from the \
                        CUDA toolkit, or with `pip install nvidia-x-cu12`";
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_out_of_memory());
    }

    #[test]
    fn memory_of_the_driver_counts() {
        let is_memory = |why: &str| CudaError::Failed { call: "f", why: why.to_owned() }.is_out_of_memory();
        assert!(is_memory("CUDA_ERROR_OUT_OF_MEMORY") && is_memory("CUBLAS_STATUS_ALLOC_FAILED"));
        assert!(!is_memory("CUDA_ERROR_LAUNCH_FAILED"));
    }

    #[test]
    fn errors_that_break_a_context_are_sticky() {
        let failed = |why: &str| CudaError::Failed { call: "cuStreamSynchronize", why: why.to_owned() };
        for why in ["CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_ECC_UNCORRECTABLE", "CUBLAS_STATUS_EXECUTION_FAILED"] {
            assert!(failed(why).is_sticky(), "{why}");
        }
        for error in [
            failed("CUDA_ERROR_INVALID_VALUE"),
            failed("CUBLAS_STATUS_NOT_SUPPORTED"),
            CudaError::OutOfMemory { purpose: "weights", needed: 2, free: 1 },
            CudaError::ArenaFull { needed: 2, free: 1, size: 1 },
            CudaError::NoDevice { ordinal: 1, n_devices: 1 },
        ] {
            assert!(!error.is_sticky(), "{error}");
        }
    }
}
