//! vLLM's scoring API: `/score` and `/v1/score`.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::{Activation, Score};

use super::super::{App, now_millis};
use super::asked::model_header;
use super::instruction::Instruction;
use super::scoring::{groups_of, name, scores_of, wants_logits};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::request_id::Arrival;
use crate::wire::{OneOrMany, ScoreBody, Scored, ScoredPair, Usage};

/// The lists of a score request, with their synonyms.
pub(crate) const SCORE_LISTS: [&str; 7] = ["text_1", "queries", "data_1", "text_2", "documents", "items", "data_2"];

/// Score pairs (vLLM)
///
/// Scores are the logits after the model's own activation (the sigmoid, unless its configuration names another); they are the logits if
/// `use_activation` is `false`. Every key of vLLM is either honored or rejected.
#[utoipa::path(
    post,
    path = "/score",
    tag = "rerank",
    request_body(content = ScoreBody, example = json!({
        "text_1": "who invented the light bulb",
        "text_2": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The scores in the order of the pairs.", body = Scored),
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

/// Score pairs (vLLM v1)
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
        (status = 200, description = "The scores in the order of the pairs.", body = Scored),
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
    scored.await.unwrap_or_else(|error| ErrorShape::Cohere.refuse(&error))
}

async fn pairs(app: App, arrival: Arrival, body: Bytes) -> Result<Response, ServerError> {
    let body: ScoreBody = app.read_lists("a score request", body, SCORE_LISTS).await?;
    body.check()?;
    let wants_logits = wants_logits(body.raw_scores, body.use_activation, body.activation)?;
    let ScoreBody { model, text_1, text_2, request_id, instruction, .. } = body;
    let texts = match text_2 {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    app.check_documents("text_2", texts.len())?;
    let queries = match text_1 {
        OneOrMany::One(query) => vec![query],
        OneOrMany::Many(queries) => queries,
    };
    let groups = groups_of(("text_1", queries), ("text_2", texts))?;
    let asked = app.asked_to_score(model.as_deref())?;
    let instruction = Instruction::of("instruction", instruction);
    let scoring = app.clone().score_groups(asked.adapter.clone(), instruction, groups).await?;
    let activation = if wants_logits { Activation::Identity } else { app.own_activation(&scoring.model) };
    let (n_tokens, name_of_model) = (scoring.n_tokens, name(&scoring.model));
    let scores = scores_of(scoring.scores)?;
    let pair = |(index, score): (usize, &Score)| ScoredPair { index, object: "score", score: activation.apply(*score) };
    let answer = Scored {
        id: request_id.unwrap_or_else(|| arrival.request_id.to_string()),
        object: "list",
        created: now_millis() / 1_000,
        model: name_of_model,
        data: scores.iter().enumerate().map(pair).collect(),
        usage: Usage::reading(n_tokens),
    };
    Ok((model_header(&answer.model), JsonBody(answer)).into_response())
}
