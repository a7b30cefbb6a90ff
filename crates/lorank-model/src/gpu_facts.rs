//! What an NVIDIA GPU is and how it is used, for people.

/// An NVIDIA GPU that runs a base model: the libraries in use, and its memory now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GpuFacts {
    /// The device, as `cuda:0`, or `cuda:0#2` for the second of several models on one GPU; `cpu` for the host in its place.
    pub device: String,
    /// Why the GPU does not run the model any more; `None` if it does.
    pub failure: Option<String>,
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
    /// All of the GPU's memory, in bytes; `None` if the driver does not answer.
    pub memory_total: Option<usize>,
    /// The free part of it, in bytes.
    pub memory_free: Option<usize>,
    /// The memory of the base model's linear layers and embeddings, in bytes.
    pub weights_bytes: usize,
    /// The memory that is reserved for the activations of passes, in bytes.
    pub activation_bytes: usize,
    /// The maximum tokens of a pass; a longer pair gets a pass of its own.
    pub tokens_max: usize,
    /// Why it is not more.
    pub tokens_limit: TokensLimit,
    /// The number of slots for adapters of one pass beside the weights; an adapter takes one for each 16 of its rank.
    pub adapter_slots: usize,
    /// The number of slots that adapters have.
    pub adapter_slots_used: usize,
    /// The number of passes that did not fit into the memory and were run in halves.
    pub n_passes_halved: u64,
}

/// What limits the tokens of a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokensLimit {
    /// The number that was requested: [`LoadOptions::tokens_max`](crate::LoadOptions::tokens_max).
    Requested,
    /// The default number.
    #[default]
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
