//! What every request has: an id, a moment of arrival, and errors in one shape.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::{ContinueTrace, ServerError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id of a request, for logs and support: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id: a UUID of version 7, so ids sort by time.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id that the caller sent, if it is fit to be logged and sent back.
    fn sent_with(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(REQUEST_ID)?.to_str().ok()?;
        let is_fit = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_fit.then(|| Self(text.into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a handler knows of its request beside what was sent.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub request_id: RequestId,
    /// A deadline counts from here, the time to read the body included.
    pub at: Instant,
}

/// The outermost layer: gives the request its [`Arrival`] and the answer its id, and writes errors out.
pub(crate) async fn identify(
    State(continue_trace): State<Option<ContinueTrace>>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = RequestId::sent_with(request.headers()).unwrap_or_else(RequestId::generate);
    let arrival = Arrival { request_id: request_id.clone(), at: Instant::now() };
    request.extensions_mut().insert(arrival);
    let span = span(&request, &request_id);
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    if let Some((continue_trace, traceparent)) = continue_trace.zip(traceparent) {
        continue_trace(&span, traceparent);
    }
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(error) = response.extensions_mut().remove::<Arc<ServerError>>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = error.to_response(&request_id);
        response.headers_mut().extend(allow.map(|methods| (header::ALLOW, methods)));
    }
    span.record("status", response.status().as_u16());
    let value = HeaderValue::from_str(request_id.as_str()).expect("an id is visible ASCII");
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

fn span(request: &Request, id: &RequestId) -> Span {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // The path alone: the query string holds what people search for.
    let (method, path) = (request.method(), request.uri().path());
    tracing::info_span!("request", %id, %method, path, route, status = field::Empty)
}
