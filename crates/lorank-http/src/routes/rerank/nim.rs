//! Ranking as NVIDIA NIM has it.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::Activation;

use super::super::{App, Name};
use super::ranking::{Entry, Job, JobDocument, Ranking};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::request_id::Arrival;
use crate::wire::{NimEntry, NimRanking, NimRankings};

/// What stands after the model's name in a path.
const RERANKING: &str = "/reranking";

/// What stands in the model's place where NVIDIA's own path names none.
const OWNER: &str = "nvidia";

/// Rank passages, as NVIDIA NIM has it
///
/// The logits are the model's.
#[utoipa::path(
    post,
    path = "/v1/ranking",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "Whom experiments assign.")),
    request_body(content = NimRanking, example = json!({
        "model": "none",
        "query": {"text": "who invented the light bulb"},
        "passages": [{"text": "Edison sold the first practical light bulb."}, {"text": "A tulip bulb grows."}]
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = NimRankings),
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

/// Rank passages by a model in the path, as NVIDIA NIM has it
///
/// The name may have slashes. A `model` in the body has to be the same, `_` as good as `.`; with `nvidia` in the path the body names
/// it.
#[utoipa::path(
    post,
    path = "/v1/retrieval/{*model}",
    tag = "rerank",
    params(("model" = String, Path, description = "The adapter or alias.", example = "none"), ("x-unit-id" = Option<String>, Header, description = "Whom experiments assign.")),
    request_body(content = NimRanking, example = json!({
        "model": "none",
        "query": {"text": "who invented the light bulb"},
        "passages": [{"text": "Edison sold the first practical light bulb."}, {"text": "A tulip bulb grows."}]
    })),
    responses(
        (status = 200, description = "The entries, best first.", body = NimRankings),
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
    let job = Job { model, query: query.text, documents, top, activation: Activation::Identity };
    let Ranking { entries, usage, headers, .. } = app.rank(arrival, headers, job).await?;
    let rankings = entries.into_iter().map(|Entry { index, score }| NimEntry { index, logit: score }).collect();
    Ok((headers, JsonBody(NimRankings { rankings, usage })).into_response())
}

/// The model that the path names, else the body: `/v1/retrieval/nvidia/reranking` names none. LiteLLM writes `.` in the body for each `_` of the path.
fn one_model(in_path: Option<String>, in_body: Option<String>) -> Result<Option<String>, ServerError> {
    let dotted = |name: &str| name.replace('_', ".");
    match (in_path.filter(|path| path != OWNER), in_body) {
        (Some(path), Some(body)) if dotted(&path) != dotted(&body) => {
            let problem = format!("is `{body}`, and the path names `{path}`; name one model");
            Err(ServerError::InvalidValue { field: "model".to_owned(), problem })
        }
        (Some(path), _) => Ok(Some(path)),
        (None, body) => Ok(body),
    }
}
