//! The answer of a search, over HTTP and in the program's JSON output.

use std::collections::BTreeMap;

use lorank_core::{Blend, Hit, ListRank, RECIPROCAL_RANK_K, RankedBy, Score};
use lorank_experiment_pipeline::{FailedArm, Participation};
use lorank_pipeline::{Answer, Timings, Warning};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer_parts::{AdapterJson, CacheJson, FallbackJson, millis, name_of_origin};
use super::passages::{PassageJson, ScoredPassageJson};
use super::stages::{StageAnswerJson, StageRankJson};
use super::{FacetJson, FacetsJson, FieldsJson};
use crate::RequestId;

/// The answer of a search.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SearchAnswer<'a> {
    /// The query text as it was sent.
    pub query: &'a str,
    /// The hits of the page in rank order.
    pub hits: Vec<HitJson<'a>>,
    /// Whether the hits were reranked.
    pub reranked: bool,
    /// The expression that ordered the candidates; null if they are ordered by score.
    pub rank_by: Option<String>,
    /// The reason for which the hits were not reranked, although reranking was requested; null otherwise. Of several `stages`, the
    /// reason of the last one that fell back; the hits are in the order of the last stage that did not.
    pub fallback: Option<FallbackJson>,
    /// What each rerank stage did. The key is present only if the request or the server's configuration has `stages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageAnswerJson<'a>>>,
    /// Warnings about the quality of the answer.
    pub warnings: Vec<WarningJson>,
    /// The adapter that was used or would have been used; null for the base model without an adapter.
    pub adapter: Option<AdapterJson<'a>>,
    /// The base model; null if reranking was not requested.
    pub base_model: Option<&'a str>,
    /// The experiment that the request took part in; null if none.
    pub experiment: Option<ParticipationJson<'a>>,
    /// The number of documents that match the query and its filters.
    pub total_hits: u64,
    /// `eq` if `total_hits` is exact, `gte` if it is a lower bound.
    #[schema(pattern = "^(eq|gte)$")]
    pub total_hits_relation: &'static str,
    /// The counts of the requested facets, by field; null if none was requested.
    #[schema(value_type = Option<BTreeMap<String, FacetJson<'a>>>)]
    pub facets: Option<FacetsJson<'a>>,
    /// The number of candidates that the first stage found within `depth`.
    pub n_candidates: usize,
    /// The number of candidates with a rerank score below `min_rerank_score`, which are not returned. Null if the request has no
    /// `min_rerank_score`, if the answer is in first-stage order, or if it interleaves the arms of an experiment.
    pub n_left_out: Option<usize>,
    /// The maximum number of candidates to rerank.
    pub depth: usize,
    /// The number of scores that were found in the score cache.
    pub cache: CacheJson,
    /// The duration of each step.
    pub timings_millis: TimingsJson,
    /// The request id.
    pub request_id: String,
}

/// How a request took part in an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ExperimentPart)]
pub struct ParticipationJson<'a> {
    /// The id of the experiment.
    pub id: &'a str,
    /// The arm that ranked the hits; null if the arms were interleaved, or if the request names an adapter that no arm uses.
    pub arm: Option<&'a str>,
    /// Whether the arms were interleaved. The hits then have no rerank score, because it would reveal their arm.
    pub interleaved: bool,
    /// Whether the request named the arm or its adapter. Such requests are excluded from the statistics.
    pub forced: bool,
    /// The arms of an interleaved answer that failed.
    pub failed_arms: Vec<FailedArmJson<'a>>,
}

/// An arm that failed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = FailedArm)]
pub struct FailedArmJson<'a> {
    /// The arm's name.
    pub arm: &'a str,
    /// The reason as a constant for programs.
    pub reason: &'a str,
    /// The reason as a message.
    pub message: &'a str,
}

/// A hit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Hit)]
pub struct HitJson<'a> {
    /// The document's id.
    pub id: &'a str,
    /// The rank in the answer, from 1, counted over all pages.
    pub rank: usize,
    /// The reranker's score; null if the document was not reranked.
    pub rerank_score: Option<f32>,
    /// The first stage's score.
    pub first_stage_score: f32,
    /// The rank in first-stage order, from 1.
    pub first_stage_rank: usize,
    /// The stored fields.
    #[schema(value_type = Object)]
    pub fields: FieldsJson<'a>,
    /// An excerpt as HTML, with the terms of the query in `<b>`: of the hit's `passage`, if it has several.
    pub snippet: Option<String>,
    /// The window of the text that the rerank score comes from, with `passages` other than `first`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passage: Option<PassageJson<'a>>,
    /// The explanation of the rank. The key is present only if `explain` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<ExplanationJson>,
}

/// The explanation of a rank.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplanationJson {
    /// `first_stage_rank` minus the rank after reranking; positive if the hit moved up.
    pub rank_change: i64,
    /// The origin of the rerank score, `cache` or `model`; null if there is no score.
    #[schema(pattern = "^(cache|model)$")]
    pub score_origin: Option<&'static str>,
    /// The blended score that ordered the hit; null if the rerank score alone did.
    pub blend: Option<BlendJson>,
    /// The value of the `rank_by` expression that ordered the hit; null if scores did.
    pub rank_by: Option<RankedByJson>,
    /// The lists of candidates that were fused; null if there was only one.
    pub fusion: Option<FusionJson>,
    /// The rank and the score after each rerank stage. The key is present only if the request or the server's configuration has
    /// `stages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageRankJson>>,
    /// The passages of the document, with their scores; null if it was not scored as passages.
    pub passages: Option<Vec<ScoredPassageJson>>,
}

