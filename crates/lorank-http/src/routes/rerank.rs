//! The rerank routes that clients of other services call: `/rerank` (text-embeddings-inference, or Cohere's shape where it has
//! `documents`), `/v1/rerank` and `/v2/rerank` (Cohere, Jina, vLLM), `/score` and `/v1/score` (vLLM), `/info`, `/v1/models`.
//!
//! Refusals are in each service's own shape, so that its clients raise their own errors.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::{Candidate, ErrorKind, ModelVersion, Query, Score};
use lorank_pipeline::{AdapterChoice, Documents, Fallback, Scoring, SearchRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::search::CancelOnDrop;
use super::{App, now_millis};
use crate::json::{list_lengths, parse, read};
use crate::lanes::Lane;
use crate::request_id::Arrival;
use crate::wire::{
    CohereError, ErrorAnswer, ErrorJson, Info, ListedModel, ModelList, OneOrMany, Rerank, RerankDocument, Reranked,
    RerankedDocument, ScoreBody, Scored, ScoredPair, TeiError, TeiRank, TeiRerank, UnversionedError, UnversionedRerank,
    UnversionedReranked, Usage,
};
use crate::{ServerError, http_status};

/// Rerank, as text-embeddings-inference has it, or Cohere
///
/// With `texts` it is the former's, with `documents` the latter's, answers and errors alike.
#[utoipa::path(
    post,
    path = "/rerank",
    tag = "rerank",
    request_body(content = UnversionedRerank, example = json!({
        "query": "who invented the light bulb",
        "texts": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = UnversionedReranked),
        (status = 424, description = "The model failed.", body = UnversionedError<'_>),
        (status = 404, description = "There is no such adapter.", body = UnversionedError<'_>),
        (status = 429, description = "Too much is asked at once.", body = UnversionedError<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = UnversionedError<'_>),
    ),
)]
pub(crate) async fn unversioned(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let read = async {
        let body = app.json_bytes(&headers, body)?;
        let is_cohere =
            parse(&app.lanes, body.clone(), |body| Ok(list_lengths(body, ["documents"])[0].is_some())).await?;
        Ok((body, is_cohere))
    };
    let (body, is_cohere) = match read.await {
        Ok(read) => read,
        Err(error) => return as_tei(&error),
    };
    if is_cohere {
        return in_cohere(app, arrival, body, true).await.unwrap_or_else(|error| as_cohere(&error));
    }
    in_tei(app, body).await.unwrap_or_else(|error| as_tei(&error))
}

/// Rerank, as Cohere, Jina and vLLM have it
///
/// Scores are the sigmoid of the model's. Keys that mean nothing here are taken and left aside.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "rerank",
    request_body(content = Rerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", {"text": "A tulip bulb grows.", "title": "Tulips"}],
        "top_n": 1,
        "return_documents": true
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = Reranked),
        (status = 404, description = "There is no such adapter.", body = CohereError<'_>),
        (status = 429, description = "Too much is asked at once.", body = CohereError<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = CohereError<'_>),
    ),
)]
pub(crate) async fn v1(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    versioned(app, arrival, &headers, body).await
}

/// Rerank, as Cohere has it in its second version
///
/// The same as `/v1/rerank`.
#[utoipa::path(
    post,
    path = "/v2/rerank",
    tag = "rerank",
    request_body(content = Rerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", {"text": "A tulip bulb grows.", "title": "Tulips"}],
        "top_n": 1,
        "return_documents": true
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = Reranked),
        (status = 404, description = "There is no such adapter.", body = CohereError<'_>),
        (status = 429, description = "Too much is asked at once.", body = CohereError<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = CohereError<'_>),
    ),
)]
pub(crate) async fn v2(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    versioned(app, arrival, &headers, body).await
}

async fn versioned(app: App, arrival: Arrival, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let reranked = async { in_cohere(app.clone(), arrival, app.json_bytes(headers, body)?, false).await };
    reranked.await.unwrap_or_else(|error| as_cohere(&error))
}

/// Score pairs, as vLLM has it
#[utoipa::path(
    post,
    path = "/score",
    tag = "rerank",
    request_body(content = ScoreBody, example = json!({
        "text_1": "who invented the light bulb",
        "text_2": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "A score for each pair, in their order.", body = Scored),
        (status = 404, description = "There is no such adapter.", body = CohereError<'_>),
        (status = 429, description = "Too much is asked at once.", body = CohereError<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = CohereError<'_>),
    ),
)]
pub(crate) async fn score(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    scored(app, arrival, &headers, body).await
}

/// Score pairs, as vLLM has it
///
/// The same as `/score`.
#[utoipa::path(
    post,
    path = "/v1/score",
    tag = "rerank",
    request_body(content = ScoreBody, example = json!({
        "text_1": "who invented the light bulb",
        "text_2": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "A score for each pair, in their order.", body = Scored),
        (status = 404, description = "There is no such adapter.", body = CohereError<'_>),
        (status = 429, description = "Too much is asked at once.", body = CohereError<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = CohereError<'_>),
    ),
)]
pub(crate) async fn score_v1(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    scored(app, arrival, &headers, body).await
}

async fn scored(app: App, arrival: Arrival, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let scored = async { pairs(app.clone(), arrival, app.json_bytes(headers, body)?).await };
    scored.await.unwrap_or_else(|error| as_cohere(&error))
}

/// The model, as text-embeddings-inference tells of it
#[utoipa::path(
    get,
    path = "/info",
    tag = "rerank",
    responses(
        (status = 200, description = "The default model.", body = Info),
        (status = 503, description = "There is no default model.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn info(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let model = app.service.engine.model(&AdapterChoice::Default)?;
        let labels = json!({"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}});
        Ok(JsonBody(Info {
            model_id: model.base_model,
            model_sha: model.base_digest.to_string(),
            model_dtype: model.precision.name(),
            model_type: BTreeMap::from([("reranker", labels)]),
            max_concurrent_requests: app.config.n_searches_max.get(),
            max_input_length: app.service.adapters.as_ref().map(|host| host.max_length()),
            max_client_batch_size: app.config.n_documents_max.get(),
            auto_truncate: true,
            version: env!("CARGO_PKG_VERSION"),
        }))
    })
    .await
}

/// What `model` may say, in OpenAI's shape
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "rerank",
    responses((status = 200, description = "The base model, adapters and aliases.", body = ModelList)),
)]
pub(crate) async fn models(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let mut names: Vec<String> = Vec::new();
        if let Ok(model) = app.service.engine.model(&AdapterChoice::Base) {
            names.extend([model.base_model, AdapterChoice::BASE.to_owned()]);
        }
        if let Some(host) = &app.service.adapters {
            let state = host.registry().state();
            names.extend(host.own_adapters().iter().map(ToString::to_string));
            names.extend(state.adapters().map(|entry| entry.id.to_string()));
            names.extend(state.aliases().map(|(name, _)| name.to_string()));
        }
        let model = |id| ListedModel { id, object: "model", created: 0, owned_by: "lorank" };
        Ok(JsonBody(ModelList { object: "list", data: names.into_iter().map(model).collect() }))
    })
    .await
}

