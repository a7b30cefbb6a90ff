//! Statistics and health of the service.

use lorank_adapters::ResidencyStats;
use lorank_pipeline::{CacheStats, QueueStats, SharedStats};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{DocumentStats, FieldStats, ServedBase, ServedGpu};

/// Statistics of the service. Counts are since its start.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(crate) struct StatsJson {
    /// The version of lorank.
    pub version: &'static str,
    /// The time since the start, in seconds.
    pub uptime_seconds: f64,
    /// The documents of the index `default`; null if there is none, or if the server does not manage its documents.
    pub documents: Option<DocumentStatsJson>,
    /// The score cache.
    pub cache: CacheStatsJson,
    /// The reranking queue.
    pub queue: QueueStatsJson,
    /// The adapters; null without a registry.
    pub adapters: Option<AdapterStatsJson>,
    /// The base models, the default one first; empty without a registry.
    pub base_models: Vec<BaseModelJson>,
}

/// A base model in memory.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = BaseModel)]
pub(crate) struct BaseModelJson {
    /// The name, by which requests choose the bare base model.
    pub name: String,
    /// The hash of its configuration, tokenizer and weights.
    pub digest: String,
    /// The numeric precision: `f32`, `bf16`, `int8` or `fp8`.
    pub precision: &'static str,
    /// The reason for the precision.
    pub precision_reason: String,
    /// The number of parameters.
    pub n_parameters: usize,
    /// The memory of its weights, in bytes.
    pub bytes: u64,
    /// The NVIDIA GPUs that run it; empty if it runs on the CPU or with candle.
    pub gpus: Vec<GpuJson>,
}

/// An NVIDIA GPU that runs a base model, and its memory now.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Gpu)]
pub(crate) struct GpuJson {
    /// The device, as `cuda:0`; `cuda:0#2` for the second of several copies of the model on one GPU.
    pub device: String,
    /// Why the GPU was taken out and does not run the model any more; null if it runs it.
    pub failure: Option<String>,
    /// The GPU's name.
    pub name: String,
    /// As `9.0`; null if unknown.
    pub compute_capability: Option<String>,
    /// The newest version of CUDA that the driver supports; null if unknown.
    pub driver_cuda: Option<String>,
    /// The version of cublasLt; null if unknown.
    pub cublaslt: Option<String>,
    /// The version of NVRTC; null if unknown.
    pub nvrtc: Option<String>,
    /// How long it took to load the kernels, in seconds.
    pub kernels_seconds: f64,
    /// Whether the kernels were compiled, and not read from the cache.
    pub kernels_compiled: bool,
    /// All of the GPU's memory, in bytes; null if the driver does not answer.
    pub memory_bytes: Option<u64>,
    /// The free part of it, in bytes; null if the driver does not answer.
    pub memory_free_bytes: Option<u64>,
    /// The memory of the base model's weights, in bytes.
    pub weights_bytes: u64,
    /// The memory that is reserved for the activations of forward passes, in bytes.
    pub activation_bytes: u64,
    /// The maximum number of tokens of a forward pass.
    pub budget_tokens: usize,
    /// Why it is not more: `as requested`, `the default`, `as many as fit into the GPU's memory`.
    pub budget_limit: &'static str,
    /// The number of slots for adapters beside the weights; an adapter takes one for each 16 of its rank.
    pub adapter_slots: usize,
    /// The number of slots that adapters have.
    pub adapter_slots_used: usize,
    /// The number of forward passes that did not fit into the memory and were run in halves.
    pub n_passes_halved: u64,
}

/// All indexes.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct IndexList {
    /// The indexes in the order of their names.
    pub indexes: Vec<IndexJson>,
}

/// An index.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Index)]
pub(crate) struct IndexJson {
    /// The name.
    pub name: String,
    /// The documents; null if the server does not manage them.
    pub documents: Option<DocumentStatsJson>,
    /// The fields, searched fields first; null if unknown.
    pub fields: Option<Vec<FieldStatsJson>>,
}

/// A field of an index.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = IndexField)]
pub(crate) struct FieldStatsJson {
    /// The name, with dots for nested objects.
    pub name: String,
    /// Whether queries search the field.
    pub is_searched: bool,
    /// The factor for scores of this field; null if it is not searched.
    pub boost: Option<f32>,
    /// The types of the values for filters, sorting and facets: `booleans`, `numbers`, `dates`, `texts`. Empty if the field cannot be
    /// used for them.
    pub types: Vec<&'static str>,
}

/// Statistics of documents.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = DocumentStats)]
pub(crate) struct DocumentStatsJson {
    /// The number of documents.
    pub n_documents: u64,
    /// The number of index segments.
    pub n_segments: usize,
    /// The size of the index on disk, in bytes.
    pub bytes_on_disk: u64,
}

/// Statistics of the score cache.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CacheStats)]
pub(crate) struct CacheStatsJson {
    /// The number of cached scores.
    pub n_entries: usize,
    /// The approximate memory of the cached scores, in bytes.
    pub bytes: usize,
    /// The number of lookups that found a score.
    pub hits: u64,
    /// The number of lookups that found none.
    pub misses: u64,
    /// The number of evicted scores.
    pub evictions: u64,
    /// The cache that several servers share; null without one.
    pub shared: Option<SharedCacheStatsJson>,
}

