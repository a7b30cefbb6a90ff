//! A connection with HTTP/2 from its first byte ("prior knowledge", RFC 9113, 3.3), which proxies use in internal networks.
//!
//! The time limits are those of HTTP/1: for the first and the next request, and for a client that does not read its responses, on
//! the connection or on one of its streams. The h2 crate limits attacks by frames (endless stream resets, long heads) by the
//! constants below.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
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

use super::bodies::RequestBody;
use super::drive::{CloseAt, drive};
use super::progress::ConnectionProgress;
use super::stream::Stream;
use super::{CloseReason, ConnectionLimits};
use crate::LiveConfig;

/// The maximum number of concurrent requests on a connection.
const STREAMS_MAX: u32 = 100;

/// The maximum number of pending stream resets and of streams with protocol errors before the connection is closed, against the
/// rapid reset attack (CVE-2023-44487).
const RESETS_MAX: usize = 50;

/// The maximum length of a request head in bytes.
const HEAD_BYTES_MAX: u32 = 64 << 10;

/// The number of bytes of a stream's response that are buffered beyond the client's window.
const SEND_BYTES_MAX: usize = 256 << 10;

/// The number of bytes of a response that are passed to h2 at a time, which h2 buffers if the client's window is full.
const PART_BYTES: usize = 16 << 10;

/// The interval of pings to a silent client with requests in flight, and the time in which it must answer.
const PING: Duration = Duration::from_secs(20);

/// The first bytes of every HTTP/2 connection. `PRI` is not a method of HTTP/1.
const PREFACE: [u8; 3] = *b"PRI";

/// The time to wait for the next byte of an incomplete preface.
const PIECE: Duration = Duration::from_millis(2);

/// Waits for the first bytes of a connection, and returns whether they are those of HTTP/2. The bytes are not consumed.
pub(super) async fn is_http2(tcp: &TcpStream, limits: &ConnectionLimits) -> bool {
    let mut start = [0; PREFACE.len()];
    let mut first_byte_at = None;
    loop {
        match tcp.peek(&mut start).await {
            Ok(0) | Err(_) => return false,
            Ok(n) if start[..n] != PREFACE[..n] => return false,
            Ok(n) if n == PREFACE.len() => return true,
            // HTTP/1 answers a slow head.
            Ok(_) if first_byte_at.get_or_insert_with(Instant::now).elapsed() > limits.header_read => return false,
            Ok(_) => sleep(PIECE).await,
        }
    }
}

/// Serves a connection until the client closes it or it exceeds a limit.
pub(super) async fn serve_http2(
    tcp: TcpStream,
    router: Router,
    config: LiveConfig,
    progress: ConnectionProgress,
    mut is_ending: watch::Receiver<bool>,
) {
    let streams = Streams::new(progress.clone());
    let io = TokioIo::new(Stream { tcp, progress: progress.clone(), is_multiplexed: true });
    let service = TowerToHyperService::new(router);
    // Opened first, because a request counts from its arrival.
    let answer = |request: Request<Incoming>| {
        let (stream, until_over) = streams.open(!request.body().is_end_stream());
        answer(service.clone(), stream, request.map(|inner| RequestBody { inner, until_over }))
    };
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
    let deadline = || {
        let limits = &config.current().connections;
        [streams.stalled_at(limits), progress.deadline(limits)].into_iter().flatten().min_by_key(|(at, _)| *at)
    };
    let reason =
        drive(&mut connection, |connection| connection.graceful_shutdown(), deadline, &progress, &mut is_ending).await;
    // Before the connection is dropped, so that whoever sees the end sees it counted.
    config.connections().ended(reason);
}

async fn answer(
    service: TowerToHyperService<Router>,
    stream: OpenStream,
    request: Request<RequestBody<OpenBody>>,
) -> Result<Response<StreamBody>, Infallible> {
    let response = service.call(request).await?;
    Ok(response.map(|inner| StreamBody { inner, rest: Bytes::new(), answer: stream.answered() }))
}

/// The requests of a connection.
#[derive(Clone)]
struct Streams(Arc<StreamsInner>);

struct StreamsInner {
    progress: ConnectionProgress,
    state: Mutex<StreamsState>,
}

#[derive(Default)]
struct StreamsState {
    n_open: usize,
    /// The number of requests with incomplete bodies.
    n_receiving: usize,
    n_answers: u64,
    /// The times since which responses wait for the client to read.
    waiting: BTreeMap<u64, Instant>,
}

/// The event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// A request.
    Request,
    /// The rest of request bodies, for all requests.
    Bodies,
    /// A response.
    Answer,
}

impl StreamsState {
    fn waits_for(&self) -> WaitsFor {
        match (self.n_open, self.n_receiving) {
            (0, _) => WaitsFor::Request,
            (n_open, n_receiving) if n_open == n_receiving => WaitsFor::Bodies,
            _ => WaitsFor::Answer,
        }
    }
}

impl Streams {
    fn new(progress: ConnectionProgress) -> Self {
        Self(Arc::new(StreamsInner { progress, state: Mutex::default() }))
    }

    /// Opens a stream, with a body if the request has one.
    fn open(&self, has_body: bool) -> (OpenStream, Option<OpenBody>) {
        self.change(|state| {
            state.n_open += 1;
            state.n_receiving += usize::from(has_body);
        });
        (OpenStream(self.clone()), has_body.then(|| OpenBody(self.clone())))
    }

