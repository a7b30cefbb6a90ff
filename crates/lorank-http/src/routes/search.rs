//! `/v1/search`.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use lorank_core::Candidate;
use lorank_experiment_pipeline::Trial;
use lorank_pipeline::{Cancellation, Fallback};

use super::{App, OfIndex, Params, now_millis};
use crate::json::parse;
use crate::request_id::Arrival;
use crate::wire::{ErrorAnswer, ParsedSearch, ParticipationJson, check_unit_id};
use crate::{OnOverloadJson, RetryAfter, SearchAnswer, SearchBody, ServerError};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const UNIT_ID: HeaderName = HeaderName::from_static("x-unit-id");

/// Search documents by query string
///
/// Takes the keys of the POST body as parameters. `q` is short for `query`; lists are comma-separated.
///
/// `filter.NAME=VALUE` matches documents with this value in the field; repeated, with any of the values. `filter.NAME!=VALUE`,
/// `filter.NAME>=VALUE`, `>`, `<=` and `<` are the other conditions.
#[utoipa::path(
    get,
    path = "/v1/search",
    tag = "search",
    params(
        ("q" = Option<String>, Query, description = "The query text.", example = "light bulb"),
        SearchBody,
        ("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm; the same as `unit_id`."),
    ),
    responses(
        (status = 200, description = "The hits in rank order.", body = SearchAnswer<'_>,
            headers(("server-timing" = String, description = "The duration of each step."))),
        (status = 404, description = "Unknown index, adapter, experiment or arm.", body = ErrorAnswer<'_>),
        (status = 422, description = "Invalid request.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many requests; retry after the time in `Retry-After`.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "Seconds to wait before retrying."))),
        (status = 503, description = "The index or the model is unavailable.", body = ErrorAnswer<'_>),
        (status = 504, description = "A search engine that is the first stage did not answer by the deadline.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn by_query_string(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<Response, ServerError> {
    search(app, index, SearchBody::from_query_string(pairs)?, &headers, arrival).await
}

/// Search documents
///
/// Only `query` is required. If reranking misses its deadline or fails, the hits are in first-stage order and `fallback` has the
/// reason.
#[utoipa::path(
    post,
    path = "/v1/search",
    tag = "search",
    params(("x-unit-id" = Option<String>, Header, description = "The unit that experiments assign to an arm; the same as `unit_id`.")),
    request_body(content = SearchBody, example = json!({
        "query": "who invented the light bulb",
        "top_k": 5,
        "depth": 50,
        "filters": {"year": {"gte": 1850, "lt": 1950}},
        "fields": ["title"],
        "explain": true
    })),
    responses(
        (status = 200, description = "The hits in rank order.", body = SearchAnswer<'_>,
            headers(("server-timing" = String, description = "The duration of each step."))),
        (status = 404, description = "Unknown index, adapter, experiment or arm.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many requests; retry after the time in `Retry-After`.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "Seconds to wait before retrying."))),
        (status = 503, description = "The index or the model is unavailable.", body = ErrorAnswer<'_>),
        (status = 504, description = "A search engine that is the first stage did not answer by the deadline.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn by_body(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ServerError> {
    let body = app.json_bytes(&headers, body)?;
    let body = parse(&app.lanes, body, SearchBody::from_json).await?;
    search(app, index, body, &headers, arrival).await
}

async fn search(
    app: App,
    index: String,
    mut body: SearchBody,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Response, ServerError> {
    app.service.index(&index)?;
    if body.unit_id.is_none() {
        body.unit_id = unit_id(headers)?;
    }
    let on_overload = body.on_overload;
    let ParsedSearch { request, shape, unit_id, experiment, arm } = body.into_request(arrival.at)?;
    let _cancel = CancelOnDrop(request.cancellation.clone());
    let request_id = arrival.request_id.to_string();
    let trial = Trial { request, request_id, unit_id, experiment, arm, at_millis: now_millis() };
    let work = move |app: &App| {
        let index_served = app.service.index(&index)?;
        let answered = index_served.engine.search(&trial)?;
        app.metrics.answered(&index, &answered);
        if let Some(refusal) = answered.answer.fallbacks().find_map(|reason| app.refusal(on_overload, reason)) {
            return Err(refusal);
        }
        let query = &trial.request.query.text;
        let mut answer = SearchAnswer::shaped(query, &answered.answer, &arrival.request_id, &shape);
        answer.experiment = answered.participation.as_ref().map(ParticipationJson::new);
        let hits: Vec<&Candidate> = answered.answer.hits.iter().map(|hit| &hit.candidate).collect();
        answer.warnings.extend(index_served.unknown_fields(&shape, &hits));
        let body = serde_json::to_vec(&answer).expect("the answer's keys are all texts");
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (SERVER_TIMING, server_timing(&answer))];
        Ok((headers, body).into_response())
    };
    app.search_work(work).await
}

impl App {
    /// The error that replaces a fallback answer, if any. By default a full queue is an error, because the client can retry or use
    /// another server instead of accepting first-stage order.
    fn refusal(&self, on_overload: Option<OnOverloadJson>, reason: &Fallback) -> Option<ServerError> {
        let refuses = on_overload.is_none() && *reason == Fallback::QueueFull;
        self.overload_of(reason).filter(|_| refuses)
    }

    /// The error for an overloaded model, if that is the reason.
    pub(super) fn overload_of(&self, reason: &Fallback) -> Option<ServerError> {
        match reason {
            Fallback::QueueFull => Some(ServerError::QueueFull { retry_after: self.retry_after() }),
            Fallback::WouldMissDeadline { retry_after } => {
                Some(ServerError::WouldMissDeadline { retry_after: RetryAfter::new(*retry_after) })
            }
            _ => None,
        }
    }
}

/// The unit id in the header of a request.
pub(super) fn unit_id(headers: &HeaderMap) -> Result<Option<String>, ServerError> {
    let text = |value: &axum::http::HeaderValue| String::from_utf8(value.as_bytes().to_vec());
    let problem = "is not valid UTF-8".to_owned();
    let invalid = |_| ServerError::InvalidValue { field: UNIT_ID.to_string(), problem };
    let unit_id = headers.get(UNIT_ID).map(text).transpose().map_err(invalid)?;
    check_unit_id(UNIT_ID.as_str(), unit_id.as_deref())?;
    Ok(unit_id)
}

/// Cancels the search if the client disconnects, because the handler is then dropped before its end.
pub(super) struct CancelOnDrop(pub Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The header `server-timing`, which browsers show in their network panel.
fn server_timing(answer: &SearchAnswer<'_>) -> String {
    let timings = &answer.timings_millis;
    let steps = [
        ("first_stage", timings.first_stage),
        ("cache", timings.cache),
        ("rerank", timings.rerank),
        ("total", timings.total),
    ];
    steps.map(|(step, millis)| format!("{step};dur={millis}")).join(", ")
}