async fn in_tei(app: App, body: Bytes) -> Result<Response, ServerError> {
    let TeiRerank { query, texts, raw_scores, return_text, truncation_direction, model, truncate: _ } =
        app.read_lists("a rerank request", body, ["texts"]).await?;
    if truncation_direction.is_some_and(|direction| !direction.eq_ignore_ascii_case("right")) {
        let problem = "can be `Right` alone: the end of what is too long is cut".to_owned();
        return Err(ServerError::InvalidValue { field: "truncation_direction".to_owned(), problem });
    }
    app.check_documents("texts", texts.len())?;
    let (scoring, candidates) = app.score(model.as_deref(), query, texts).await?;
    let scores = scores_of(scoring.scores)?;
    let rank = |index: usize| TeiRank {
        index,
        score: if raw_scores { scores[index].get() } else { sigmoid(scores[index]) },
        text: return_text.then(|| candidates[index].text.to_string()),
    };
    Ok(JsonBody(order(&scores).into_iter().map(rank).collect::<Vec<_>>()).into_response())
}

async fn in_cohere(app: App, arrival: Arrival, body: Bytes, returns_by_default: bool) -> Result<Response, ServerError> {
    let Rerank { model, query, documents, top_n, rank_fields, return_documents, max_tokens_per_doc } =
        app.read_lists("a rerank request", body, ["documents"]).await?;
    app.check_documents("documents", documents.len())?;
    if top_n == Some(0) {
        let problem = "is 0; leave it out for all documents".to_owned();
        return Err(ServerError::InvalidValue { field: "top_n".to_owned(), problem });
    }
    let text = |document: &RerankDocument| cut(document.text(rank_fields.as_deref()), max_tokens_per_doc);
    let texts = documents.iter().map(text).collect();
    let (scoring, _) = app.score(model.as_deref(), query, texts).await?;
    let (model, n_tokens) = (name(&scoring.model), scoring.n_tokens);
    let scores = scores_of(scoring.scores)?;
    let mut documents: Vec<Option<RerankDocument>> = documents.into_iter().map(Some).collect();
    let returns = return_documents.unwrap_or(returns_by_default);
    let result = |index: usize| RerankedDocument {
        index,
        relevance_score: sigmoid(scores[index]),
        document: documents[index].take().filter(|_| returns).map(RerankDocument::into_object),
    };
    let results = order(&scores).into_iter().take(top_n.unwrap_or(usize::MAX)).map(result).collect();
    let usage = Usage { prompt_tokens: n_tokens, total_tokens: n_tokens };
    // Cohere bills a search of up to a hundred documents as one unit.
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"search_units": scores.len().div_ceil(100)}});
    let id = arrival.request_id.to_string();
    Ok(JsonBody(Reranked { id, object: "list", model, results, usage, meta }).into_response())
}

