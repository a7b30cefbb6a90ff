//! Bodies of requests and responses that report their end.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::progress::ConnectionProgress;

/// A request body that drops a guard at its end, or when its rest is discarded.
pub(super) struct RequestBody<G> {
    pub inner: Incoming,
    pub until_over: Option<G>,
}

impl<G: Unpin> Body for RequestBody<G> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if self.inner.is_end_stream() || matches!(frame, Poll::Ready(None)) {
            self.until_over = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Reports the end of a request body to the connection when dropped.
pub(super) struct TellsBodyIsOver(pub ConnectionProgress);

impl Drop for TellsBodyIsOver {
    fn drop(&mut self) {
        self.0.body_is_over();
    }
}

/// A response body.
pub(super) struct AnswerBody {
    pub inner: axum::body::Body,
    pub progress: ConnectionProgress,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.progress.answer_is_over();
    }
}
