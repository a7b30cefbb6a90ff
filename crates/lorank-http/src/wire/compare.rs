//! Comparisons of rankers.

use std::collections::{BTreeMap, HashMap, HashSet};

use lorank_core::{DocumentId, Hit, Score};
use lorank_pipeline::Answer;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer_parts::name_of_origin;
use super::passages::PassageJson;
use super::stages::{StageAnswerJson, StageRankJson};
use super::{AdapterJson, CacheJson, FallbackJson, FieldsJson, TimingsJson, WarningJson};
use crate::{AnswerShape, RequestId};

/// The hits of several rankers for one query.
#[derive(Debug, Serialize, ToSchema)]
pub struct Comparison<'a> {
    /// The query text.
    pub query: &'a str,
    /// The number of documents that match the query and its filters.
    pub total_hits: u64,
    /// `eq` if `total_hits` is exact, `gte` if it is a lower bound.
    #[schema(pattern = "^(eq|gte)$")]
    pub total_hits_relation: &'static str,
    /// The number of candidates that the first stage found within `depth`.
    pub n_candidates: usize,
    /// The maximum number of candidates to rerank.
    pub depth: usize,
    /// The rankers: the first stage, then the others in the order of the request.
    pub rankers: Vec<RankerJson<'a>>,
    /// The documents of all hits, by id.
    pub documents: BTreeMap<&'a str, DocumentJson<'a>>,
    /// Warnings that concern all rankers, as in a search.
    pub warnings: Vec<WarningJson>,
    /// The request id.
    pub request_id: String,
}

/// The answer of a ranker.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ranker)]
pub struct RankerJson<'a> {
    /// The name in the request.
    pub name: &'a str,
    /// The adapter; null for the first stage, and for the base model without an adapter.
    pub adapter: Option<AdapterJson<'a>>,
    /// Whether the hits were reranked.
    pub reranked: bool,
    /// The expression that ordered the candidates; null if the scores did.
    pub rank_by: Option<String>,
    /// The reason for which the hits were not reranked; null otherwise.
    pub fallback: Option<FallbackJson>,
    /// What each rerank stage did. The key is present only for the ranker of the request's `stages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageAnswerJson<'a>>>,
    /// Warnings about the quality of the ranking.
    pub warnings: Vec<WarningJson>,
    /// The number of scores that were found in the score cache.
    pub cache: CacheJson,
    /// The duration of each step.
    pub timings_millis: TimingsJson,
    /// The hits in rank order.
    pub hits: Vec<ComparedHit<'a>>,
}

/// A hit of a ranker.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComparedHit<'a> {
    /// The document's id.
    pub id: &'a str,
    /// The rank, from 1.
    pub rank: usize,
    /// The rank in first-stage order, from 1.
    pub first_stage_rank: usize,
    /// `first_stage_rank` minus `rank`; positive if the hit moved up.
    pub rank_change: i64,
    /// The rerank score; null if there is none.
    pub rerank_score: Option<f32>,
    /// The origin of the rerank score, `cache` or `model`; null if there is no score.
    pub score_origin: Option<&'static str>,
    /// The window of the text that the rerank score comes from, with `passages` other than `first`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passage: Option<PassageJson<'a>>,
    /// The rank and the score after each of the ranker's `stages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageRankJson>>,
    /// The rank by each other ranker; null if it is not among the hits of that ranker.
    pub ranks: BTreeMap<&'a str, Option<usize>>,
}

/// A document of a comparison.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ComparedDocument)]
pub struct DocumentJson<'a> {
    /// The first stage's score.
    pub first_stage_score: f32,
    /// The stored fields.
    #[schema(value_type = Object)]
    pub fields: FieldsJson<'a>,
    /// A passage as HTML, with the terms of the query in `<b>`.
    pub snippet: Option<String>,
}

impl<'a> Comparison<'a> {
    /// A comparison of answers to one query, each given with the name of its ranker.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn shaped(
        query: &'a str,
        named: &[(&'a str, &'a Answer)],
        request_id: &RequestId,
        shape: &AnswerShape,
    ) -> Self {
        let ranks_of = |answer: &'a Answer| -> HashMap<&'a DocumentId, usize> {
            answer.hits.iter().map(|hit| (&hit.candidate.id, hit.rank)).collect()
        };
        let ranks: Vec<(&str, HashMap<&DocumentId, usize>)> =
            named.iter().map(|&(name, answer)| (name, ranks_of(answer))).collect();
        let mut seen = HashSet::new();
        let hits = named.iter().flat_map(|(_, answer)| &answer.hits);
        let document = |hit: &'a Hit| DocumentJson {
            first_stage_score: hit.candidate.first_stage_score.get(),
            fields: FieldsJson::new(&hit.candidate.fields, shape.fields.as_deref()),
            snippet: hit.snippet.as_ref().map(|snippet| snippet.to_html()),
        };
        let documents = hits.filter(|hit| seen.insert(&hit.candidate.id));
        let (_, first) = named[0];
        Self {
            query,
            total_hits: first.total_hits.n(),
            total_hits_relation: first.total_hits.relation(),
            n_candidates: first.n_candidates,
            depth: first.depth.get(),
            documents: documents.map(|hit| (hit.candidate.id.as_str(), document(hit))).collect(),
            rankers: named.iter().map(|&(name, answer)| RankerJson::new(name, answer, &ranks)).collect(),
            warnings: Vec::new(),
            request_id: request_id.to_string(),
        }
    }
}

impl<'a> RankerJson<'a> {
    fn new(name: &'a str, answer: &'a Answer, ranks: &[(&'a str, HashMap<&'a DocumentId, usize>)]) -> Self {
        let hit = |hit: &'a Hit| ComparedHit {
            id: hit.candidate.id.as_str(),
            rank: hit.rank,
            first_stage_rank: hit.first_stage_rank,
            rank_change: hit.first_stage_rank as i64 - hit.rank as i64,
            rerank_score: hit.rerank_score.map(Score::get),
            score_origin: hit.score_origin.map(name_of_origin),
            passage: hit.passage.as_ref().map(|passage| PassageJson::new(passage, &hit.candidate.text)),
            stages: Some(hit.stages.iter().map(StageRankJson::from).collect()).filter(|it: &Vec<_>| !it.is_empty()),
            ranks: ranks
                .iter()
                .filter(|(other, _)| *other != name)
                .map(|(other, ranks)| (*other, ranks.get(&hit.candidate.id).copied()))
                .collect(),
        };
        Self {
            name,
            adapter: answer.model.as_ref().and_then(|model| model.adapter.as_ref()).map(AdapterJson::from),
            reranked: answer.reranked,
            rank_by: answer.rank_by.as_ref().map(ToString::to_string),
            fallback: answer.fallback.as_ref().map(FallbackJson::from),
            stages: Some(answer.stages.iter().map(StageAnswerJson::from).collect())
                .filter(|stages: &Vec<_>| !stages.is_empty()),
            warnings: answer.warnings.iter().map(WarningJson::from).collect(),
            cache: answer.cache.into(),
            timings_millis: answer.timings.into(),
            hits: answer.hits.iter().map(hit).collect(),
        }
    }
}
