//! Bodies of requests and answers, which tell when they are over.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::progress::ConnectionProgress;

/// A request's body, which drops a guard when it comes to its end or when nobody wants the rest of it.
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

/// Tells a connection that the body of its request is over, when it is dropped.
pub(super) struct TellsBodyIsOver(pub ConnectionProgress);

impl Drop for TellsBodyIsOver {
    fn drop(&mut self) {
        self.0.body_is_over();
    }
}

/// An answer's body.
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
