//! `/v1/events`: what people did with answers.

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use lorank_experiments::Event;
use serde_json::{Value as Json, json};

use super::{App, now_millis};
use crate::ServerError;

/// Takes one event or a list of them in the shape of User Behavior Insights: all or none, on the disk before it answers.
pub(crate) async fn submit(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let events = match app.json(&headers, body)? {
        Json::Array(events) => events,
        event => vec![event],
    };
    let read = |(n, event)| Event::from_json(event).map_err(|error| ServerError::Event { n, source: error });
    let events = events.into_iter().enumerate().map(read).collect::<Result<Vec<Event>, _>>()?;
    app.blocking(move |app| {
        let submitted = app.store()?.submit(events, now_millis())?;
        Ok(JsonBody(json!({ "accepted": submitted.accepted, "duplicates": submitted.duplicates })))
    })
    .await
}
