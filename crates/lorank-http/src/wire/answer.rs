//! The answer of a search as it goes over the wire, and to whoever asks the program for JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use lorank_core::{AdapterVersion, Blend, Hit, RankedBy, Score, ScoreOrigin};
use lorank_experiment_pipeline::{FailedArm, Participation};
use lorank_pipeline::{Answer, CacheUse, Fallback, Timings, Warning};
use serde::Serialize;
use utoipa::ToSchema;

use super::{FacetJson, FacetsJson, FieldsJson};
use crate::RequestId;

/// The answer of a search.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SearchAnswer<'a> {
    /// The query's text, as it came.
    pub query: &'a str,
    /// The hits of the page, best first.
    pub hits: Vec<HitJson<'a>>,
    /// Whether the order is the reranker's.
    pub reranked: bool,
    /// The expression that ordered the candidates; null where scores did.
    pub rank_by: Option<String>,
    /// Why it is not, although reranking was asked for.
    pub fallback: Option<FallbackJson>,
    /// What may make the answer worse than it looks; empty where nothing is known to.
    pub warnings: Vec<WarningJson>,
    /// The adapter that reranked, or would have; null for the bare base model.
    pub adapter: Option<AdapterJson<'a>>,
    /// The base model; null where reranking was not asked for.
    pub base_model: Option<&'a str>,
    /// The experiment that was part of it; null where none was.
    pub experiment: Option<ParticipationJson<'a>>,
    /// How many documents match the query and its filters.
    pub total_hits: u64,
    /// `eq` where `total_hits` is exact, `gte` where it is a lower bound.
    #[schema(pattern = "^(eq|gte)$")]
    pub total_hits_relation: &'static str,
    /// The counts of the facets that were asked for, by field; null where none was.
    #[schema(value_type = Option<BTreeMap<String, FacetJson<'a>>>)]
    pub facets: Option<FacetsJson<'a>>,
    /// How many candidates the first stage found within `depth`.
    pub n_candidates: usize,
    /// How many of them were left out for a rerank score below `min_rerank_score`; null where none was given, or none applied:
    /// the answer is in first-stage order, or an experiment's arms are interleaved in it.
    pub n_left_out: Option<usize>,
    /// How many candidates are reranked at most.
    pub depth: usize,
    /// How many of the candidates' scores were in the cache.
    pub cache: CacheJson,
    /// How long each step took.
    pub timings_millis: TimingsJson,
    /// The id of the request.
    pub request_id: String,
}

/// The part that an experiment had in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ExperimentPart)]
pub struct ParticipationJson<'a> {
    /// The experiment's id.
    pub id: &'a str,
    /// The arm that ranked; null where the arms were interleaved, and where the request names an adapter that is none of the arms'.
    pub arm: Option<&'a str>,
    /// Whether the arms were interleaved. Hits then have no rerank score, which would tell whose they are.
    pub interleaved: bool,
    /// Whether the request chose the arm or its adapter itself, and so is kept out of the statistics.
    pub forced: bool,
    /// The arms that could not rank, where they were to be interleaved.
    pub failed_arms: Vec<FailedArmJson<'a>>,
}

/// An arm that could not rank.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = FailedArm)]
pub struct FailedArmJson<'a> {
    /// The arm's name.
    pub arm: &'a str,
    /// The reason as one word.
    pub reason: &'a str,
    /// The reason for people.
    pub message: &'a str,
}

/// One hit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Hit)]
pub struct HitJson<'a> {
    /// The document's id.
    pub id: &'a str,
    /// The 1-based place in the answer, counted from the first page's first hit.
    pub rank: usize,
    /// The reranker's score; null where the document was not reranked.
    pub rerank_score: Option<f32>,
    /// The first stage's score.
    pub first_stage_score: f32,
    /// The 1-based place in the first stage's list.
    pub first_stage_rank: usize,
    /// The stored fields.
    #[schema(value_type = Object)]
    pub fields: FieldsJson<'a>,
    /// A passage as HTML, the query's terms in `<b>`.
    pub snippet: Option<String>,
    /// How the hit came to its rank. The key is there only if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<ExplanationJson>,
}

