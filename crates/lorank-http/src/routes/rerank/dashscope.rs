//! DashScope's native rerank API. Its compatible mode has Cohere's format: see [`documents`](super::documents).

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::{Activation, PassageOptions};
use serde_json::json;

use super::super::App;
use super::instruction::Instruction;
use super::ranking::{Entry, Job, JobDocument, Ranking};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::json::{parse, read_object};
use crate::request_id::Arrival;
use crate::wire::{
    DashScopeInput, DashScopeOutput, DashScopeParameters, DashScopeRerank, DashScopeReranked, Flag, RerankedDocument,
};

/// Rerank documents (DashScope, native)
#[utoipa::path(
    post,
    path = "/api/v1/services/rerank/text-rerank/text-rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = DashScopeRerank, example = json!({
        "input": {
            "query": "who invented the light bulb",
            "documents": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
        },
        "parameters": {"top_n": 1, "return_documents": true}
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = DashScopeReranked),
    ),
)]
pub(crate) async fn rerank(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let reranked = async { reranked(app.clone(), &arrival, &headers, app.json_bytes(&headers, body)?).await };
    reranked.await.unwrap_or_else(|error| ErrorShape::Cohere.refuse(&error))
}

async fn reranked(app: App, arrival: &Arrival, headers: &HeaderMap, body: Bytes) -> Result<Response, ServerError> {
    let read = |body: &[u8]| read_object::<DashScopeRerank>("a rerank request", body);
    let body = parse(&app.lanes, body, read).await?;
    let DashScopeInput { query, documents } = &body.input;
    app.check_documents("input.documents", documents.len())?;
    let (query, texts) = (query.clone(), documents.iter().cloned());
    let DashScopeParameters { top_n, return_documents, instruct } = body.parameters;
    let instruction = Instruction::of("parameters.instruct", instruct);
    let documents = texts.map(JobDocument::of_text).collect();
    let job = Job {
        model: body.model,
        query,
        instruction,
        documents,
        top: top_n,
        activation: Activation::Sigmoid,
        passages: PassageOptions::default(),
    };
    let Ranking { entries, usage, headers, .. } = app.rank(arrival, headers, job).await?;
    let returns = return_documents.is_some_and(|Flag(returns)| returns);
    let result = |Entry { index, score, .. }: Entry| RerankedDocument {
        index,
        relevance_score: score,
        document: returns.then(|| json!({"text": body.input.documents[index]})),
        passage: None,
    };
    let output = DashScopeOutput { results: entries.into_iter().map(result).collect() };
    let request_id = arrival.request_id.to_string();
    Ok((headers, JsonBody(DashScopeReranked { output, usage, request_id })).into_response())
}