async fn pairs(app: App, arrival: Arrival, body: Bytes) -> Result<Response, ServerError> {
    let ScoreBody { model, text_1, text_2 } = app.read_lists("a score request", body, SCORE_LISTS).await?;
    let texts = match text_2 {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    app.check_documents("text_2", texts.len())?;
    let groups: Vec<(String, Vec<String>)> = match text_1 {
        OneOrMany::One(query) => vec![(query, texts)],
        OneOrMany::Many(mut queries) if queries.len() == 1 => vec![(queries.remove(0), texts)],
        OneOrMany::Many(queries) if queries.len() == texts.len() => {
            queries.into_iter().zip(texts).map(|(query, text)| (query, vec![text])).collect()
        }
        OneOrMany::Many(queries) => {
            let problem = format!("has {} texts and `text_2` has {}; give one, or as many", queries.len(), texts.len());
            return Err(ServerError::InvalidValue { field: "text_1".to_owned(), problem });
        }
    };
    let (scoring, _) = app.score_groups(model.as_deref(), groups).await?;
    let (n_tokens, name_of_model) = (scoring.n_tokens, name(&scoring.model));
    let scores = scores_of(scoring.scores)?;
    let pair = |(index, score): (usize, &Score)| ScoredPair { index, object: "score", score: sigmoid(*score) };
    let answer = Scored {
        id: arrival.request_id.to_string(),
        object: "list",
        created: now_millis() / 1_000,
        model: name_of_model,
        data: scores.iter().enumerate().map(pair).collect(),
        usage: Usage { prompt_tokens: n_tokens, total_tokens: n_tokens },
    };
    Ok(JsonBody(answer).into_response())
}

/// The lists of a score request, by all the names that they go by.
pub(crate) const SCORE_LISTS: [&str; 6] = ["text_1", "queries", "data_1", "text_2", "documents", "data_2"];

impl App {
    /// Reads a request with lists of texts, each of at most as many as the configuration allows.
    async fn read_lists<T: DeserializeOwned + Send + 'static, const N: usize>(
        &self,
        expected: &'static str,
        body: Bytes,
        lists: [&'static str; N],
    ) -> Result<T, ServerError> {
        let max = self.config.n_documents_max.get();
        parse(&self.lanes, body, move |body| read_with_lists(expected, body, lists, max)).await
    }

    fn check_documents(&self, field: &'static str, found: usize) -> Result<(), ServerError> {
        let max = self.config.n_documents_max.get();
        match found {
            0 => Err(ServerError::NoDocuments { field }),
            n if n > max => Err(ServerError::TooManyDocuments { field, found, max }),
            _ => Ok(()),
        }
    }

    /// The scores of texts for one query, and the texts as the pipeline takes them.
    async fn score(
        self,
        model: Option<&str>,
        query: String,
        texts: Vec<String>,
    ) -> Result<(Scoring, Vec<Candidate>), ServerError> {
        self.score_groups(model, vec![(query, texts)]).await
    }

    /// The scores of each query's texts, in one submission, and the texts as the pipeline takes them.
    async fn score_groups(
        self,
        model: Option<&str>,
        groups: Vec<(String, Vec<String>)>,
    ) -> Result<(Scoring, Vec<Candidate>), ServerError> {
        let adapter = self.choice(model)?;
        let request = SearchRequest { adapter, ..SearchRequest::new("") };
        let _cancel = CancelOnDrop(request.cancellation.clone());
        let work = move |app: &Self| {
            let nothing = Score::new(0.0).expect("zero is finite");
            let (mut queries, mut candidates) = (Vec::with_capacity(groups.len()), Vec::new());
            for (query, texts) in groups {
                queries.push((Query::new(query), texts.len()));
                let first = candidates.len();
                let numbered = texts.into_iter().zip(first..);
                candidates.extend(numbered.map(|(text, n)| Candidate::new(n.to_string(), text, nothing)));
            }
            let mut rest = candidates.as_slice();
            let documents = queries.iter().map(|(query, n_texts)| {
                let (candidates, after) = rest.split_at(*n_texts);
                rest = after;
                Documents { query, candidates }
            });
            let scoring = app.service.engine.score_each(&request, &documents.collect::<Vec<_>>())?;
            match scoring.scores.as_ref().err().and_then(|reason| app.overload_of(reason)) {
                Some(overload) => Err(overload),
                None => Ok((scoring, candidates)),
            }
        };
        self.search_work(work).await
    }

    /// What `model` names: an adapter, an alias, or the base model by its own name.
    fn choice(&self, model: Option<&str>) -> Result<AdapterChoice, ServerError> {
        let Some(text) = model.filter(|text| !text.is_empty()) else { return Ok(AdapterChoice::Default) };
        text.parse().or_else(|error: lorank_core::ParseIdError| {
            // The name of a base model need not be one of an adapter.
            let base = self.service.engine.model(&AdapterChoice::Base).ok().map(|model| model.base_model);
            let problem = format!("is refused: {error}");
            let unknown = ServerError::InvalidValue { field: "model".to_owned(), problem };
            if base.as_deref() == Some(text) { Ok(AdapterChoice::Base) } else { Err(unknown) }
        })
    }
}

/// Reads a request with lists of at most `max` texts. Their lengths are checked first: in memory, a list of empty texts takes many
/// times the bytes of its JSON.
pub(crate) fn read_with_lists<T: DeserializeOwned, const N: usize>(
    expected: &'static str,
    body: &[u8],
    lists: [&'static str; N],
    max: usize,
) -> Result<T, ServerError> {
    for (field, found) in lists.into_iter().zip(list_lengths(body, lists)) {
        if let Some(found) = found.filter(|found| *found > max) {
            return Err(ServerError::TooManyDocuments { field, found, max });
        }
    }
    read(expected, body)
}

/// About so many tokens of a text, at four bytes each, cut between characters.
pub(crate) fn cut(mut text: String, n_tokens_max: Option<usize>) -> String {
    if let Some(bytes_max) = n_tokens_max.map(|n| n.saturating_mul(4)).filter(|max| *max < text.len()) {
        text.truncate((0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    }
    text
}

fn scores_of(scores: Result<Vec<Score>, Fallback>) -> Result<Vec<Score>, ServerError> {
    scores.map_err(|fallback| ServerError::NotScored { reason: fallback.reason(), message: fallback.to_string() })
}

/// The places, best first; of equals the earlier one.
fn order(scores: &[Score]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].cmp(&scores[a]).then(a.cmp(&b)));
    order
}

fn sigmoid(score: Score) -> f32 {
    (1.0 / (1.0 + (-f64::from(score.get())).exp())) as f32
}

fn name(model: &ModelVersion) -> String {
    model.adapter.as_ref().map_or_else(|| model.base_model.clone(), |adapter| adapter.id.to_string())
}

/// The error as text-embeddings-inference writes it.
fn as_tei(error: &ServerError) -> Response {
    let (status, error_type) = match error {
        ServerError::NoDocuments { .. } => (StatusCode::BAD_REQUEST, "Empty"),
        _ => match error.kind() {
            ErrorKind::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "Overloaded"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy"),
            ErrorKind::Internal => (StatusCode::FAILED_DEPENDENCY, "Backend"),
            ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Validation"),
            kind => (http_status(kind), "Validation"),
        },
    };
    error_response(error, status, &TeiError { error: &error.message(), error_type })
}

/// The error as Cohere writes it, and beside it in this service's own words.
fn as_cohere(error: &ServerError) -> Response {
    let status = http_status(error.kind());
    let message = &error.message();
    error_response(error, status, &CohereError { message, error: ErrorJson::new(error, message) })
}

fn error_response(error: &ServerError, status: StatusCode, body: &impl Serialize) -> Response {
    error.log(status);
    let mut response = (status, JsonBody(body)).into_response();
    if let Some(retry_after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after.seconds().into());
    }
    response
}