/// The fusion of several lists of candidates by reciprocal rank: `first_stage_score` is the sum of `1 / (k + rank)` over the lists.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Fusion)]
pub struct FusionJson {
    /// The constant k.
    pub k: f32,
    /// The lists that have the document.
    pub lists: Vec<ListRankJson>,
}

/// The rank of a document in a list of candidates.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ListRank)]
pub struct ListRankJson {
    /// The list: `first-stage`, or `candidates` with the number of the list if there are several.
    pub list: String,
    /// The rank in the list, from 1.
    pub rank: usize,
    /// The score in the list.
    pub score: f32,
}

/// The value of a `rank_by` expression, and its inputs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = RankedBy)]
pub struct RankedByJson {
    /// The value; null if it is not a number. Infinity is returned as the largest finite number.
    pub value: Option<f64>,
    /// The value of each name in the expression; null if it is not a number.
    pub inputs: BTreeMap<String, Option<f64>>,
}

/// A blended score, and its two components.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Blend)]
pub struct BlendJson {
    /// `blend_weight * normalised_rerank_score + (1 - blend_weight) * normalised_first_stage_score`.
    pub blended_score: f32,
    /// The rerank score, min-max normalized over the reranked candidates.
    pub normalised_rerank_score: f32,
    /// The first-stage score, min-max normalized over the reranked candidates.
    pub normalised_first_stage_score: f32,
}

/// A warning about the quality of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Warning)]
pub struct WarningJson {
    /// The reason as a constant for programs: `unknown_tokens` if more than a fifth of the tokens of the query and the first ten
    /// candidates are unknown to the model; `passages_limited` if the end of a document was not scored; `shards_failed`, `first_stage_timed_out` and `approximate_counts` if the result of a search
    /// engine that is the first stage may be incomplete; `key_without_effect` if a key of the request, which the message names, has no
    /// effect because of an experiment; `unknown_field` if no document has a name in `fields`.
    pub reason: &'static str,
    /// The reason as a message.
    pub message: String,
}

impl From<&Warning> for WarningJson {
    fn from(warning: &Warning) -> Self {
        Self { reason: warning.reason(), message: warning.to_string() }
    }
}

/// The duration of each step in milliseconds, with three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Timings)]
pub struct TimingsJson {
    /// Retrieval of the candidates.
    pub first_stage: f64,
    /// Lookup in the score cache.
    pub cache: f64,
    /// The part of `rerank` before the model scored the first pair.
    pub queue: f64,
    /// Encoding and scoring, including the time in the queue.
    pub rerank: f64,
    /// The whole search.
    pub total: f64,
}

/// The requested parts of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerShape {
    /// The stored fields of the hits; `None` for all.
    pub fields: Option<Vec<String>>,
    /// Whether hits have an explanation.
    pub explain: bool,
}

impl<'a> SearchAnswer<'a> {
    /// The requested parts of an answer.
    pub fn shaped(query: &'a str, answer: &'a Answer, request_id: &RequestId, shape: &AnswerShape) -> Self {
        let model = answer.model.as_ref();
        let adapter = model.and_then(|model| model.adapter.as_ref());
        Self {
            query,
            hits: answer.hits.iter().map(|hit| HitJson::new(hit, shape)).collect(),
            reranked: answer.reranked,
            rank_by: answer.rank_by.as_ref().map(ToString::to_string),
            fallback: FallbackJson::of(answer),
            stages: Some(answer.stages.iter().map(StageAnswerJson::from).collect())
                .filter(|it: &Vec<_>| !it.is_empty()),
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
            fusion: FusionJson::of(&candidate.fused_from),
            stages: Some(hit.stages.iter().map(StageRankJson::from).collect()).filter(|it: &Vec<_>| !it.is_empty()),
            passages: hit.passage.as_ref().map(ScoredPassageJson::all),
        };
        Self {
            id: candidate.id.as_str(),
            rank: hit.rank,
            rerank_score: hit.rerank_score.map(Score::get),
            first_stage_score: candidate.first_stage_score.get(),
            first_stage_rank: hit.first_stage_rank,
            fields: FieldsJson::new(&candidate.fields, shape.fields.as_deref()),
            snippet: hit.snippet.as_ref().map(|snippet| snippet.to_html()),
            passage: hit.passage.as_ref().map(|passage| PassageJson::new(passage, &candidate.text)),
            explanation: shape.explain.then(explanation),
        }
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

impl FusionJson {
    fn of(lists: &[ListRank]) -> Option<Self> {
        let list = |it: &ListRank| ListRankJson { list: it.list.to_string(), rank: it.rank, score: it.score.get() };
        (!lists.is_empty()).then(|| Self { k: RECIPROCAL_RANK_K, lists: lists.iter().map(list).collect() })
    }
}

impl From<Timings> for TimingsJson {
    fn from(timings: Timings) -> Self {
        Self {
            first_stage: millis(timings.first_stage),
            cache: millis(timings.cache),
            queue: millis(timings.queue),
            rerank: millis(timings.rerank),
            total: millis(timings.total),
        }
    }
}
