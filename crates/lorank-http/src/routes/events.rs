//! `/v1/events`: what people did with answers.

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use lorank_experiments::Event;
use serde_json::Value as Json;

use super::{App, now_millis};
use crate::ServerError;
use crate::lanes::Lane;
use crate::wire::{ErrorAnswer, EventsAnswer, EventsBody};

/// What people did with answers
///
/// Takes one event or a list of them in the shape of User Behavior Insights: all or none, on the disk before it answers.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "experiments",
    request_body(content = EventsBody, example = json!({
        "action_name": "click",
        "query_id": "0198c0de-0000-7000-8000-000000000000",
        "object_id": "p12",
        "timestamp": "2026-01-01T12:00:00Z",
        "event_attributes": {"position": {"ordinal": 1}}
    })),
    responses(
        (status = 200, description = "They are on the disk.", body = EventsAnswer),
        (status = 404, description = "This service runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "They could not be kept.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn submit(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let sent: Json = app.json("one event or a list of them", &headers, body).await?;
    app.in_lane(Lane::Events, move |app| {
        let events = match sent {
            Json::Array(events) => events,
            event => vec![event],
        };
        let read = |(n, event)| Event::from_json(event).map_err(|error| ServerError::Event { n, source: error });
        let events = events.into_iter().enumerate().map(read).collect::<Result<Vec<Event>, _>>()?;
        let submitted = app.store()?.submit(events, now_millis())?;
        Ok(JsonBody(EventsAnswer { accepted: submitted.accepted, duplicates: submitted.duplicates }))
    })
    .await
}
