//! Reranking in Cohere's format, and on the paths of compatible services: Jina, Infinity, DashScope's compatible mode.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonBody};
use lorank_core::{PassageOptions, PassageRule};
use serde_json::{Value as Json, json};

use super::super::{App, now_millis};
use super::activation;
use super::instruction::Instruction;
use super::ranking::{Entry, Job, Ranking};
use super::scoring::{cut, wants_logits};
use crate::ServerError;
use crate::error_shape::ErrorShape;
use crate::request_id::Arrival;
use crate::wire::{Flag, Rerank, RerankDocument, Reranked, RerankedDocument, passage_options};

/// The differences between services with the same keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// The default of `return_documents`.
    returns_by_default: bool,
    /// Whether documents are returned as strings.
    is_text: bool,
    /// The `object` of the answer.
    object: &'static str,
    error_shape: ErrorShape,
}

impl Style {
    /// Cohere, Together, SiliconFlow and Xinference.
    pub(super) const COHERE: Self =
        Self { returns_by_default: false, is_text: false, object: "rerank", error_shape: ErrorShape::Cohere };
    /// vLLM.
    pub(super) const VLLM: Self = Self { returns_by_default: true, ..Self::COHERE };
    /// Jina.
    const JINA: Self = Self { returns_by_default: true, object: "list", ..Self::COHERE };
    /// Infinity.
    const INFINITY: Self = Self { is_text: true, error_shape: ErrorShape::Infinity, ..Self::COHERE };
}

/// Rerank documents (Jina)
///
/// The same as `/v1/rerank` in Cohere's format, except that documents are returned unless `return_documents` is `false`.
#[utoipa::path(
    post,
    path = "/jina/v1/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = Rerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = Reranked),
    ),
)]
pub(crate) async fn jina(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    read(app, arrival, headers, body, Style::JINA).await
}

/// Rerank documents (Infinity)
///
/// The same as `/v1/rerank` in Cohere's format, except that documents are returned as strings.
#[utoipa::path(
    post,
    path = "/infinity/rerank",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = Rerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = Reranked),
    ),
)]
pub(crate) async fn infinity(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    read(app, arrival, headers, body, Style::INFINITY).await
}

/// Rerank documents (DashScope, compatible mode)
///
/// The same as `/v1/rerank` in Cohere's format.
#[utoipa::path(
    post,
    path = "/v1/reranks",
    tag = "rerank",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm.")),
    request_body(content = Rerank, example = json!({
        "query": "who invented the light bulb",
        "documents": ["Edison sold the first practical light bulb.", "A tulip bulb grows."]
    })),
    responses(
        (status = 200, description = "The results in rank order.", body = Reranked),
    ),
)]
pub(crate) async fn dashscope(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    read(app, arrival, headers, body, Style::COHERE).await
}

/// Parses the body and answers the request.
pub(super) async fn read(
    app: App,
    arrival: Arrival,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
    style: Style,
) -> Response {
    match app.json_bytes(&headers, body) {
        Ok(body) => answer(app, &arrival, &headers, body, style).await,
        Err(error) => style.error_shape.refuse(&error),
    }
}

/// Answers a request.
pub(super) async fn answer(app: App, arrival: &Arrival, headers: &HeaderMap, body: Bytes, style: Style) -> Response {
    reranked(app, arrival, headers, body, style).await.unwrap_or_else(|error| style.error_shape.refuse(&error))
}

async fn reranked(
    app: App,
    arrival: &Arrival,
    headers: &HeaderMap,
    body: Bytes,
    style: Style,
) -> Result<Response, ServerError> {
    let mut body: Rerank = app.read_lists("a rerank request", body, ["documents"]).await?;
    app.check_documents("documents", body.documents.len())?;
    body.check()?;
    let activation = activation(wants_logits(body.raw_scores, body.use_activation, body.activation)?);
    let query = cut(std::mem::take(&mut body.query), body.max_tokens_per_query);
    let (instruction, instruct) = (std::mem::take(&mut body.instruction), std::mem::take(&mut body.instruct));
    let instruction = Instruction::of_one("instruction", instruction, "instruct", instruct)?;
    let passages = passages(&body)?;
    let documents = app.job_documents(&body, &query)?;
    let job = Job { documents, model: body.model, query, instruction, top: body.top_n, activation, passages };
    let n_documents = job.documents.len();
    let Ranking { entries, model, usage, headers, warnings } = app.rank(arrival, headers, job).await?;
    let returns = body.return_documents.map_or(style.returns_by_default, |Flag(returns)| returns);
    let mut documents: Vec<Option<RerankDocument>> = body.documents.into_iter().map(Some).collect();
    let rank_fields = body.rank_fields.as_deref();
    let sent = |document: RerankDocument| match style.is_text {
        true => Json::String(document.into_text(rank_fields)),
        false => Json::Object(document.into_object()),
    };
    let result = |Entry { index, score, passage }: Entry| RerankedDocument {
        index,
        relevance_score: score,
        document: documents[index].take().filter(|_| returns).map(sent),
        passage,
    };
    let answer = Reranked {
        id: body.request_id.unwrap_or_else(|| arrival.request_id.to_string()),
        object: style.object,
        created: now_millis() / 1_000,
        model,
        results: entries.into_iter().map(result).collect(),
        usage,
        meta: meta(n_documents, usage.prompt_tokens, &warnings),
    };
    Ok((headers, JsonBody(answer)).into_response())
}

/// How long documents are scored. A request that splits its documents itself has their chunks scored whole.
fn passages(body: &Rerank) -> Result<PassageOptions, ServerError> {
    let given = passage_options(body.passages.as_deref(), body.passage_tokens, body.stride)?;
    match body.max_chunks_per_doc {
        None => Ok(given),
        Some(_) if given == PassageOptions::default() => Ok(PassageOptions { rule: Some(PassageRule::First), ..given }),
        Some(_) => {
            let problem = "cannot be combined with passages; send one of them".to_owned();
            Err(ServerError::InvalidValue { field: "max_chunks_per_doc".to_owned(), problem })
        }
    }
}

/// The number of tokens in the formats of Cohere and Xinference.
fn meta(n_documents: usize, n_tokens: usize, warnings: &[String]) -> Json {
    let mut meta = json!({
        "api_version": {"version": "2"},
        // Cohere bills a search of up to a hundred documents as one unit.
        "billed_units": {"search_units": n_documents.div_ceil(100)},
        "tokens": {"input_tokens": n_tokens, "output_tokens": 0},
    });
    if !warnings.is_empty() {
        meta["warnings"] = warnings.into();
    }
    meta
}
