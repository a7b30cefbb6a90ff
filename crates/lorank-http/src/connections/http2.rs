//! A connection that speaks HTTP/2 from its first byte ("prior knowledge", RFC 9113, 3.3), as proxies inside a network do.
//!
//! The limits in time are those of HTTP/1: for a first and for a next request, and for an answer that its client takes nothing of,
//! on the connection or on all of its streams. What a client can do with frames alone (resetting streams without end, heads of any
//! length) the h2 crate bounds, by the numbers below.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::deadline::past;
use super::progress::ConnectionProgress;
use super::stream::Stream;
use super::{CloseReason, ConnectionLimits};
use crate::LiveConfig;

/// How many requests may be under way on one connection.
const STREAMS_MAX: u32 = 100;

/// How many streams a client may have reset that were not looked at yet, and how many it may break the rules on, before the
/// connection is closed: what an attack by resets begins with (CVE-2023-44487).
const RESETS_MAX: usize = 50;

/// The longest head of a request.
const HEAD_BYTES_MAX: u32 = 64 << 10;

/// How much of a stream's answer is held that its client has not made room for.
const SEND_BYTES_MAX: usize = 256 << 10;

/// How long nothing may be heard of a client with requests under way before it is asked whether it is there, and then until it
/// answers.
const PING: Duration = Duration::from_secs(20);

/// How every connection of HTTP/2 begins, and none of HTTP/1: `PRI` is no method.
const PREFACE: [u8; 3] = *b"PRI";

/// How long to wait for the next byte of a preface that comes in pieces.
const PIECE: Duration = Duration::from_millis(2);

/// Whether a connection begins as HTTP/2 does, once its first bytes are there. They stay to be read.
pub(super) async fn is_http2(tcp: &TcpStream, limits: &ConnectionLimits) -> bool {
    let mut start = [0; PREFACE.len()];
    let mut first_byte_at = None;
    loop {
        match tcp.peek(&mut start).await {
            Ok(0) | Err(_) => return false,
            Ok(n) if start[..n] != PREFACE[..n] => return false,
            Ok(n) if n == PREFACE.len() => return true,
            // A slow head is for HTTP/1 to answer.
            Ok(_) if first_byte_at.get_or_insert_with(Instant::now).elapsed() > limits.header_read => return false,
            Ok(_) => sleep(PIECE).await,
        }
    }
}

/// Answers the requests of a connection until its client closes it or one of its limits is passed.
pub(super) async fn serve_http2(
    tcp: TcpStream,
    router: Router,
    config: LiveConfig,
    progress: ConnectionProgress,
    mut is_ending: watch::Receiver<bool>,
) -> CloseReason {
    let streams = Streams::new(progress.clone());
    let io = TokioIo::new(Stream { tcp, progress: progress.clone(), is_multiplexed: true });
    let service = TowerToHyperService::new(router);
    let answer = |request| answer(service.clone(), streams.open(), request);
    let mut connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(io, service_fn(answer));
    let mut close_requested = pin!(progress.close_requested());
    let mut is_asked_to_end = pin!(is_ending.wait_for(|is_ending| *is_ending));
    let (mut has_heard, mut makes_room) = (false, false);
    let mut timer = pin!(sleep(config.current().connections.keep_alive));
    poll_fn(|cx| {
        if let Poll::Ready(served) = Pin::new(&mut connection).poll(cx) {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            }
            return Poll::Ready(if makes_room { CloseReason::MadeRoom } else { CloseReason::Closed });
        }
        if !makes_room && close_requested.as_mut().poll(cx).is_ready() {
            if !streams.are_open() {
                return Poll::Ready(CloseReason::MadeRoom);
            }
            makes_room = true;
            Pin::new(&mut connection).graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        if !has_heard && is_asked_to_end.as_mut().poll(cx).is_ready() {
            has_heard = true;
            Pin::new(&mut connection).graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        let limits = &config.current().connections;
        past(streams.stalled_at(limits).or_else(|| progress.deadline(limits)), timer.as_mut(), cx)
    })
    .await
}

async fn answer(
    service: TowerToHyperService<Router>,
    stream: OpenStream,
    request: Request<Incoming>,
) -> Result<Response<StreamBody>, Infallible> {
    let response = service.call(request).await?;
    Ok(response.map(|inner| StreamBody { inner, answer: stream.answered() }))
}

/// The requests of a connection.
#[derive(Clone)]
struct Streams(Arc<StreamsInner>);

struct StreamsInner {
    progress: ConnectionProgress,
    state: Mutex<StreamsState>,
}

struct StreamsState {
    n_open: usize,
    /// Those whose answers are on their way.
    n_answered: usize,
    /// When an answer was last begun, taken from or over.
    answers_moved_at: Instant,
}

impl Streams {
    fn new(progress: ConnectionProgress) -> Self {
        let state = StreamsState { n_open: 0, n_answered: 0, answers_moved_at: Instant::now() };
        Self(Arc::new(StreamsInner { progress, state: Mutex::new(state) }))
    }

    fn open(&self) -> OpenStream {
        let mut state = self.lock();
        state.n_open += 1;
        if state.n_open == 1 {
            self.0.progress.request(false);
        }
        OpenStream(self.clone())
    }

    fn are_open(&self) -> bool {
        self.lock().n_open > 0
    }

    /// When the connection has to close since no client takes anything of its answers.
    fn stalled_at(&self, limits: &ConnectionLimits) -> Option<(Instant, CloseReason)> {
        let state = self.lock();
        (state.n_answered > 0).then(|| (state.answers_moved_at + limits.write, CloseReason::SlowWrite))
    }

    fn lock(&self) -> MutexGuard<'_, StreamsState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until it is dropped.
struct OpenStream(Streams);

impl OpenStream {
    fn answered(self) -> Answer {
        let mut state = self.0.lock();
        (state.n_answered, state.answers_moved_at) = (state.n_answered + 1, Instant::now());
        drop(state);
        Answer(self)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.n_open -= 1;
        if state.n_open == 0 {
            self.0.0.progress.answer_is_over();
            self.0.0.progress.has_flushed();
        }
    }
}

/// A request whose answer is on its way.
struct Answer(OpenStream);

impl Answer {
    fn moved(&self) {
        self.0.0.lock().answers_moved_at = Instant::now();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        (state.n_answered, state.answers_moved_at) = (state.n_answered - 1, Instant::now());
    }
}

/// An answer's body, which tells when it is asked for more.
struct StreamBody {
    inner: axum::body::Body,
    answer: Answer,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.answer.moved();
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
