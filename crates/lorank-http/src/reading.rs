//! The limits on request bodies: length, time, and the total bytes of all bodies.
//!
//! axum implements the first limit. tower-http's `RequestBodyTimeout` limits the time between two chunks, so a client that sends
//! single bytes slowly never exceeds it; the limit here applies to the whole body.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::body_budget::BodyShare;
use crate::encoding::decoded;
use crate::{HttpConfig, LiveConfig};

/// The number of bytes read from a rejected body. A client that is still sending when its connection is closed may not receive the
/// response.
const DISCARDED_BYTES_MAX: usize = 32 << 20;

/// Middleware that enforces the current limits on a request's body.
pub(crate) async fn limit_body(State(live): State<LiveConfig>, mut request: Request, next: Next) -> Response {
    let config = live.current();
    // The length before decoding.
    let length = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
    let expects_word = request.headers().contains_key(header::EXPECT);
    request = decoded(request, config.body_bytes_max);
    DefaultBodyLimit::max(config.body_bytes_max).apply(&mut request);
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Held until the response, because the parsed body lives as long as its handler.
    let share = Arc::new(BodyShare::new(live.body_budget().clone(), HttpConfig::BODY_BYTES_FREE));
    let discards = !expects_word && length <= DISCARDED_BYTES_MAX;
    let limited = |body| Body::new(LimitedBody::new(body, length, discards, share.clone(), &config));
    let request = request.map(limited);
    let response = next.run(request).await;
    drop(share);
    response
}

/// An exceeded limit on a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyLimitPassed {
    /// The declared length exceeds the limit.
    #[error("the body is longer than the limit of {bytes_max} bytes")]
    Length {
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The client was too slow.
    #[error("the body was not complete after {} ms", limit.as_millis())]
    Time {
        /// The time limit for a body.
        limit: Duration,
    },
    /// The total of all bodies exceeds the limit.
    #[error("the bodies of all requests exceed the limit of {bytes_max} bytes")]
    Budget {
        /// The limit in bytes for all bodies.
        bytes_max: usize,
    },
}

impl BodyLimitPassed {
    /// The exceeded limit among the causes of an error, if any.
    pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut errors = std::iter::successors(Some(error), |error| (*error).source());
        errors.find_map(|error| error.downcast_ref::<Self>()).copied()
    }
}

/// A body that fails when it exceeds a limit.
struct LimitedBody {
    inner: Body,
    /// The limit that the body or its declared length exceeds.
    refused: Option<BodyLimitPassed>,
    /// The number of bytes to read after the rejection: none if the client waits for `100 Continue`.
    n_discarded_max: usize,
    share: Arc<BodyShare>,
    bytes_max: usize,
    timer: Pin<Box<Sleep>>,
    limit: Duration,
}

impl LimitedBody {
    fn new(inner: Body, length: usize, discards: bool, share: Arc<BodyShare>, config: &HttpConfig) -> Self {
        let (bytes_max, limit) = (config.bodies_bytes_max, config.body_read);
        let n_discarded_max = if discards { DISCARDED_BYTES_MAX } else { 0 };
        let refused = if length > config.body_bytes_max {
            Some(BodyLimitPassed::Length { bytes_max: config.body_bytes_max })
        } else {
            (!share.has_room(length, bytes_max)).then_some(BodyLimitPassed::Budget { bytes_max })
        };
        Self { inner, refused, n_discarded_max, share, bytes_max, timer: Box::pin(sleep(limit)), limit }
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let failed = |passed: BodyLimitPassed| Poll::Ready(Some(Err(axum::Error::new(passed))));
        loop {
            if let Some(passed) = self.refused.filter(|_| self.n_discarded_max == 0) {
                return failed(passed);
            }
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
                ready!(self.timer.as_mut().poll(cx));
                return failed(self.refused.unwrap_or(BodyLimitPassed::Time { limit: self.limit }));
            };
            let n_bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                _ => return self.refused.map_or(Poll::Ready(frame), failed),
            };
            if self.refused.is_some() {
                self.n_discarded_max = self.n_discarded_max.saturating_sub(n_bytes);
            } else if self.share.take(n_bytes, self.bytes_max) {
                return Poll::Ready(frame);
            } else {
                self.refused = Some(BodyLimitPassed::Budget { bytes_max: self.bytes_max });
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
