//! The rerank routes that clients of other services call: `/rerank` (text-embeddings-inference, or Cohere's shape where it has
//! `documents`), `/v1/rerank` and `/v2/rerank` (Cohere, Jina, vLLM), `/score` and `/v1/score` (vLLM), `/info`, `/v1/models`.
//!
//! Refusals are in each service's own shape, so that its clients raise their own errors.

mod errors;
pub(crate) mod models;
pub(crate) mod score;
mod scoring;

use std::num::NonZeroUsize;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::Activation;
use serde_json::json;

use self::errors::{as_cohere, as_tei};
pub(crate) use self::score::SCORE_LISTS;
pub(crate) use self::scoring::{cut, read_with_lists};
use self::scoring::{name, order, scores_of, wants_logits};
use super::App;
use crate::ServerError;
use crate::json::{list_lengths, parse};
use crate::request_id::Arrival;
use crate::wire::{
    CohereError, Rerank, RerankDocument, Reranked, RerankedDocument, TeiRank, TeiRerank, UnversionedError,
    UnversionedRerank, UnversionedReranked, Usage,
};

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
        (status = 404, description = "Unknown adapter.", body = UnversionedError<'_>),
        (status = 429, description = "Too many requests; retry after the time in `Retry-After`.", body = UnversionedError<'_>,
            headers(("retry-after" = u64, description = "When to retry, in seconds."))),
        (status = 503, description = "A part of the service is missing or not ready.", body = UnversionedError<'_>),
        (status = 504, description = "The deadline passed before every document had a score.", body = UnversionedError<'_>),
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
        let lists = parse(&app.lanes, body.clone(), |body| Ok(list_lengths(body, ["documents", "texts"]))).await?;
        Ok((body, lists))
    };
    let (body, [documents, texts]) = match read.await {
        Ok(read) => read,
        Err(error) => return as_tei(&error),
    };
    if documents.is_some() && texts.is_some() {
        let problem = "stands beside `documents`; send one of them".to_owned();
        return as_cohere(&ServerError::InvalidValue { field: "texts".to_owned(), problem });
    }
    if documents.is_some() {
        return in_cohere(app, arrival, body, true).await.unwrap_or_else(|error| as_cohere(&error));
    }
    in_tei(app, body).await.unwrap_or_else(|error| as_tei(&error))
}

/// Rerank, as Cohere, Jina and vLLM have it
///
/// Scores are the sigmoid of the model's logits; with `raw_scores`, or without `use_activation`, they are the logits. Every key
/// of these services is honored or refused.
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
        (status = 404, description = "Unknown adapter.", body = CohereError<'_>),
        (status = 429, description = "Too many requests; retry after the time in `Retry-After`.", body = CohereError<'_>,
            headers(("retry-after" = u64, description = "When to retry, in seconds."))),
        (status = 503, description = "A part of the service is missing or not ready.", body = CohereError<'_>),
        (status = 504, description = "The deadline passed before every document had a score.", body = CohereError<'_>),
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
        (status = 404, description = "Unknown adapter.", body = CohereError<'_>),
        (status = 429, description = "Too many requests; retry after the time in `Retry-After`.", body = CohereError<'_>,
            headers(("retry-after" = u64, description = "When to retry, in seconds."))),
        (status = 503, description = "A part of the service is missing or not ready.", body = CohereError<'_>),
        (status = 504, description = "The deadline passed before every document had a score.", body = CohereError<'_>),
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

async fn in_tei(app: App, body: Bytes) -> Result<Response, ServerError> {
    let body: TeiRerank = app.read_lists("a rerank request", body, ["texts"]).await?;
    body.check()?;
    let TeiRerank { query, texts, raw_scores, return_text, model, .. } = body;
    let (activation, return_text) = (activation(raw_scores.unwrap_or(false)), return_text.unwrap_or(false));
    app.check_documents("texts", texts.len())?;
    let (scoring, candidates) = app.score(model.as_deref(), query, texts).await?;
    let scores = scores_of(scoring.scores)?;
    let rank = |index: usize| TeiRank {
        index,
        score: activation.apply(scores[index]),
        text: return_text.then(|| candidates[index].text.to_string()),
    };
    Ok(JsonBody(order(&scores).into_iter().map(rank).collect::<Vec<_>>()).into_response())
}

async fn in_cohere(app: App, arrival: Arrival, body: Bytes, returns_by_default: bool) -> Result<Response, ServerError> {
    let body: Rerank = app.read_lists("a rerank request", body, ["documents"]).await?;
    app.check_documents("documents", body.documents.len())?;
    body.check()?;
    let activation = activation(wants_logits(body.raw_scores, body.use_activation, body.activation)?);
    let Rerank {
        model, query, documents, top_n, rank_fields, return_documents, max_tokens_per_doc, request_id, ..
    } = body;
    let text = |document: &RerankDocument| cut(document.text(rank_fields.as_deref()), max_tokens_per_doc);
    let texts = documents.iter().map(text).collect();
    let (scoring, _) = app.score(model.as_deref(), query, texts).await?;
    let (model, n_tokens) = (name(&scoring.model), scoring.n_tokens);
    let scores = scores_of(scoring.scores)?;
    let mut documents: Vec<Option<RerankDocument>> = documents.into_iter().map(Some).collect();
    let returns = return_documents.unwrap_or(returns_by_default);
    let result = |index: usize| RerankedDocument {
        index,
        relevance_score: activation.apply(scores[index]),
        document: documents[index].take().filter(|_| returns).map(RerankDocument::into_object),
    };
    let results = order(&scores).into_iter().take(top_n.map_or(usize::MAX, NonZeroUsize::get)).map(result).collect();
    let usage = Usage { prompt_tokens: n_tokens, total_tokens: n_tokens };
    // Cohere bills a search of up to a hundred documents as one unit.
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"search_units": scores.len().div_ceil(100)}});
    let id = request_id.unwrap_or_else(|| arrival.request_id.to_string());
    Ok(JsonBody(Reranked { id, object: "list", model, results, usage, meta }).into_response())
}

/// These services show scores from 0 to 1, unless they are asked for logits.
fn activation(wants_logits: bool) -> Activation {
    if wants_logits { Activation::Identity } else { Activation::Sigmoid }
}
