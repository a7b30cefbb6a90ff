//! DeepInfra's scoring API.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::Activation;

use super::super::{App, Name};
use super::asked::model_header;
use super::instruction::Instruction;
use super::scoring::{groups_of, name, scores_of};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::request_id::Arrival;
use crate::wire::{DeepInfraScore, DeepInfraScored, DeepInfraStatus};

/// Score documents (DeepInfra)
///
/// The name of the model is part of the path and may contain slashes. Scores are the sigmoid of the model's logits.
#[utoipa::path(
    post,
    path = "/v1/inference/{*model}",
    tag = "rerank",
    params(("model" = String, Path, description = "An adapter or alias, or `none` for the base model.", example = "none")),
    request_body(content = DeepInfraScore, example = json!({
        "queries": ["who invented the light bulb"],
        "documents": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The scores in the order of the documents.", body = DeepInfraScored),
    ),
)]
pub(crate) async fn inference(
    State(app): State<App>,
    Name(model): Name,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let scored = async { scored(app.clone(), &arrival, app.json_bytes(&headers, body)?, &model).await };
    scored.await.unwrap_or_else(|error| ErrorShape::Cohere.refuse(&error))
}

async fn scored(app: App, arrival: &Arrival, body: Bytes, model: &str) -> Result<Response, ServerError> {
    let body: DeepInfraScore = app.read_lists("a score request", body, ["queries", "documents"]).await?;
    body.check()?;
    app.check_documents("documents", body.documents.len())?;
    let groups = groups_of(("queries", body.queries), ("documents", body.documents))?;
    let asked = app.asked_to_score(Some(model))?;
    let scoring = app.score_groups(asked.adapter, Instruction::of("instruction", body.instruction), groups).await?;
    let (n_tokens, model, took) = (scoring.n_tokens, name(&scoring.model), scoring.took);
    let scores = scores_of(scoring.scores)?;
    let answer = DeepInfraScored {
        scores: scores.into_iter().map(|score| Activation::Sigmoid.apply(score)).collect(),
        input_tokens: n_tokens,
        request_id: arrival.request_id.to_string(),
        inference_status: DeepInfraStatus {
            status: "succeeded",
            runtime_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            cost: 0.0,
            tokens_generated: 0,
            tokens_input: n_tokens,
        },
    };
    Ok((model_header(&model), JsonBody(answer)).into_response())
}
