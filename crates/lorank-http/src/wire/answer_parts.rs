//! Parts that several answers have: an adapter, a fallback, the use of the score cache.

use std::time::Duration;

use lorank_core::{AdapterVersion, ScoreOrigin};
use lorank_pipeline::{Answer, CacheUse, Fallback};
use serde::Serialize;
use utoipa::ToSchema;

/// The reason for an answer in first-stage order.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Fallback)]
pub struct FallbackJson {
    /// The reason as a constant for programs: `deadline_passed`, `reranker_failed`, `queue_full`, `would_miss_deadline` or `cancelled`.
    pub reason: &'static str,
    /// The reason as a message.
    pub message: String,
    /// The number of the rerank stage that fell back, from 1. The key is present only if the answer has `stages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<usize>,
}

/// An adapter at an exact version.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Adapter)]
pub struct AdapterJson<'a> {
    /// The id of the adapter.
    pub id: &'a str,
    /// The digest of the adapter's version.
    pub digest: String,
}

/// The use of the score cache.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = CacheUse)]
pub struct CacheJson {
    /// The number of scores that were found.
    pub hits: usize,
    /// The number of scores that were not found.
    pub misses: usize,
}

/// The name of a score's origin.
pub(super) fn name_of_origin(origin: ScoreOrigin) -> &'static str {
    match origin {
        ScoreOrigin::Cache => "cache",
        ScoreOrigin::Model => "model",
    }
}

/// A duration in milliseconds, with three decimals.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

impl<'a> From<&'a AdapterVersion> for AdapterJson<'a> {
    fn from(adapter: &'a AdapterVersion) -> Self {
        Self { id: adapter.id.as_str(), digest: adapter.digest.to_string() }
    }
}

impl From<&Fallback> for FallbackJson {
    fn from(fallback: &Fallback) -> Self {
        Self { reason: fallback.reason(), message: fallback.to_string(), stage: None }
    }
}

impl FallbackJson {
    /// The fallback of an answer, with the number of its stage.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let stage = answer.fallen_stage();
        answer.fallback.as_ref().map(|fallback| Self { stage, ..Self::from(fallback) })
    }
}

impl From<CacheUse> for CacheJson {
    fn from(CacheUse { hits, misses }: CacheUse) -> Self {
        Self { hits, misses }
    }
}