/// How a hit came to its rank.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplanationJson {
    /// How many places reranking moved it up (or down, if negative).
    pub rank_change: i64,
    /// Where the rerank score comes from, `cache` or `model`; null where there is none.
    #[schema(pattern = "^(cache|model)$")]
    pub score_origin: Option<&'static str>,
    /// What the hit was ordered by, where both scores count; null where the rerank score counts alone.
    pub blend: Option<BlendJson>,
    /// What the hit was ordered by, where an expression orders; null where scores do.
    pub rank_by: Option<RankedByJson>,
}

/// The value of the expression that orders, and what it was made of.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = RankedBy)]
pub struct RankedByJson {
    /// The value; null where it is no number. Infinite values are the largest numbers that there are.
    pub value: Option<f64>,
    /// Each name that the expression reads with its value; null where that is no number.
    pub inputs: BTreeMap<String, Option<f64>>,
}

/// A blended score, and the two that it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Blend)]
pub struct BlendJson {
    /// `blend_weight * normalised_rerank_score + (1 - blend_weight) * normalised_first_stage_score`.
    pub blended_score: f32,
    /// The rerank score, from 0 for the lowest of the reranked candidates' to 1 for the highest.
    pub normalised_rerank_score: f32,
    /// The first stage's score, likewise.
    pub normalised_first_stage_score: f32,
}

/// Why an answer is in first-stage order.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Fallback)]
pub struct FallbackJson {
    /// The reason as one word: `deadline_passed`, `reranker_failed`, `queue_full`, `would_miss_deadline` or `cancelled`.
    pub reason: &'static str,
    /// The reason for people.
    pub message: String,
}

/// What may make an answer worse than it looks.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Warning)]
pub struct WarningJson {
    /// The reason as one word: `unknown_tokens` where more than a fifth of the tokens of the query and the first ten candidates are
    /// unknown to the model.
    pub reason: &'static str,
    /// The reason for people.
    pub message: String,
}

impl From<&Warning> for WarningJson {
    fn from(warning: &Warning) -> Self {
        Self { reason: warning.reason(), message: warning.to_string() }
    }
}

/// An adapter at one exact version.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Adapter)]
pub struct AdapterJson<'a> {
    /// The adapter's id.
    pub id: &'a str,
    /// The hash of its files.
    pub digest: String,
}

/// What the score cache did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = CacheUse)]
pub struct CacheJson {
    /// Scores that it held.
    pub hits: usize,
    /// Scores that it did not.
    pub misses: usize,
}

/// How long each step took, in milliseconds with three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Timings)]
pub struct TimingsJson {
    /// Retrieving the candidates.
    pub first_stage: f64,
    /// Looking the scores up.
    pub cache: f64,
    /// The part of `rerank` before the model began with the first pair.
    pub queue: f64,
    /// Encoding the pairs and waiting for their scores, the time in the queue included.
    pub rerank: f64,
    /// The whole search.
    pub total: f64,
}

/// What of an answer is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerShape {
    /// The stored fields that hits carry; all where it is `None`.
    pub fields: Option<Vec<String>>,
    /// Whether hits get an explanation.
    pub explain: bool,
}

impl<'a> SearchAnswer<'a> {
    /// The answer in the wanted shape.
    pub fn shaped(query: &'a str, answer: &'a Answer, request_id: &RequestId, shape: &AnswerShape) -> Self {
        let model = answer.model.as_ref();
        let adapter = model.and_then(|model| model.adapter.as_ref());
        Self {
            query,
            hits: answer.hits.iter().map(|hit| HitJson::new(hit, shape)).collect(),
            reranked: answer.reranked,
            rank_by: answer.rank_by.as_ref().map(ToString::to_string),
            fallback: answer.fallback.as_ref().map(FallbackJson::from),
            warnings: answer.warnings.iter().map(WarningJson::from).collect(),
            adapter: adapter.map(AdapterJson::from),
            base_model: model.map(|model| model.base_model.as_str()),
            experiment: None,
            total_hits: answer.total_hits.n(),
            total_hits_relation: answer.total_hits.relation(),
            facets: FacetJson::of_answer(&answer.facets),
            n_candidates: answer.n_candidates,
            n_left_out: answer.n_left_out,
            depth: answer.depth.get(),
            cache: answer.cache.into(),
            timings_millis: answer.timings.into(),
            request_id: request_id.to_string(),
        }
    }
}

