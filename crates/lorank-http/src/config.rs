//! The limits of the service, and who may use it.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::{Access, AllowedHost, ConnectionLimits, CorsOrigin, ModelAlias};

/// The limits of the service. Those of a search are the pipeline's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// How many searches may be under way, each with a thread. One more is turned away with status 429.
    ///
    /// More than the pipeline's queue takes, or it would never be full, and searches that need no model (their scores are
    /// cached, or they do not rerank) would be turned away with those that do.
    pub n_searches_max: NonZeroUsize,
    /// The longest body.
    pub body_bytes_max: usize,
    /// The most bytes that the bodies of all requests in flight may have together. One that goes beyond is refused with status 429.
    ///
    /// Bytes count as they arrive, so a client that only announces a long body takes none. The first
    /// [`BODY_BYTES_FREE`](Self::BODY_BYTES_FREE) of each body do not count: long bodies keep no search out. Bodies of documents to
    /// add do not count either, since they are never held whole.
    pub bodies_bytes_max: usize,
    /// The longest time for a client to send a body.
    pub body_read: Duration,
    /// The most documents that a rerank request may bring.
    pub n_documents_max: NonZeroUsize,
    /// The names that rerank requests may give as their `model` beside those of adapters and aliases, each once.
    pub model_aliases: Vec<ModelAlias>,
    /// The longest body of documents to add. It is never held whole in memory.
    pub bulk_bytes_max: usize,
    /// The longest time for a client to send such a body.
    pub bulk_read: Duration,
    /// The fewest bytes per second of such a body once [`body_read`](Self::body_read) is over; 0 is no least rate.
    pub bulk_rate_min: usize,
    /// The most documents that such a body may have: the answer has an entry for each.
    pub bulk_lines_max: NonZeroUsize,
    /// How many changes of documents may be under way, each with a thread. One more is turned away with status 429.
    pub n_changes_max: NonZeroUsize,
    /// Who may do what.
    pub access: Access,
    /// The origins whose pages may read answers in a browser. Without any, no page of another origin may.
    pub cors_origins: Vec<CorsOrigin>,
    /// The hosts that requests may name where there are no keys, beside the loopback names.
    pub allowed_hosts: Vec<AllowedHost>,
    /// The connections' own limits.
    pub connections: ConnectionLimits,
}

impl HttpConfig {
    /// The bytes of each body that do not count for [`bodies_bytes_max`](Self::bodies_bytes_max).
    pub const BODY_BYTES_FREE: usize = 64 << 10;
}

impl Default for HttpConfig {
    fn default() -> Self {
        let n_searches_max = NonZeroUsize::new(128).expect("128 is not 0");
        let n_documents_max = NonZeroUsize::new(10_000).expect("10,000 is not 0");
        let bulk_lines_max = NonZeroUsize::new(100_000).expect("100,000 is not 0");
        let n_changes_max = NonZeroUsize::new(16).expect("16 is not 0");
        Self {
            n_searches_max,
            body_bytes_max: 16 << 20,
            bodies_bytes_max: 256 << 20,
            body_read: Duration::from_secs(30),
            n_documents_max,
            model_aliases: Vec::new(),
            bulk_bytes_max: 256 << 20,
            bulk_read: Duration::from_secs(600),
            bulk_rate_min: 4 << 10,
            bulk_lines_max,
            n_changes_max,
            access: Access::default(),
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            connections: ConnectionLimits::default(),
        }
    }
}
