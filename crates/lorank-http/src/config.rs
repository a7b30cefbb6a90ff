//! The limits and access control of the service.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::{Access, AllowedHost, ConnectionLimits, CorsOrigin, ModelAlias};

/// The configuration of the service. The limits of searches belong to the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The maximum number of concurrent searches; each uses a thread. Further searches get status 429.
    ///
    /// It should exceed the length of the pipeline's queue. Otherwise the queue would never be full, and searches that need no model
    /// (cached or without reranking) would be rejected together with those that do.
    pub n_searches_max: NonZeroUsize,
    /// The maximum length of a body in bytes.
    pub body_bytes_max: usize,
    /// The maximum total bytes of the bodies of all requests in flight. Requests that exceed it get status 429.
    ///
    /// Bytes are counted when they arrive, so announcing a long body reserves nothing. The first
    /// [`BODY_BYTES_FREE`](Self::BODY_BYTES_FREE) bytes of each body do not count, so long bodies do not block searches. Bodies with
    /// documents to add do not count, because they are not kept in memory.
    pub bodies_bytes_max: usize,
    /// The maximum time in which a client must send a body.
    pub body_read: Duration,
    /// The maximum number of documents of a rerank request.
    pub n_documents_max: NonZeroUsize,
    /// Additional names for the `model` of rerank requests, without duplicates.
    pub model_aliases: Vec<ModelAlias>,
    /// The maximum length in bytes of a body with documents to add, which is not kept in memory.
    pub bulk_bytes_max: usize,
    /// The maximum time in which a client must send such a body.
    pub bulk_read: Duration,
    /// The minimum rate of such a body in bytes per second after [`body_read`](Self::body_read); 0 for none.
    pub bulk_rate_min: usize,
    /// The maximum number of documents in such a body. The answer has an entry for each.
    pub bulk_lines_max: NonZeroUsize,
    /// The maximum number of concurrent changes of documents; each uses a thread. Further changes get status 429.
    pub n_changes_max: NonZeroUsize,
    /// Access control.
    pub access: Access,
    /// The origins whose pages may read responses in a browser. By default only the server's own.
    pub cors_origins: Vec<CorsOrigin>,
    /// The hosts that requests may name if there are no keys, in addition to the loopback names.
    pub allowed_hosts: Vec<AllowedHost>,
    /// The limits of connections.
    pub connections: ConnectionLimits,
}

impl HttpConfig {
    /// The number of bytes of each body that do not count for [`bodies_bytes_max`](Self::bodies_bytes_max).
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