    /// The time at which the connection is closed because the client does not read a response. A single stream cannot be closed, because
    /// hyper does not poll a response while the client's window is full.
    fn stalled_at(&self, limits: &ConnectionLimits) -> Option<CloseAt> {
        let first = self.lock().waiting.values().min().copied();
        first.map(|since| (since + limits.write, CloseReason::SlowWrite))
    }

    /// Changes the streams, and updates the connection's progress.
    fn change(&self, change: impl FnOnce(&mut StreamsState)) {
        let (mut state, progress) = (self.lock(), &self.0.progress);
        let before = state.waits_for();
        change(&mut state);
        match state.waits_for() {
            after if after == before => {}
            WaitsFor::Request => {
                progress.answer_is_over();
                progress.has_flushed();
            }
            WaitsFor::Bodies => progress.request(true),
            WaitsFor::Answer => progress.request(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, StreamsState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight, until it is dropped.
struct OpenStream(Streams);

impl OpenStream {
    fn answered(self) -> Answer {
        let id = {
            let mut state = self.0.lock();
            state.n_answers += 1;
            state.n_answers
        };
        Answer { stream: self, id }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.change(|state| state.n_open -= 1);
    }
}

/// An incomplete request body, until it is dropped.
struct OpenBody(Streams);

impl Drop for OpenBody {
    fn drop(&mut self) {
        self.0.change(|state| state.n_receiving -= 1);
    }
}

/// A response that is being sent.
struct Answer {
    stream: OpenStream,
    id: u64,
}

impl Answer {
    /// Marks that the client must read the buffered part.
    fn waits_for_client(&self) {
        self.stream.0.lock().waiting.insert(self.id, Instant::now());
    }

    /// Marks that the client has read everything so far.
    fn waits_for_server(&self) {
        self.stream.0.lock().waiting.remove(&self.id);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.waits_for_server();
    }
}

/// A response body in parts. Each part is passed on when the client has read those before it.
///
/// The last byte is a separate part. Otherwise hyper would drop the body together with its last part, and a client that does not
/// read it could not be detected.
struct StreamBody {
    inner: axum::body::Body,
    /// Bytes taken from the body that are not passed on yet.
    rest: Bytes,
    answer: Answer,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            // The time of the handler does not count against the client.
            self.answer.waits_for_server();
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx)?);
            match frame.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
        }
        self.answer.waits_for_client();
        let n_bytes = self.rest.len().saturating_sub(1).clamp(1, PART_BYTES).min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(n_bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, n_rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(n_rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(n_rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use axum::body::Body as AxumBody;

    use super::super::open_connections::OpenConnections;
    use super::*;

    fn streams() -> (Streams, ConnectionProgress) {
        let progress = ConnectionProgress::new(Arc::new(OpenConnections::default()));
        (Streams::new(progress.clone()), progress)
    }

    #[tokio::test]
    async fn a_connection_waits_for_its_client_while_it_waits_for_the_bodies_of_all_requests() {
        let (streams, progress) = streams();
        let check = |waits: bool, when: &str| assert_eq!(progress.waits_for_client(), waits, "{when}");
        check(true, "before a request");
        let (upload, body) = streams.open(true);
        check(true, "half a body");
        let (search, no_body) = streams.open(false);
        assert!(no_body.is_none());
        check(false, "half a body and a whole request");
        drop(search);
        check(true, "half a body again");
        drop(body);
        check(false, "a body that is complete");
        drop(upload);
        check(true, "no request");
    }

    /// The parts of a body that is ready, until it is over or waits.
    fn parts(body: &mut StreamBody) -> Vec<Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Ready(frame) => frame.map(|frame| frame.unwrap().into_data().unwrap()),
            Poll::Pending => None,
        })
        .collect()
    }

    #[tokio::test]
    async fn an_answer_goes_in_parts_and_its_last_byte_alone() {
        for length in [0, 1, 2, PART_BYTES, PART_BYTES + 1, PART_BYTES + 2, 3 * PART_BYTES] {
            let text = Bytes::from(vec![b'x'; length]);
            let (inner, (stream, _)) = (AxumBody::from(text.clone()), streams().0.open(false));
            let mut body = StreamBody { inner, rest: Bytes::new(), answer: stream.answered() };
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let parts = parts(&mut body);
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES));
            assert!(parts.last().is_none_or(|part| part.len() == 1), "{length}");
            assert!(body.is_end_stream());
        }
    }

    /// A body that never has anything.
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn each_answer_has_the_limit_and_one_that_the_server_is_slow_with_has_none() {
        let (streams, _) = streams();
        let answer = |inner: AxumBody| {
            let (stream, _) = streams.open(false);
            StreamBody { inner, rest: Bytes::new(), answer: stream.answered() }
        };
        let limits = ConnectionLimits::default();
        let mut slow = answer(AxumBody::new(Never));
        assert!(parts(&mut slow).is_empty());
        assert_eq!(streams.stalled_at(&limits), None);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (answer(AxumBody::from("answer")), answer(AxumBody::from("answer")));
        assert!(Pin::new(&mut first).poll_frame(&mut cx).is_ready());
        let stalled_at = streams.stalled_at(&limits).unwrap();
        assert_eq!(parts(&mut second).len(), 2);
        assert_eq!(streams.stalled_at(&limits), Some(stalled_at), "the others do not excuse the first");
        drop(first);
        drop(second);
        assert_eq!(streams.stalled_at(&limits), None);
    }
}
