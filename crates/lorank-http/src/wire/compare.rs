//! One query under several rankers.

use std::collections::{BTreeMap, HashMap, HashSet};

use lorank_core::{DocumentId, Hit, Score};
use lorank_pipeline::Answer;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::name_of_origin;
use super::{AdapterJson, CacheJson, FallbackJson, FieldsJson, TimingsJson, WarningJson};
use crate::{AnswerShape, RequestId};

/// One query under several rankers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Comparison<'a> {
    /// The query's text.
    pub query: &'a str,
    /// How many documents match the query and its filters.
    pub total_hits: u64,
    /// `eq` where `total_hits` is exact, `gte` where it is a lower bound.
    #[schema(pattern = "^(eq|gte)$")]
    pub total_hits_relation: &'static str,
    /// How many candidates the first stage found within `depth`.
    pub n_candidates: usize,
    /// How many candidates are reranked at most.
    pub depth: usize,
    /// The rankers, in the order in which they were asked for, the first stage first.
    pub rankers: Vec<RankerJson<'a>>,
    /// The documents that any of them shows.
    pub documents: BTreeMap<&'a str, DocumentJson<'a>>,
    /// The id of the request.
    pub request_id: String,
}

/// One ranker's answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ranker)]
pub struct RankerJson<'a> {
    /// The name that was asked for.
    pub name: &'a str,
    /// The adapter; null for the first stage and for the bare base model.
    pub adapter: Option<AdapterJson<'a>>,
    /// Whether the order is the reranker's.
    pub reranked: bool,
    /// Why it is not, although it should be.
    pub fallback: Option<FallbackJson>,
    /// What may make it worse than it looks; empty where nothing is known to.
    pub warnings: Vec<WarningJson>,
    /// How many of the scores were in the cache.
    pub cache: CacheJson,
    /// How long each step took.
    pub timings_millis: TimingsJson,
    /// The hits, best first.
    pub hits: Vec<ComparedHit<'a>>,
}

/// One hit of one ranker.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComparedHit<'a> {
    /// The document's id.
    pub id: &'a str,
    /// The 1-based place.
    pub rank: usize,
    /// The 1-based place in the first stage's list.
    pub first_stage_rank: usize,
    /// How many places it moved up from there (or down, if negative).
    pub rank_change: i64,
    /// The rerank score; null where there is none.
    pub rerank_score: Option<f32>,
    /// Where the rerank score comes from, `cache` or `model`; null where there is none.
    pub score_origin: Option<&'static str>,
    /// Its rank by each of the other rankers; null where it is not among their hits.
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
    /// A passage as HTML, the query's terms in `<b>`.
    pub snippet: Option<String>,
}

impl<'a> Comparison<'a> {
    /// The answers to one query, each with the name of its ranker, in the wanted shape.
    ///
    /// # Panics
    /// Without an answer.
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
            fallback: answer.fallback.as_ref().map(FallbackJson::from),
            warnings: answer.warnings.iter().map(WarningJson::from).collect(),
            cache: answer.cache.into(),
            timings_millis: answer.timings.into(),
            hits: answer.hits.iter().map(hit).collect(),
        }
    }
}
