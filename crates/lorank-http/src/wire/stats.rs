//! The service itself.

use lorank_adapters::ResidencyStats;
use lorank_pipeline::{CacheStats, QueueStats};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{DocumentStats, FieldStats};

/// What the service holds, and what it has done since it was started.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(crate) struct StatsJson {
    /// The program's version.
    pub version: &'static str,
    /// For how long it has run.
    pub uptime_seconds: f64,
    /// The documents of the index `default`; null where there is none, or the service does not hold its documents itself.
    pub documents: Option<DocumentStatsJson>,
    /// The score cache.
    pub cache: CacheStatsJson,
    /// The queue before the model.
    pub queue: QueueStatsJson,
    /// The adapters of the registry; null where there is none.
    pub adapters: Option<AdapterStatsJson>,
}

/// The indexes.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct IndexList {
    /// The indexes, by name.
    pub indexes: Vec<IndexJson>,
}

/// An index.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Index)]
pub(crate) struct IndexJson {
    /// The name.
    pub name: String,
    /// The documents; null where the service does not hold them itself.
    pub documents: Option<DocumentStatsJson>,
    /// Their fields, those that are searched first; null where the service does not know them.
    pub fields: Option<Vec<FieldStatsJson>>,
}

/// A field of the documents.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = IndexField)]
pub(crate) struct FieldStatsJson {
    /// The name; a dot reaches into an object.
    pub name: String,
    /// Whether a query's words are searched in it.
    pub is_searched: bool,
    /// What a score in it is multiplied by; null where it is not searched.
    pub boost: Option<f32>,
    /// What the values are that filters, sort keys and facets read: `booleans`, `numbers`, `dates`, `texts`; empty where they do not
    /// read the field.
    pub types: Vec<&'static str>,
}

/// The documents.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = DocumentStats)]
pub(crate) struct DocumentStatsJson {
    /// How many there are.
    pub n_documents: u64,
    /// How many segments of the index they lie in.
    pub n_segments: usize,
    /// The size of the index on the disk.
    pub bytes_on_disk: u64,
}

/// The score cache.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CacheStats)]
pub(crate) struct CacheStatsJson {
    /// Scores that it holds.
    pub n_entries: usize,
    /// The memory that they take, about.
    pub bytes: usize,
    /// Scores that were asked for and held.
    pub hits: u64,
    /// Scores that were asked for and not held.
    pub misses: u64,
    /// Scores that made room for others.
    pub evictions: u64,
}

/// The queue before the model.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = QueueStats)]
pub(crate) struct QueueStatsJson {
    /// Requests that wait.
    pub n_requests_waiting: usize,
    /// Pairs that they wait for.
    pub n_pairs_waiting: usize,
    /// Batches that the model has scored.
    pub n_batches: u64,
    /// Pairs that it has scored.
    pub n_pairs_scored: u64,
    /// How long it has computed.
    pub busy_seconds: f64,
}

/// The adapters of the registry.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AdapterStats)]
pub(crate) struct AdapterStatsJson {
    /// How many there are.
    pub n_registered: usize,
    /// How many of them are in memory.
    pub n_in_memory: usize,
    /// The memory that these take, about.
    pub bytes_in_memory: u64,
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
        }
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

/// That the service answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// The program's version.
    pub version: &'static str,
}

/// Whether a search would be answered now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// What each part says.
    pub checks: Checks,
}

/// What each part says: `ok`, or what is wrong with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    /// The index answers.
    #[schema(example = "ok")]
    pub index: String,
    /// The model that requests get which name none is in memory.
    #[schema(example = "ok")]
    pub model: String,
    /// Neither the searches under way nor those that wait for the model are at their limit.
    #[schema(example = "ok")]
    pub queue: String,
}
