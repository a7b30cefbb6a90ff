//! The HTTP API of a [`Pipeline`](lorank_pipeline::Pipeline) with any engines, optionally with an adapter registry and experiments.
//!
//! [`router`] makes an axum router of a [`Service`], and [`serve`] serves it on a listener. The routes are:
//!
//! - `POST /v1/search` takes a [`SearchBody`] as JSON and returns a [`SearchAnswer`]. `GET /v1/search?q=...` takes the same keys in
//!   the query string, with comma-separated lists and `filter.NAME=VALUE` for filters.
//! - `POST /v1/compare` ranks the candidates of one query by several adapters and by the first stage.
//! - `POST /v1/documents` adds documents; `GET` and `DELETE /v1/documents/{id}` and `DELETE /v1/documents` with a query read and
//!   delete them. Acknowledged changes are committed. `GET /v1/stats` returns statistics.
//! - `POST /rerank`, `/v1/rerank`, `/v2/rerank`, `/score`, `/v1/score` and others, `GET /info` and `/v1/models` are compatible with
//!   text-embeddings-inference, Cohere, Jina, vLLM and other services: their clients only need this server's address.
//! - `POST /v1/events` takes user behavior in the format of User Behavior Insights.
//! - `/v1/adapters`, `/v1/aliases`, `/v1/experiments` and `/v1/shadows` manage adapters and experiments.
//! - `GET /` is the search page.
//! - `GET /metrics` is for Prometheus, `GET /health` for supervisors, and `GET /ready` for load balancers: it checks that the index
//!   is open, the model is in memory, and the queue is below its limit.
//! - `GET /openapi.json` is the OpenAPI 3.1 document, generated from this code, and `GET /docs` shows it as a page.
//!
//! Errors have one format, with the matching status:
//! `{"error": {"kind": "invalid_value", "message": "...", "field": "depth"}, "request_id": "..."}`.
//! Overload is status 429 with the header `retry-after`. Unknown keys are rejected by name. Every response has the header
//! `x-request-id`: the client's own if the request had one.
//!
//! This crate is *not* a complete server: it opens no index and loads no model (`lorank-server` does), reads no configuration file
//! (`lorank-cli` does), and does not terminate TLS, which a proxy can do. It owns the wire types; no other crate of lorank depends on
//! HTTP. Bearer keys have [roles](Role); without keys, everyone may do everything. Slow clients are subject to
//! [limits](ConnectionLimits), and keys and limits can be [replaced](LiveConfig) at run time.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::sync::Arc;
//! use lorank_core::*;
//! use lorank_pipeline::{Pipeline, PipelineConfig};
//! use lorank_http::{LiveConfig, HttpConfig, router, serve};
//!
//! # struct OneDocument;
//! # impl FirstStage for OneDocument {
//! #     fn retrieve(&self, _: &Query, _: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
//! #         Ok(vec![Candidate::new("1", "an egg", Score::new(1.0)?)])
//! #     }
//! # }
//! # struct NoModel;
//! # impl Reranker for NoModel {
//! #     fn resolve(&self, _: Option<&AdapterId>) -> Result<ModelVersion, BoxError> { Err("none".into()) }
//! #     fn score(&self, _: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> { Vec::new() }
//! # }
//! # let (first_stage, reranker) = (OneDocument, NoModel);
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let pipeline = Arc::new(Pipeline::new(first_stage, reranker, PipelineConfig::default())?);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let shutdown = async { /* until the process is asked to end */ };
//! let config = LiveConfig::from(HttpConfig::default());
//! serve(listener, router(pipeline, config.clone()), config, shutdown).await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod admission;
mod allowed_host;
mod body_budget;
mod browser_checks;
mod config;
mod connections;
mod cors;
mod curl;
mod docs_page;
mod documents;
mod encoding;
mod error;
mod error_response;
mod error_shape;
mod excerpt;
#[doc(hidden)]
pub mod fuzzing;
mod identify;
mod index_name;
mod index_paths;
mod json;
mod lanes;
mod live;
mod metrics;
mod model_alias;
mod open_files;
mod openapi;
mod page;
mod page_headers;
mod reading;
mod request_id;
mod routes;
mod server;
mod service;
mod status;
mod streamed;
#[cfg(test)]
mod tests;
mod upload;
mod wire;

/// The version of axum whose router [`router`] returns.
pub use axum;

pub use access::{Access, Key, Role};
pub use allowed_host::AllowedHost;
pub use config::HttpConfig;
pub use connections::{ConnectionLimits, ServeOutcome, serve};
pub use cors::CorsOrigin;
pub use documents::{
    BulkForm, BulkLimits, DocumentError, DocumentHost, DocumentOutcome, DocumentSelection, DocumentStats, FieldStats,
    LineOutcome,
};
pub use error::{RetryAfter, ServerError};
pub use index_name::{IndexName, NotAnIndexName};
pub use live::LiveConfig;
pub use model_alias::ModelAlias;
pub use request_id::RequestId;
pub use server::router;
pub use service::{AdapterHost, ContinueTrace, ModelStats, ServedBase, ServedGpu, Service};
pub use status::{http_status, wire_word};
pub use wire::{
    AdapterJson, AnswerShape, BlendJson, BoundsJson, CacheJson, CandidateJson, ComparedHit, Comparison, DocumentJson,
    ExplanationJson, FacetJson, FacetsJson, FailedArmJson, FallbackJson, FieldsJson, FusionJson, FuzzyJson, HitJson,
    ListRankJson, OnOverloadJson, ParsedSearch, ParticipationJson, PassageJson, RangeCountJson, RankedByJson,
    RankerJson, ScoredPassageJson, SearchAnswer, SearchBody, StageAnswerJson, StageBody, StageRankJson,
    StageTimingsJson, SyntaxJson, TimingsJson, ValueCountJson, ValueJson, WarningJson,
};