/// Statistics of the score cache that several servers share. They count this server's calls.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SharedCacheStats)]
pub(crate) struct SharedCacheStatsJson {
    /// Whether lookups use it: it answered the last time.
    pub is_used: bool,
    /// The number of lookups that found a score.
    pub hits: u64,
    /// The number of lookups that found none.
    pub misses: u64,
    /// The number of scores that were not looked up because it does not answer.
    pub skipped: u64,
    /// The number of failed calls.
    pub failures: u64,
    /// The number of stored scores.
    pub stored: u64,
    /// The number of scores that were not stored.
    pub dropped: u64,
}

/// Statistics of the reranking queue.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = QueueStats)]
pub(crate) struct QueueStatsJson {
    /// The number of waiting requests.
    pub n_requests_waiting: usize,
    /// The number of waiting pairs.
    pub n_pairs_waiting: usize,
    /// The number of scored batches.
    pub n_batches: u64,
    /// The number of scored pairs.
    pub n_pairs_scored: u64,
    /// The total time of forward passes, in seconds.
    pub busy_seconds: f64,
}

/// Statistics of the adapters.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AdapterStats)]
pub(crate) struct AdapterStatsJson {
    /// The number of registered adapters.
    pub n_registered: usize,
    /// The number of adapters in memory.
    pub n_in_memory: usize,
    /// The approximate memory of the adapters, in bytes.
    pub bytes_in_memory: u64,
}

impl BaseModelJson {
    /// A base model with its own of all GPUs.
    pub(crate) fn new(base: ServedBase, gpus: &[ServedGpu]) -> Self {
        let own = gpus.iter().filter(|gpu| gpu.base_model == base.name);
        Self {
            gpus: own.cloned().map(Into::into).collect(),
            name: base.name,
            digest: base.digest.to_string(),
            precision: base.precision.name(),
            precision_reason: base.precision_reason,
            n_parameters: base.n_parameters,
            bytes: base.bytes,
        }
    }
}

impl From<ServedGpu> for GpuJson {
    fn from(gpu: ServedGpu) -> Self {
        Self {
            device: gpu.device,
            failure: gpu.failure,
            name: gpu.name,
            compute_capability: gpu.compute_capability,
            driver_cuda: gpu.driver,
            cublaslt: gpu.cublaslt,
            nvrtc: gpu.nvrtc,
            kernels_seconds: gpu.kernels.as_secs_f64(),
            kernels_compiled: gpu.has_compiled,
            memory_bytes: gpu.memory_bytes,
            memory_free_bytes: gpu.memory_free_bytes,
            weights_bytes: gpu.weights_bytes,
            activation_bytes: gpu.activation_bytes,
            budget_tokens: gpu.budget_tokens,
            budget_limit: gpu.budget_limit,
            adapter_slots: gpu.adapter_slots,
            adapter_slots_used: gpu.adapter_slots_used,
            n_passes_halved: gpu.n_passes_halved,
        }
    }
}

impl From<DocumentStats> for DocumentStatsJson {
    fn from(DocumentStats { n_documents, n_segments, bytes_on_disk }: DocumentStats) -> Self {
        Self { n_documents, n_segments, bytes_on_disk }
    }
}

impl From<FieldStats> for FieldStatsJson {
    fn from(FieldStats { name, boost, types }: FieldStats) -> Self {
        Self { name, is_searched: boost.is_some(), boost, types }
    }
}

impl From<CacheStats> for CacheStatsJson {
    fn from(stats: CacheStats) -> Self {
        Self {
            n_entries: stats.entries,
            bytes: stats.bytes,
            hits: stats.hits,
            misses: stats.misses,
            evictions: stats.evictions,
            shared: stats.shared.map(Into::into),
        }
    }
}

impl From<SharedStats> for SharedCacheStatsJson {
    fn from(stats: SharedStats) -> Self {
        let SharedStats { is_used, hits, misses, skipped, failures, stored, dropped } = stats;
        Self { is_used, hits, misses, skipped, failures, stored, dropped }
    }
}

impl From<QueueStats> for QueueStatsJson {
    fn from(stats: QueueStats) -> Self {
        Self {
            n_requests_waiting: stats.n_requests_waiting,
            n_pairs_waiting: stats.n_pairs_waiting,
            n_batches: stats.n_batches,
            n_pairs_scored: stats.n_pairs_scored,
            busy_seconds: stats.busy.as_secs_f64(),
        }
    }
}

impl AdapterStatsJson {
    pub(crate) fn new(n_registered: usize, residency: &ResidencyStats) -> Self {
        Self { n_registered, n_in_memory: residency.n_held, bytes_in_memory: residency.bytes }
    }
}

/// The liveness of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// The version of lorank.
    pub version: &'static str,
}

/// The readiness of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// The result of each check.
    pub checks: Checks,
    /// The GPUs that failed and were taken out. The server is ready while a GPU is left that runs the default model. Omitted if
    /// there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_devices: Vec<FailedDevice>,
}

/// A GPU that failed and was taken out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailedDevice {
    /// The base model.
    pub base_model: String,
    /// The device, as `cuda:1`.
    #[schema(example = "cuda:1")]
    pub device: String,
    /// The error of the GPU.
    pub error: String,
}

/// The result of each check: `ok`, or an error message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    /// The server was not asked to stop.
    #[schema(example = "ok")]
    pub server: String,
    /// Every index answers searches.
    #[schema(example = "ok")]
    pub index: String,
    /// The default model is in memory.
    #[schema(example = "ok")]
    pub model: String,
    /// Neither the number of running searches nor the queue is at its limit.
    #[schema(example = "ok")]
    pub queue: String,
}
