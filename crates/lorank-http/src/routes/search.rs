//! `/v1/search`.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use lorank_experiment_pipeline::Trial;
use lorank_pipeline::{Cancellation, Fallback};

use super::{App, OfIndex, Params, now_millis};
use crate::json::parse;
use crate::request_id::Arrival;
use crate::wire::{ErrorAnswer, ParsedSearch, ParticipationJson, check_unit_id};
use crate::{OnOverloadJson, RetryAfter, SearchAnswer, SearchBody, ServerError};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const UNIT_ID: HeaderName = HeaderName::from_static("x-unit-id");

/// Search, by a query string
///
/// `q` is short for `query`, and lists are separated by commas. `filter.NAME=VALUE`, given once or more, wants one of these values
/// in the field; `filter.NAME!=VALUE`, `filter.NAME>=VALUE`, `>`, `<=` and `<` are the other conditions.
#[utoipa::path(
    get,
    path = "/v1/search",
    tag = "search",
    params(
        ("q" = Option<String>, Query, description = "What is searched for.", example = "light bulb"),
        SearchBody,
        ("x-unit-id" = Option<String>, Header, description = "Whom experiments assign, as `unit_id`."),
    ),
    responses(
        (status = 200, description = "The hits, best first.", body = SearchAnswer<'_>,
            headers(("server-timing" = String, description = "How long each step took."))),
        (status = 404, description = "It names an index, an adapter, an experiment or an arm that is not there.", body = ErrorAnswer<'_>),
        (status = 422, description = "It says something impossible.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too much is asked at once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = ErrorAnswer<'_>),
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

/// Search
///
/// Only `query` is needed. Where reranking is late or fails, the answer comes in first-stage order and says so in `fallback`.
#[utoipa::path(
    post,
    path = "/v1/search",
    tag = "search",
    params(("x-unit-id" = Option<String>, Header, description = "Whom experiments assign, as `unit_id`.")),
    request_body(content = SearchBody, example = json!({
        "query": "who invented the light bulb",
        "top_k": 5,
        "depth": 50,
        "filters": {"year": {"gte": 1850, "lt": 1950}},
        "fields": ["title"],
        "explain": true
    })),
    responses(
        (status = 200, description = "The hits, best first.", body = SearchAnswer<'_>,
            headers(("server-timing" = String, description = "How long each step took."))),
        (status = 404, description = "It names an index, an adapter, an experiment or an arm that is not there.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too much is asked at once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = ErrorAnswer<'_>),
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
        let answered = app.service.index(&index)?.engine.search(&trial)?;
        app.metrics.answered(&index, &answered);
        if let Some(refusal) = answered.answer.fallback.as_ref().and_then(|reason| app.refusal(on_overload, reason)) {
            return Err(refusal);
        }
        let query = &trial.request.query.text;
        let mut answer = SearchAnswer::shaped(query, &answered.answer, &arrival.request_id, &shape);
        answer.experiment = answered.participation.as_ref().map(ParticipationJson::new);
        let body = serde_json::to_vec(&answer).expect("the answer's keys are all texts");
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (SERVER_TIMING, server_timing(&answer))];
        Ok((headers, body).into_response())
    };
    app.search_work(work).await
}

impl App {
    /// The error in place of an answer that fell back, if there is to be one. A caller that does not say can do better with a
    /// full queue than take an order that was not asked for: try again, or go to another server.
    fn refusal(&self, on_overload: Option<OnOverloadJson>, reason: &Fallback) -> Option<ServerError> {
        let refuses = on_overload.is_none() && *reason == Fallback::QueueFull;
        self.overload_of(reason).filter(|_| refuses)
    }

    /// The error for a model that has too much to do, if that is the reason.
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

/// Whom experiments assign, by the header of a request.
pub(super) fn unit_id(headers: &HeaderMap) -> Result<Option<String>, ServerError> {
    let text = |value: &axum::http::HeaderValue| String::from_utf8(value.as_bytes().to_vec());
    let problem = "is not valid UTF-8".to_owned();
    let invalid = |_| ServerError::InvalidValue { field: UNIT_ID.to_string(), problem };
    let unit_id = headers.get(UNIT_ID).map(text).transpose().map_err(invalid)?;
    check_unit_id(UNIT_ID.as_str(), unit_id.as_deref())?;
    Ok(unit_id)
}

/// Tells the pipeline when the caller has hung up: the handler is then dropped before its end.
pub(super) struct CancelOnDrop(pub Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The timings for a browser's network panel.
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
