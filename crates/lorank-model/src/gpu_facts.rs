//! What an NVIDIA GPU is, for people.

/// An NVIDIA GPU with the libraries in use, and its memory now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GpuFacts {
    /// The GPU's name, or `host` for the host in its place.
    pub name: String,
    /// As `9.0`.
    pub compute_capability: Option<String>,
    /// The newest version of CUDA that the driver supports.
    pub driver: Option<String>,
    /// The version of cublasLt, which multiplies matrices.
    pub cublaslt: Option<String>,
    /// The version of NVRTC, which compiles the other kernels.
    pub nvrtc: Option<String>,
    /// How long it took to load the kernels, in milliseconds.
    pub kernels_millis: u64,
    /// Whether the kernels were compiled, and not read from the cache.
    pub has_compiled: bool,
    /// All of the GPU's memory, in bytes.
    pub memory_total: usize,
    /// The free part of it, in bytes.
    pub memory_free: usize,
    /// The part that is reserved for the activations of passes, in bytes.
    pub activation_bytes: usize,
    /// The maximum tokens of a pass; a longer pair gets a pass of its own.
    pub tokens_max: usize,
    /// Why it is not more.
    pub tokens_limit: TokensLimit,
}

/// What limits the tokens of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokensLimit {
    /// The number that was requested: [`LoadOptions::tokens_max`](crate::LoadOptions::tokens_max).
    Requested,
    /// The default number.
    Default,
    /// The GPU's memory: as many tokens as fit.
    Memory,
}

impl TokensLimit {
    /// The limit in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Requested => "as requested",
            Self::Default => "the default",
            Self::Memory => "as many as fit into the GPU's memory",
        }
    }
}
