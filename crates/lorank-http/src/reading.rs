//! How long a body may be, and how long a client may take to send it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::LiveConfig;

/// A layer that holds a request's body to the limits as they are when it comes.
pub(crate) async fn limit_body(State(config): State<LiveConfig>, mut request: Request, next: Next) -> Response {
    let config = config.current();
    DefaultBodyLimit::max(config.body_bytes_max).apply(&mut request);
    if !request.body().is_end_stream() {
        request = request.map(|body| Body::new(TimedBody::new(body, config.body_read)));
    }
    next.run(request).await
}

/// The body took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("it was not complete after {} ms", limit.as_millis())]
pub(crate) struct TooSlow {
    limit: Duration,
}

impl TooSlow {
    /// The limit that was passed, if that is what is behind an error.
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Duration> {
        let mut errors = std::iter::successors(Some(error), |error| (*error).source());
        errors.find_map(|error| error.downcast_ref::<Self>()).map(|too_slow| too_slow.limit)
    }
}

/// A body that fails once it has taken too long.
struct TimedBody {
    inner: Body,
    timer: Pin<Box<Sleep>>,
    limit: Duration,
}

impl TimedBody {
    fn new(inner: Body, limit: Duration) -> Self {
        Self { inner, timer: Box::pin(sleep(limit)), limit }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(axum::Error::new(TooSlow { limit: self.limit }))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
