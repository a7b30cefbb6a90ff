//! mixedbread's rerank API, and llama.cpp's, which has the same path and Jina's format.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::{Activation, PassageOptions};
use serde_json::Value as Json;

use super::super::App;
use super::documents::{self, Style};
use super::ranking::{Entry, Job, JobDocument, Ranking};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::json::{list_lengths, parse};
use crate::request_id::Arrival;
use crate::wire::{Flag, MixedbreadEntry, MixedbreadRerank, MixedbreadReranked, RerankingAnswer, RerankingBody};

/// Rerank documents (mixedbread, llama.cpp)
///
/// A request with `input` has mixedbread's format; one with `documents` has Cohere's, which llama.cpp uses.
#[utoipa::path(
    post,
    path = "/v1/reranking",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = RerankingBody, example = json!({
        "query": "who invented the light bulb",
        "input": ["Edison sold the first practical light bulb.", "A tulip bulb grows."],
        "top_k": 1,
        "return_input": true
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = RerankingAnswer),
    ),
)]
pub(crate) async fn reranking(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let read = async {
        let body = app.json_bytes(&headers, body)?;
        let lists = parse(&app.lanes, body.clone(), |body| Ok(list_lengths(body, ["documents", "input"]))).await?;
        match lists {
            [Some(_), Some(_)] => {
                let problem = "cannot be combined with `documents`; send one of them".to_owned();
                Err(ServerError::InvalidValue { field: "input".to_owned(), problem })
            }
            [documents, _] => Ok((body, documents.is_some())),
        }
    };
    match read.await {
        Ok((body, true)) => documents::answer(app, &arrival, &headers, body, Style::COHERE).await,
        Ok((body, false)) => {
            reranked(app, &arrival, &headers, body).await.unwrap_or_else(|error| ErrorShape::Cohere.refuse(&error))
        }
        Err(error) => ErrorShape::Cohere.refuse(&error),
    }
}

async fn reranked(app: App, arrival: &Arrival, headers: &HeaderMap, body: Bytes) -> Result<Response, ServerError> {
    let body: MixedbreadRerank = app.read_lists("a rerank request", body, ["input"]).await?;
    app.check_documents("input", body.input.len())?;
    body.check()?;
    let MixedbreadRerank { model, query, input, rank_fields, top_k, return_input, .. } = body;
    let document = |document: &crate::wire::RerankDocument| {
        let text = document.text(rank_fields.as_deref());
        JobDocument { id: document.id(&text), passages: vec![text] }
    };
    let documents = input.iter().map(document).collect();
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
    let return_input = return_input.is_some_and(|Flag(returns)| returns);
    let as_sent = |index: usize| serde_json::to_value(&input[index]).expect("a document was parsed from JSON");
    let entry = |Entry { index, score, .. }: Entry| {
        let input: Option<Json> = return_input.then(|| as_sent(index));
        MixedbreadEntry { index, score, input, object: "rank_result" }
    };
    let data: Vec<MixedbreadEntry> = entries.into_iter().map(entry).collect();
    let answer = MixedbreadReranked { usage, model, top_k: data.len(), data, object: "list", return_input };
    Ok((headers, JsonBody(answer)).into_response())
}
