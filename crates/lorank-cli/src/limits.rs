//! The limits of a server, from flags, the environment and the configuration file.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use lorank_http::{CorsOrigin, HttpConfig};
use serde::Deserialize;

use crate::config::{all_parsed, set};

/// What a server takes of its clients.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Server options")]
pub(crate) struct LimitArgs {
    /// How many searches may be under way; one more is turned away with status 429 [default: 128]
    #[arg(long, value_name = "N", env = "LORANK_N_SEARCHES_MAX")]
    n_searches_max: Option<NonZeroUsize>,
    /// The longest body [default: 16777216]
    #[arg(long, value_name = "BYTES", env = "LORANK_BODY_BYTES_MAX")]
    body_bytes_max: Option<usize>,
    /// The most documents that a rerank request may bring [default: 10000]
    #[arg(long, value_name = "N", env = "LORANK_N_DOCUMENTS_MAX")]
    n_documents_max: Option<NonZeroUsize>,
    /// The longest body of documents to add [default: 268435456]
    #[arg(long, value_name = "BYTES", env = "LORANK_BULK_BYTES_MAX")]
    bulk_bytes_max: Option<usize>,
    /// The most documents that such a body may have [default: 100000]
    #[arg(long, value_name = "N", env = "LORANK_BULK_LINES_MAX")]
    bulk_lines_max: Option<NonZeroUsize>,
    /// How many changes of documents may be under way; one more is turned away with status 429 [default: 16]
    #[arg(long, value_name = "N", env = "LORANK_N_CHANGES_MAX")]
    n_changes_max: Option<NonZeroUsize>,
    /// How many connections may be open; a new one closes that which has waited longest for its client [default: 16384]
    #[arg(long, value_name = "N", env = "LORANK_N_CONNECTIONS_MAX")]
    n_connections_max: Option<NonZeroUsize>,
    /// How long a client may take to send the head of a request [default: 10000]
    #[arg(long, value_name = "N", env = "LORANK_HEADER_READ_MILLIS")]
    header_read_millis: Option<u64>,
    /// How long a client may take to send a body [default: 30000]
    #[arg(long, value_name = "N", env = "LORANK_BODY_READ_MILLIS")]
    body_read_millis: Option<u64>,
    /// How long a connection is kept for a next request [default: 75000]
    #[arg(long, value_name = "N", env = "LORANK_KEEP_ALIVE_MILLIS")]
    keep_alive_millis: Option<u64>,
    /// How long a client may take nothing of its answer [default: 30000]
    #[arg(long, value_name = "N", env = "LORANK_WRITE_MILLIS")]
    write_millis: Option<u64>,
    /// How long requests under way have at the end, before they are cut off [default: 30000]
    #[arg(long, value_name = "N", env = "LORANK_SHUTDOWN_MILLIS")]
    shutdown_millis: Option<u64>,
    /// An origin whose pages may read answers in a browser, as in https://shop.example, or *; repeatable [default: none]
    #[arg(long = "cors-origin", value_name = "ORIGIN", env = "LORANK_CORS_ORIGIN", value_delimiter = ',')]
    cors_origins: Vec<CorsOrigin>,
}

/// The same in the file, and what belongs to the server beside it.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerSection {
    n_searches_max: Option<NonZeroUsize>,
    body_bytes_max: Option<usize>,
    n_documents_max: Option<NonZeroUsize>,
    bulk_bytes_max: Option<usize>,
    bulk_lines_max: Option<NonZeroUsize>,
    n_changes_max: Option<NonZeroUsize>,
    n_connections_max: Option<NonZeroUsize>,
    header_read_millis: Option<u64>,
    body_read_millis: Option<u64>,
    keep_alive_millis: Option<u64>,
    write_millis: Option<u64>,
    shutdown_millis: Option<u64>,
    #[serde(deserialize_with = "all_parsed")]
    cors_origins: Vec<CorsOrigin>,
    pub adapter_bytes_max: Option<u64>,
}

impl ServerSection {
    /// The flags, and the file's values where there are none.
    pub(crate) fn under(&self, flags: &LimitArgs) -> LimitArgs {
        LimitArgs {
            n_searches_max: flags.n_searches_max.or(self.n_searches_max),
            body_bytes_max: flags.body_bytes_max.or(self.body_bytes_max),
            n_documents_max: flags.n_documents_max.or(self.n_documents_max),
            bulk_bytes_max: flags.bulk_bytes_max.or(self.bulk_bytes_max),
            bulk_lines_max: flags.bulk_lines_max.or(self.bulk_lines_max),
            n_changes_max: flags.n_changes_max.or(self.n_changes_max),
            n_connections_max: flags.n_connections_max.or(self.n_connections_max),
            header_read_millis: flags.header_read_millis.or(self.header_read_millis),
            body_read_millis: flags.body_read_millis.or(self.body_read_millis),
            keep_alive_millis: flags.keep_alive_millis.or(self.keep_alive_millis),
            write_millis: flags.write_millis.or(self.write_millis),
            shutdown_millis: flags.shutdown_millis.or(self.shutdown_millis),
            cors_origins: if flags.cors_origins.is_empty() { &self.cors_origins } else { &flags.cors_origins }.clone(),
        }
    }
}

impl LimitArgs {
    /// The limits, those that are not given left at their defaults.
    pub(crate) fn config(&self) -> HttpConfig {
        let mut config = HttpConfig { cors_origins: self.cors_origins.clone(), ..HttpConfig::default() };
        let connections = &mut config.connections;
        set(&mut config.n_searches_max, self.n_searches_max);
        set(&mut config.body_bytes_max, self.body_bytes_max);
        set(&mut config.n_documents_max, self.n_documents_max);
        set(&mut config.bulk_bytes_max, self.bulk_bytes_max);
        set(&mut config.bulk_lines_max, self.bulk_lines_max);
        set(&mut config.n_changes_max, self.n_changes_max);
        set(&mut config.body_read, self.body_read_millis.map(Duration::from_millis));
        set(&mut connections.n_connections_max, self.n_connections_max);
        set(&mut connections.header_read, self.header_read_millis.map(Duration::from_millis));
        set(&mut connections.keep_alive, self.keep_alive_millis.map(Duration::from_millis));
        set(&mut connections.write, self.write_millis.map(Duration::from_millis));
        set(&mut connections.shutdown, self.shutdown_millis.map(Duration::from_millis));
        config
    }
}
