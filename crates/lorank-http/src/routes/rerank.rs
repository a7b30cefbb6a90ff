//! The rerank routes that clients of other services call.
//!
//! Each service's shape is a file of its own, with its wire types in `wire/`; all of them rank by [`ranking`]. Refusals are in each
//! service's own shape, so that its clients raise their own errors. Where one path serves two shapes, a key decides:
//!
//! | Path | Key | Shape |
//! |---|---|---|
//! | `/rerank` | `texts` | text-embeddings-inference |
//! | `/rerank` | `documents` | vLLM, which follows Cohere |
//! | `/v1/rerank` | `top_k` | Voyage |
//! | `/v1/rerank` | none | Cohere, and those that follow it |
//! | `/v1/reranking` | `input` | mixedbread |
//! | `/v1/reranking` | `documents` | llama.cpp, which follows Jina |
//!
//! Services that no key tells apart have paths of their own: `/jina/v1/rerank`, `/voyage/v1/rerank`, `/infinity/rerank`.

mod asked;
pub(crate) mod dashscope;
pub(crate) mod deepinfra;
pub(crate) mod documents;
pub(crate) mod mixedbread;
pub(crate) mod models;
pub(crate) mod nim;
mod passages;
mod ranking;
pub(crate) mod score;
mod scoring;
pub(crate) mod voyage;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::Activation;

use self::documents::Style;
use self::ranking::{Entry, Job, JobDocument, Ranking};
pub(crate) use self::score::SCORE_LISTS;
pub(crate) use self::scoring::{cut, read_with_lists};
use super::App;
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::json::{list_lengths, parse};
use crate::request_id::Arrival;
use crate::wire::{
    Rerank, Reranked, TeiRank, TeiRerank, UnversionedError, UnversionedRerank, UnversionedReranked, VersionedRerank,
    VersionedReranked,
};

/// Rerank, as text-embeddings-inference has it, or Cohere
///
/// With `texts` it is the former's, with `documents` the latter's, answers and errors alike.
#[utoipa::path(
    post,
    path = "/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "Whom experiments assign.")),
    request_body(content = UnversionedRerank, example = json!({
        "query": "who invented the light bulb",
        "texts": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = UnversionedReranked),
        (status = 424, description = "The model failed.", body = UnversionedError<'_>),
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
        Err(error) => return ErrorShape::Tei.refuse(&error),
    };
    if documents.is_some() && texts.is_some() {
        let problem = "stands beside `documents`; send one of them".to_owned();
        return ErrorShape::Cohere.refuse(&ServerError::InvalidValue { field: "texts".to_owned(), problem });
    }
    if documents.is_some() {
        return documents::answer(app, &arrival, &headers, body, Style::VLLM).await;
    }
    in_tei(app, &arrival, &headers, body).await.unwrap_or_else(|error| ErrorShape::Tei.refuse(&error))
}

/// Rerank, as Cohere and those that follow it have it, or Voyage
///
/// With `top_k` the request is Voyage's, and so are its keys and the answer, which has `data`; without it, it is Cohere's. Scores are
/// the sigmoid of the model's logits; with `raw_scores`, or without `use_activation`, they are the logits. Every key of these
/// services is honored or refused.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "Whom experiments assign.")),
    request_body(content = VersionedRerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", {"text": "A tulip bulb grows.", "title": "Tulips"}],
        "top_n": 1,
        "return_documents": true
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = VersionedReranked),
    ),
)]
pub(crate) async fn v1(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let read = async {
        let body = app.json_bytes(&headers, body)?;
        let [top_k] = parse(&app.lanes, body.clone(), |body| Ok(list_lengths(body, ["top_k"]))).await?;
        Ok((body, top_k.is_some()))
    };
    match read.await {
        Ok((body, true)) => voyage::answer(app, &arrival, &headers, body).await,
        Ok((body, false)) => documents::answer(app, &arrival, &headers, body, Style::COHERE).await,
        Err(error) => ErrorShape::Voyage.refuse(&error),
    }
}

/// Rerank, as Cohere has it in its second version
///
/// The same as Cohere's `/v1/rerank`.
#[utoipa::path(
    post,
    path = "/v2/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "Whom experiments assign.")),
    request_body(content = Rerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", {"text": "A tulip bulb grows.", "title": "Tulips"}],
        "top_n": 1,
        "return_documents": true
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = Reranked),
    ),
)]
pub(crate) async fn v2(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    documents::read(app, arrival, headers, body, Style::COHERE).await
}

async fn in_tei(app: App, arrival: &Arrival, headers: &HeaderMap, body: Bytes) -> Result<Response, ServerError> {
    let body: TeiRerank = app.read_lists("a rerank request", body, ["texts"]).await?;
    body.check()?;
    let TeiRerank { query, texts, raw_scores, return_text, model, top_n, .. } = body;
    app.check_documents("texts", texts.len())?;
    let returned = return_text.unwrap_or(false).then(|| texts.clone());
    let documents = texts.into_iter().map(JobDocument::of_text).collect();
    let activation = activation(raw_scores.unwrap_or(false));
    let job = Job { model, query, documents, top: top_n, activation };
    let Ranking { entries, headers, .. } = app.rank(arrival, headers, job).await?;
    let rank = |Entry { index, score }: Entry| {
        let text = returned.as_ref().map(|texts| texts[index].clone());
        TeiRank { index, score, text }
    };
    Ok((headers, JsonBody(entries.into_iter().map(rank).collect::<Vec<_>>())).into_response())
}

/// These services show scores from 0 to 1, unless they are asked for logits.
fn activation(wants_logits: bool) -> Activation {
    if wants_logits { Activation::Identity } else { Activation::Sigmoid }
}
