//! `/v1/judgments`: relevance judgments, from which reports compute nDCG.

use std::io::Write;

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use lorank_experiment_store::{ExperimentStore, ExperimentStoreError, Judgment, JudgmentCounts};

use super::App;
use crate::ServerError;
use crate::lanes::Lane;
use crate::streamed::{AnswerWriter, streamed};
use crate::wire::{ErrorAnswer, JudgmentCountsJson, JudgmentList, JudgmentsBody};

/// List judgments
#[utoipa::path(
    get,
    path = "/v1/judgments",
    tag = "experiments",
    responses(
        (status = 200, description = "The stored judgments.", body = JudgmentList),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn list(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    let place = app.lanes.enter(Lane::Reports).await?;
    let (mut json, answer) = streamed();
    // The export continues while the response is sent.
    tokio::spawn(app.blocking(move |app| {
        let _place = place;
        let written = app.store().and_then(|store| write(store, &mut json));
        json.finish(written);
        Ok(())
    }));
    Ok(([(header::CONTENT_TYPE, "application/json")], answer.begin().await?))
}

fn write(store: &ExperimentStore, json: &mut AnswerWriter) -> Result<(), ServerError> {
    // The client may have disconnected.
    let _ = json.write_all(b"{\"judgments\":");
    store.write_judgments(&mut *json)?;
    let _ = json.write_all(b"}");
    Ok(())
}

/// Replace all judgments
///
/// Reports compute nDCG@10 of the answers of all experiments from them. Either all are stored, or none.
#[utoipa::path(
    put,
    path = "/v1/judgments",
    tag = "experiments",
    request_body(content = JudgmentsBody, example = json!({
        "judgments": [{"query": "boil an egg", "document": "p12", "grade": 2}]
    })),
    responses(
        (status = 200, description = "The judgments are stored.", body = JudgmentCountsJson),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn replace(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    judge(app, &headers, body, ExperimentStore::set_judgments).await
}

/// Add judgments
///
/// A judgment replaces an existing one of the same query and document. Either all are stored, or none.
#[utoipa::path(
    post,
    path = "/v1/judgments",
    tag = "experiments",
    request_body(content = JudgmentsBody, example = json!({
        "queries": {"q1": "boil an egg"},
        "qrels": "q1 0 p12 2\nq1 0 p7 0\n"
    })),
    responses(
        (status = 200, description = "The judgments are stored.", body = JudgmentCountsJson),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    judge(app, &headers, body, ExperimentStore::add_judgments).await
}

/// Delete all judgments
#[utoipa::path(
    delete,
    path = "/v1/judgments",
    tag = "experiments",
    responses(
        (status = 204, description = "The judgments were deleted."),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn delete(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Operations, |app| {
        app.store()?.set_judgments(Vec::new())?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn judge(
    app: App,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    write: fn(&ExperimentStore, Vec<Judgment>) -> Result<JudgmentCounts, ExperimentStoreError>,
) -> Result<JsonBody<JudgmentCountsJson>, ServerError> {
    let sent: JudgmentsBody = app.json("judgments", headers, body).await?;
    app.in_lane(Lane::Operations, move |app| {
        let counts = write(app.store()?, sent.into_judgments()?)?;
        Ok(JsonBody(counts.into()))
    })
    .await
}
