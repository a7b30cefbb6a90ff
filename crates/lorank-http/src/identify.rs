//! The middleware around all routes: request ids, log spans, and error responses in the format of the route.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, Span, field};

use crate::error_response::error_response;
use crate::error_shape::ErrorShape;
use crate::request_id::{Arrival, REQUEST_ID};
use crate::{ContinueTrace, RequestId, ServerError, excerpt};

/// The maximum logged length of paths and methods, which clients can choose freely.
const PATH_BYTES_MAX: usize = 256;
const METHOD_BYTES_MAX: usize = 16;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Middleware that adds [`Arrival`] and a span to the request, adds the request id to the response, and writes error responses.
pub(crate) async fn identify(
    State(continue_trace): State<Option<ContinueTrace>>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = RequestId::from_headers(request.headers()).unwrap_or_else(RequestId::generate);
    let arrival = Arrival { request_id: request_id.clone(), at: Instant::now() };
    request.extensions_mut().insert(arrival);
    let span = span(&request, &request_id);
    let shape = ErrorShape::of_path(request.uri().path());
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    if let Some((continue_trace, traceparent)) = continue_trace.zip(traceparent) {
        continue_trace(&span, traceparent);
    }
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(error) = response.extensions_mut().remove::<Arc<ServerError>>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = match shape {
            Some(shape) => shape.refuse(&error),
            None => error_response(&error, &request_id),
        };
        response.headers_mut().extend(allow.map(|methods| (header::ALLOW, methods)));
    }
    span.record("status", response.status().as_u16());
    let value = HeaderValue::from_str(request_id.as_str()).expect("an id is visible ASCII");
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

fn span(request: &Request, id: &RequestId) -> Span {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // Without the query string, which contains the users' queries.
    let method = excerpt::start(request.method().as_str(), METHOD_BYTES_MAX);
    let path = excerpt::start(request.uri().path(), PATH_BYTES_MAX);
    tracing::info_span!("request", %id, %method, path, route, status = field::Empty)
}
