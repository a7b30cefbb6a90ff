//! Voyage's rerank API.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::{Activation, PassageOptions};

use super::super::App;
use super::ranking::{Entry, Job, JobDocument, Ranking};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::request_id::Arrival;
use crate::wire::{Flag, VoyageEntry, VoyageRerank, VoyageReranked};

/// Rerank documents (Voyage)
///
/// The same as `/v1/rerank` with `top_k`, for clients that do not send `top_k`.
#[utoipa::path(
    post,
    path = "/voyage/v1/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = VoyageRerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = VoyageReranked),
    ),
)]
pub(crate) async fn rerank(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match app.json_bytes(&headers, body) {
        Ok(body) => answer(app, &arrival, &headers, body).await,
        Err(error) => ErrorShape::Voyage.refuse(&error),
    }
}

/// Answers a request.
pub(super) async fn answer(app: App, arrival: &Arrival, headers: &HeaderMap, body: Bytes) -> Response {
    reranked(app, arrival, headers, body).await.unwrap_or_else(|error| ErrorShape::Voyage.refuse(&error))
}

async fn reranked(app: App, arrival: &Arrival, headers: &HeaderMap, body: Bytes) -> Result<Response, ServerError> {
    let body: VoyageRerank = app.read_lists("a rerank request", body, ["documents"]).await?;
    app.check_documents("documents", body.documents.len())?;
    body.check()?;
    let VoyageRerank { model, query, documents, top_k, return_documents, .. } = body;
    let returned = return_documents.filter(|Flag(returns)| *returns).map(|_| documents.clone());
    let documents = documents.into_iter().map(JobDocument::of_text).collect();
    let job = Job {
        model,
        query,
        instruction: None,
        documents,
        top: top_k,
        activation: Activation::Sigmoid,
        passages: PassageOptions::default(),
    };
    let Ranking { entries, model, usage, headers, .. } = app.rank(arrival, headers, job).await?;
    let entry = |Entry { index, score, .. }: Entry| {
        let document = returned.as_ref().map(|documents| documents[index].clone());
        VoyageEntry { index, relevance_score: score, document }
    };
    let data = entries.into_iter().map(entry).collect();
    Ok((headers, JsonBody(VoyageReranked { object: "list", data, model, usage })).into_response())
}
