//! `/v1/compare`: one query under several adapters.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use lorank_core::DocumentId;
use lorank_pipeline::{Answer, Ranker};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::search::CancelOnDrop;
use super::{App, read};
use crate::request_id::Arrival;
use crate::wire::{AdapterJson, Asked, CacheJson, FallbackJson, FieldsJson, TimingsJson};
use crate::{AnswerShape, SearchBody, ServerError};

/// How many rankers one comparison may have.
pub const RANKERS_MAX: usize = 8;

/// A comparison. Beside `adapters` its keys mean what they mean in a search.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompareBody {
    query: Option<String>,
    /// Adapters and aliases, `none` for the bare base model; `first-stage` is always there, and first.
    #[serde(default)]
    adapters: Vec<String>,
    top_k: Option<std::num::NonZeroUsize>,
    depth: Option<std::num::NonZeroUsize>,
    deadline_millis: Option<u64>,
    filters: Option<Map<String, Json>>,
    snippets: Option<bool>,
    fields: Option<Vec<String>>,
    syntax: Option<crate::SyntaxJson>,
}

/// One query under several rankers.
#[derive(Debug, Serialize)]
pub struct Comparison<'a> {
    /// The query's text.
    pub query: &'a str,
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
#[derive(Debug, Serialize)]
pub struct RankerJson<'a> {
    /// The name that was asked for.
    pub name: &'a str,
    /// The adapter; null for the first stage and for the bare base model.
    pub adapter: Option<AdapterJson<'a>>,
    /// Whether the order is the reranker's.
    pub reranked: bool,
    /// Why it is not, although it should be.
    pub fallback: Option<FallbackJson>,
    /// How many of the scores were in the cache.
    pub cache: CacheJson,
    /// How long each step took.
    pub timings_millis: TimingsJson,
    /// The hits, best first.
    pub hits: Vec<ComparedHit<'a>>,
}

/// One hit of one ranker.
#[derive(Debug, Serialize)]
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
    /// Its rank by each of the other rankers; null where it is not among their hits.
    pub ranks: BTreeMap<&'a str, Option<usize>>,
}

/// A document of a comparison.
#[derive(Debug, Serialize)]
pub struct DocumentJson<'a> {
    /// The first stage's score.
    pub first_stage_score: f32,
    /// The stored fields.
    pub fields: FieldsJson<'a>,
    /// A passage as HTML, the query's terms in `<b>`.
    pub snippet: Option<String>,
}

pub(crate) async fn compare(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ServerError> {
    let body: CompareBody = read("a comparison", app.json(&headers, body)?)?;
    let names = names(&body.adapters)?;
    let search = SearchBody {
        query: body.query,
        top_k: body.top_k,
        depth: body.depth,
        deadline_millis: body.deadline_millis,
        filters: body.filters,
        snippets: body.snippets,
        fields: body.fields,
        syntax: body.syntax,
        ..SearchBody::default()
    };
    let Asked { request, shape, .. } = search.into_request(arrival.at)?;
    let _cancel = CancelOnDrop(request.cancellation.clone());
    let work = move |app: &App| {
        let rankers: Vec<Ranker> = names.iter().map(|(_, ranker)| ranker.clone()).collect();
        let answers = app.service.engine.search_each(&request, &rankers)?;
        let answers = answers.into_iter().collect::<Result<Vec<Answer>, _>>()?;
        let named: Vec<(&str, &Answer)> = names.iter().map(|(name, _)| name.as_str()).zip(&answers).collect();
        let comparison = comparison(&request.query.text, &named, &shape, arrival.request_id.to_string());
        let body = serde_json::to_vec(&comparison).expect("the answer's keys are all texts");
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    };
    app.search_work(work).await
}

fn names(adapters: &[String]) -> Result<Vec<(String, Ranker)>, ServerError> {
    let invalid = |problem: String| ServerError::InvalidValue { field: "adapters".to_owned(), problem };
    let mut names = vec![(Ranker::FIRST_STAGE.to_owned(), Ranker::FirstStage)];
    for name in adapters.iter().filter(|name| *name != Ranker::FIRST_STAGE) {
        if names.iter().any(|(known, _)| known == name) {
            return Err(invalid(format!("names `{name}` twice")));
        }
        let ranker = name.parse().map_err(|error| invalid(format!("is refused: {error}")))?;
        names.push((name.clone(), ranker));
    }
    match names.len() {
        1 => Err(invalid("is missing or names no adapter; give those to compare with the first stage".to_owned())),
        n if n > RANKERS_MAX => Err(invalid(format!("names {} adapters, and {} is the most", n - 1, RANKERS_MAX - 1))),
        _ => Ok(names),
    }
}

fn comparison<'a>(
    query: &'a str,
    named: &[(&'a str, &'a Answer)],
    shape: &AnswerShape,
    request_id: String,
) -> Comparison<'a> {
    let ranks_of = |answer: &'a Answer| -> HashMap<&'a DocumentId, usize> {
        answer.hits.iter().map(|hit| (&hit.candidate.id, hit.rank)).collect()
    };
    let ranks: Vec<(&str, HashMap<&DocumentId, usize>)> =
        named.iter().map(|&(name, answer)| (name, ranks_of(answer))).collect();
    let mut seen = HashSet::new();
    let hits = named.iter().flat_map(|(_, answer)| &answer.hits);
    let document = |hit: &'a lorank_core::Hit| DocumentJson {
        first_stage_score: hit.candidate.first_stage_score.get(),
        fields: FieldsJson::new(&hit.candidate.fields, shape.fields.as_deref()),
        snippet: hit.snippet.as_ref().map(|snippet| snippet.to_html()),
    };
    let documents = hits.filter(|hit| seen.insert(&hit.candidate.id));
    let (_, first) = named[0];
    Comparison {
        query,
        n_candidates: first.n_candidates,
        depth: first.depth.get(),
        documents: documents.map(|hit| (hit.candidate.id.as_str(), document(hit))).collect(),
        rankers: named.iter().map(|&(name, answer)| RankerJson::new(name, answer, &ranks)).collect(),
        request_id,
    }
}

impl<'a> RankerJson<'a> {
    fn new(name: &'a str, answer: &'a Answer, ranks: &[(&'a str, HashMap<&'a DocumentId, usize>)]) -> Self {
        let hit = |hit: &'a lorank_core::Hit| ComparedHit {
            id: hit.candidate.id.as_str(),
            rank: hit.rank,
            first_stage_rank: hit.first_stage_rank,
            rank_change: hit.first_stage_rank as i64 - hit.rank as i64,
            rerank_score: hit.rerank_score.map(lorank_core::Score::get),
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
            cache: answer.cache.into(),
            timings_millis: answer.timings.into(),
            hits: answer.hits.iter().map(hit).collect(),
        }
    }
}
