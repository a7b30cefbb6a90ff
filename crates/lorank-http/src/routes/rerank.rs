//! The rerank routes for clients of other services.
//!
//! Each service's format has its own file, and its types in `wire/`; all use [`ranking`]. Errors have the service's own format, so
//! that its clients raise their usual exceptions. If a path serves two formats, a key decides:
//!
//! | Path | Key | Format |
//! |---|---|---|
//! | `/rerank` | `texts` | text-embeddings-inference |
//! | `/rerank` | `documents` | vLLM, compatible with Cohere |
//! | `/v1/rerank` | `top_k` | Voyage |
//! | `/v1/rerank` | none | Cohere and compatible services |
//! | `/v1/reranking` | `input` | mixedbread |
//! | `/v1/reranking` | `documents` | llama.cpp, compatible with Jina |
//!
//! Services that cannot be distinguished by a key have their own paths: `/jina/v1/rerank`, `/voyage/v1/rerank`, `/infinity/rerank`.

mod asked;
pub(crate) mod dashscope;
pub(crate) mod deepinfra;
pub(crate) mod documents;
mod instruction;
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
use lorank_core::{Activation, PassageOptions};

use self::documents::Style;
use self::instruction::Instruction;
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

/// Rerank documents (text-embeddings-inference, vLLM)
///
/// A request with `texts` has the format of text-embeddings-inference; one with `documents` has Cohere's, which vLLM uses. Answers and
/// errors have the same format as the request.
#[utoipa::path(
    post,
    path = "/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = UnversionedRerank, example = json!({
        "query": "who invented the light bulb",
        "texts": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = UnversionedReranked),
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
        let problem = "cannot be combined with `documents`; send one of them".to_owned();
        return ErrorShape::Cohere.refuse(&ServerError::InvalidValue { field: "texts".to_owned(), problem });
    }
    if documents.is_some() {
        return documents::answer(app, &arrival, &headers, body, Style::VLLM).await;
    }
    in_tei(app, &arrival, &headers, body).await.unwrap_or_else(|error| ErrorShape::Tei.refuse(&error))
}

/// Rerank documents (Cohere v1, Voyage and compatible services)
///
/// A request with `top_k` has Voyage's format, and so has the answer, with `data`. Other requests have Cohere's format. Scores are
/// the sigmoid of the model's logits, or the logits with `raw_scores` or `"use_activation": false`. Every key of these services is
/// either honored or rejected.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = VersionedRerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", {"text": "A tulip bulb grows.", "title": "Tulips"}],
        "top_n": 1,
        "return_documents": true
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = VersionedReranked),
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

/// Rerank documents (Cohere v2)
///
/// The same as `/v1/rerank` in Cohere's format.
#[utoipa::path(
    post,
    path = "/v2/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = Rerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", {"text": "A tulip bulb grows.", "title": "Tulips"}],
        "top_n": 1,
        "return_documents": true
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = Reranked),
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
    let TeiRerank { query, texts, raw_scores, return_text, model, top_n, instruction, .. } = body;
    app.check_documents("texts", texts.len())?;
    let returned = return_text.unwrap_or(false).then(|| texts.clone());
    let documents = texts.into_iter().map(JobDocument::of_text).collect();
    let activation = activation(raw_scores.unwrap_or(false));
    let instruction = Instruction::of("instruction", instruction);
    let job = Job { model, query, instruction, documents, top: top_n, activation, passages: PassageOptions::default() };
    let Ranking { entries, headers, .. } = app.rank(arrival, headers, job).await?;
    let rank = |Entry { index, score, .. }: Entry| {
        let text = returned.as_ref().map(|texts| texts[index].clone());
        TeiRank { index, score, text }
    };
    Ok((headers, JsonBody(entries.into_iter().map(rank).collect::<Vec<_>>())).into_response())
}

/// These services return scores from 0 to 1 unless logits are requested.
fn activation(wants_logits: bool) -> Activation {
    if wants_logits { Activation::Identity } else { Activation::Sigmoid }
}
