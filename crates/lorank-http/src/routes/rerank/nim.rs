//! NVIDIA NIM's ranking API.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::{Activation, PassageOptions};

use super::super::{App, Name};
use super::ranking::{Entry, Job, JobDocument, Ranking};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::request_id::Arrival;
use crate::wire::{NimEntry, NimRanking, NimRankings};

/// The end of the path after the name of the model.
const RERANKING: &str = "/reranking";

/// The name in NVIDIA's own path, which names no model.
const OWNER: &str = "nvidia";

/// Rank passages (NVIDIA NIM)
///
/// Scores are the model's logits.
#[utoipa::path(
    post,
    path = "/v1/ranking",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = NimRanking, example = json!({
        "model": "none",
        "query": {"text": "who invented the light bulb"},
        "passages": [{"text": "Edison sold the first practical light bulb."}, {"text": "A tulip bulb grows."}]
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = NimRankings),
    ),
)]
pub(crate) async fn ranking(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let ranked = async { ranked(app.clone(), &arrival, &headers, app.json_bytes(&headers, body)?, None).await };
    ranked.await.unwrap_or_else(|error| ErrorShape::Cohere.refuse(&error))
}

/// Rank passages by a model (NVIDIA NIM)
///
/// The name of the model is part of the path and may contain slashes. A `model` in the body must be the same name; `_` and `.` are
/// equivalent. If the path has `nvidia`, the body names the model.
#[utoipa::path(
    post,
    path = "/v1/retrieval/{*model}",
    tag = "rerank",
    params(("model" = String, Path, description = "An adapter or alias, or `none` for the base model.", example = "none"), ("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = NimRanking, example = json!({
        "model": "none",
        "query": {"text": "who invented the light bulb"},
        "passages": [{"text": "Edison sold the first practical light bulb."}, {"text": "A tulip bulb grows."}]
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = NimRankings),
    ),
)]
pub(crate) async fn reranking(
    State(app): State<App>,
    Name(path): Name,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(model) = path.strip_suffix(RERANKING).filter(|model| !model.is_empty()).map(str::to_owned) else {
        return ErrorShape::Cohere.refuse(&ServerError::UnknownRoute { path: format!("/v1/retrieval/{path}") });
    };
    let ranked = async { ranked(app.clone(), &arrival, &headers, app.json_bytes(&headers, body)?, Some(model)).await };
    ranked.await.unwrap_or_else(|error| ErrorShape::Cohere.refuse(&error))
}

async fn ranked(
    app: App,
    arrival: &Arrival,
    headers: &HeaderMap,
    body: Bytes,
    in_path: Option<String>,
) -> Result<Response, ServerError> {
    let body: NimRanking = app.read_lists("a ranking request", body, ["passages"]).await?;
    app.check_documents("passages", body.passages.len())?;
    body.check()?;
    let NimRanking { model, query, passages, top_k, top_n, .. } = body;
    let documents = passages.into_iter().map(|passage| JobDocument::of_text(passage.text)).collect();
    let (model, top) = (one_model(in_path, model)?, top_k.or(top_n));
    let job = Job {
        model,
        query: query.text,
        instruction: None,
        documents,
        top,
        activation: Activation::Identity,
        passages: PassageOptions::default(),
    };
    let Ranking { entries, usage, headers, .. } = app.rank(arrival, headers, job).await?;
    let rankings = entries.into_iter().map(|Entry { index, score, .. }| NimEntry { index, logit: score }).collect();
    Ok((headers, JsonBody(NimRankings { rankings, usage })).into_response())
}

/// The model that the path names, or else the body: `/v1/retrieval/nvidia/reranking` names none. LiteLLM replaces each `_` of the
/// path by `.` in the body.
fn one_model(in_path: Option<String>, in_body: Option<String>) -> Result<Option<String>, ServerError> {
    let dotted = |name: &str| name.replace('_', ".");
    match (in_path.filter(|path| path != OWNER), in_body) {
        (Some(path), Some(body)) if dotted(&path) != dotted(&body) => {
            let problem = format!("is `{body}`, but the path names `{path}`; name one model");
            Err(ServerError::InvalidValue { field: "model".to_owned(), problem })
        }
        (Some(path), _) => Ok(Some(path)),
        (None, body) => Ok(body),
    }
}
