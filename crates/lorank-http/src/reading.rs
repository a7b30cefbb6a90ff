//! The limits on request bodies: how long one may be, how long a client may take to send it, and how many bytes all of them may
//! hold together.
//!
//! The first limit is axum's own. tower-http's `RequestBodyTimeout` limits the time between two chunks, so a client that sends a
//! byte now and then would never reach it; the limit here is on the whole body.

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

/// How much is read of a body that is refused. A client that is still sending when its connection is closed may never see the
/// answer.
const DISCARDED_BYTES_MAX: usize = 32 << 20;

/// A layer that holds a request's body to the limits as they are when it comes.
pub(crate) async fn limit_body(State(live): State<LiveConfig>, mut request: Request, next: Next) -> Response {
    let config = live.current();
    // Of what is sent, before it is decoded.
    let length = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
    let expects_word = request.headers().contains_key(header::EXPECT);
    request = decoded(request, config.body_bytes_max);
    DefaultBodyLimit::max(config.body_bytes_max).apply(&mut request);
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Held until there is an answer: what was parsed from the body lives as long as its handler.
    let share = Arc::new(BodyShare::new(live.body_budget().clone(), HttpConfig::BODY_BYTES_FREE));
    let discards = !expects_word && length <= DISCARDED_BYTES_MAX;
    let limited = |body| Body::new(LimitedBody::new(body, length, discards, share.clone(), &config));
    let request = request.map(limited);
    let response = next.run(request).await;
    drop(share);
    response
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyLimitPassed {
    /// The body is announced to be too long.
    #[error("the body is longer than the limit of {bytes_max} bytes")]
    Length {
        /// The bytes for one body.
        bytes_max: usize,
    },
    /// The client took too long.
    #[error("the body was not complete after {} ms", limit.as_millis())]
    Time {
        /// The time for a whole body.
        limit: Duration,
    },
    /// All bodies together are too large.
    #[error("the bodies of all requests hold {bytes_max} bytes, which is the limit")]
    Budget {
        /// The bytes for all of them.
        bytes_max: usize,
    },
}

impl BodyLimitPassed {
    /// The limit that was passed, if an error came from one.
    pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut errors = std::iter::successors(Some(error), |error| (*error).source());
        errors.find_map(|error| error.downcast_ref::<Self>()).copied()
    }
}

/// A body that fails once it passes a limit.
struct LimitedBody {
    inner: Body,
    /// The limit that the body or its announced length passes.
    refused: Option<BodyLimitPassed>,
    /// How much may still be read once it is refused: nothing where the client waits for `100 Continue`, and so sends nothing.
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
