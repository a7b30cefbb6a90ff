//! The HTTP API: a [`Pipeline`](lorank_pipeline::Pipeline) of any engines, with a registry of adapters and experiments where there
//! are any.
//!
//! - `POST /v1/search` takes a [`SearchBody`] as JSON and gives a [`SearchAnswer`].
//! - `GET /v1/search?q=...` takes the same keys in the query string: lists separated by commas, and `filter.NAME=VALUE`
//!   for a field that must have one value (ranges are left to POST).
//! - `POST /rerank`, `/v1/rerank`, `/v2/rerank`, `/score`, `/v1/score`, and `GET /info`, `/v1/models` are what clients of
//!   text-embeddings-inference, Cohere, Jina and vLLM call: with this service's address they need no other change.
//! - `POST /v1/documents` adds documents, one JSON object a line, read while they come; `GET` and `DELETE /v1/documents/{id}` and
//!   `DELETE /v1/documents` with a query are about those that are there. What is acknowledged is committed. `GET /v1/stats` says
//!   how much there is.
//! - `POST /v1/compare` answers one query under several adapters, the first stage beside them.
//! - `POST /v1/events` takes what people did with answers, in the shape of User Behavior Insights.
//! - `/v1/adapters`, `/v1/aliases`, `/v1/experiments` and `/v1/shadows` are the operator's: what is in the registry, what is
//!   promoted, what is tried, and what came of it.
//! - `GET /` is a page for people: search, adapters side by side, judgments, experiments.
//! - `GET /metrics` is for Prometheus; `GET /health` says that the service answers, `GET /ready` that a search would be
//!   answered now: that the index is open, the model in memory, and the queue below its limit.
//! - `GET /openapi.json` describes all of them (OpenAPI 3.1, made from this code), and `GET /docs` does for people.
//!
//! What is wrong with a request is said in one shape, with the status that fits:
//! `{"error": {"kind": "invalid_value", "message": "...", "field": "depth"}, "request_id": "..."}`.
//! Too many searches at once, or too many waiting for the reranker, are status 429 with a `retry-after` header.
//! Unknown keys are refused by name. Every answer carries its `x-request-id`, the caller's own where it sent one.
//!
//! This crate owns the wire types, and nothing else in lorank knows HTTP. Bearer keys have [roles](Role); without keys everybody
//! may do everything. It has no TLS: that is a proxy's work. What clients can do slowly has its [limits](ConnectionLimits), and
//! keys and limits can be [replaced](LiveConfig) while it serves.
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
pub use service::{AdapterHost, ContinueTrace, ModelStats, Service};
pub use status::{http_status, wire_word};
pub use wire::{
    AdapterJson, AnswerShape, BlendJson, BoundsJson, CacheJson, ComparedHit, Comparison, DocumentJson, ExplanationJson,
    FacetJson, FacetsJson, FailedArmJson, FallbackJson, FieldsJson, FuzzyJson, HitJson, OnOverloadJson, ParsedSearch,
    ParticipationJson, RangeCountJson, RankedByJson, RankerJson, SearchAnswer, SearchBody, SyntaxJson, TimingsJson,
    ValueCountJson, ValueJson, WarningJson,
};