impl<'a> ParticipationJson<'a> {
    pub(crate) fn new(part: &'a Participation) -> Self {
        let failed = |failed: &'a FailedArm| FailedArmJson {
            arm: &failed.arm,
            reason: &failed.reason,
            message: &failed.message,
        };
        Self {
            id: &part.experiment,
            arm: part.arm.as_deref(),
            interleaved: part.arm.is_none(),
            forced: part.forced,
            failed_arms: part.failed_arms.iter().map(failed).collect(),
        }
    }
}

impl<'a> HitJson<'a> {
    pub(crate) fn new(hit: &'a Hit, shape: &AnswerShape) -> Self {
        let candidate = &hit.candidate;
        let explanation = || ExplanationJson {
            rank_change: hit.first_stage_rank as i64 - hit.rank as i64,
            score_origin: hit.score_origin.map(name_of_origin),
            blend: hit.blend.map(BlendJson::from),
            rank_by: hit.ranked_by.as_ref().map(RankedByJson::from),
        };
        Self {
            id: candidate.id.as_str(),
            rank: hit.rank,
            rerank_score: hit.rerank_score.map(Score::get),
            first_stage_score: candidate.first_stage_score.get(),
            first_stage_rank: hit.first_stage_rank,
            fields: FieldsJson::new(&candidate.fields, shape.fields.as_deref()),
            snippet: hit.snippet.as_ref().map(|snippet| snippet.to_html()),
            explanation: shape.explain.then(explanation),
        }
    }
}

/// Where a rerank score comes from, as one word.
pub(super) fn name_of_origin(origin: ScoreOrigin) -> &'static str {
    match origin {
        ScoreOrigin::Cache => "cache",
        ScoreOrigin::Model => "model",
    }
}

impl<'a> From<&'a AdapterVersion> for AdapterJson<'a> {
    fn from(adapter: &'a AdapterVersion) -> Self {
        Self { id: adapter.id.as_str(), digest: adapter.digest.to_string() }
    }
}

impl From<Blend> for BlendJson {
    fn from(blend: Blend) -> Self {
        Self {
            blended_score: blend.blended_score.get(),
            normalised_rerank_score: blend.normalised_rerank_score.get(),
            normalised_first_stage_score: blend.normalised_first_stage_score.get(),
        }
    }
}

impl From<&RankedBy> for RankedByJson {
    fn from(RankedBy { value, inputs }: &RankedBy) -> Self {
        // JSON has no infinities.
        let finite = |value: f64| value.clamp(f64::MIN, f64::MAX);
        let input = |(name, value): &(String, Option<f64>)| (name.clone(), value.map(finite));
        Self { value: value.map(finite), inputs: inputs.iter().map(input).collect() }
    }
}

impl From<&Fallback> for FallbackJson {
    fn from(fallback: &Fallback) -> Self {
        Self { reason: fallback.reason(), message: fallback.to_string() }
    }
}

impl From<CacheUse> for CacheJson {
    fn from(CacheUse { hits, misses }: CacheUse) -> Self {
        Self { hits, misses }
    }
}

impl From<Timings> for TimingsJson {
    fn from(timings: Timings) -> Self {
        let millis = |duration: Duration| duration.as_micros() as f64 / 1_000.0;
        Self {
            first_stage: millis(timings.first_stage),
            cache: millis(timings.cache),
            queue: millis(timings.queue),
            rerank: millis(timings.rerank),
            total: millis(timings.total),
        }
    }
}
