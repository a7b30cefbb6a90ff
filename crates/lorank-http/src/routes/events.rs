//! `/v1/events`: user behavior on search results.

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use lorank_experiments::{Event, ExperimentError};
use serde_json::Value as Json;

use super::{App, now_millis};
use crate::ServerError;
use crate::browser_checks::is_own_or_allowed;
use crate::encoding::expect_decoded;
use crate::json::{expect_json, parse, read};
use crate::lanes::Lane;
use crate::wire::{ErrorAnswer, EventsAnswer, EventsBody};

/// Submit events
///
/// Takes one event or an array of events in the format of User Behavior Insights. Either all or none are stored; they are on disk
/// when the response is sent.
///
/// Web pages can use `navigator.sendBeacon`, whose content type is `text/plain`; it is accepted from the server's own origin and
/// from `cors_origins`. If the server has keys, a page sends a key of the role `events` as `?key=KEY`. That role cannot do anything
/// else, so the key may be public.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "experiments",
    params(("key" = Option<String>, Query, description = "A key of the role `events`, instead of the header `authorization`.")),
    request_body(content = EventsBody, example = json!({
        "action_name": "click",
        "query_id": "0198c0de-0000-7000-8000-000000000000",
        "object_id": "p12",
        "timestamp": "2026-01-01T12:00:00Z",
        "event_attributes": {"position": {"ordinal": 1}}
    })),
    responses(
        (status = 200, description = "The events are stored.", body = EventsAnswer),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The events could not be stored, or were not confirmed in time and may be stored later. Sent again \
            with the same ids, they count once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "Seconds to wait before retrying."))),
    ),
)]
pub(crate) async fn submit(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    expect_beacon_or_json(&app, &uri, &headers)?;
    let body = app.bytes(body)?;
    let sent: Json = parse(&app.lanes, body, |body| read("one event or a list of them", body)).await?;
    app.in_lane(Lane::Events, move |app| {
        let store = app.store()?;
        let (now, skew) = (now_millis(), store.clock_skew_millis());
        let events = match sent {
            Json::Array(events) => events,
            event => vec![event],
        };
        let read = |event: Json| -> Result<Event, ExperimentError> {
            let event = Event::from_json(event)?;
            event.check_time(now, skew)?;
            Ok(event)
        };
        let numbered = |(n, event)| read(event).map_err(|source| ServerError::Event { n, source });
        let events = events.into_iter().enumerate().map(numbered).collect::<Result<Vec<Event>, _>>()?;
        Ok(JsonBody(EventsAnswer::from(store.submit(events, now)?)))
    })
    .await
}

/// Accepts JSON bodies with a JSON content type, and text bodies from pages of an allowed origin. Browsers send text without a
/// preflight request, so the origin is checked here.
fn expect_beacon_or_json(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<(), ServerError> {
    expect_decoded(headers)?;
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    let essence = content_type.as_deref().and_then(|value| value.split(|byte| *byte == b';').next());
    if essence.map(<[u8]>::trim_ascii) != Some(b"text/plain") {
        return expect_json(headers);
    }
    let origin = headers.get(header::ORIGIN);
    if origin.is_some_and(|origin| is_own_or_allowed(&app.config, origin, uri, headers)) {
        return Ok(());
    }
    let found = origin.map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
    Err(ServerError::ForeignText { found: found.unwrap_or_else(|| "(none)".to_owned()) })
}
