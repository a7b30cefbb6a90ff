//! One connection, from its first request until it closes.
//!
//! hyper serves it. What is around hyper is what it lacks: `header_read_timeout` does not tell a slow head from a client that
//! sends nothing, and closes without an answer; there is no limit on how long an answer may stay unread; and hyper-util's
//! `GracefulShutdown` takes the connection away for good, while a slow head is answered through the stream that it gives back.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use axum::Router;
use axum::http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::bodies::{AnswerBody, RequestBody};
use super::deadline::past;
use super::http2::{is_http2, serve_http2};
use super::progress::ConnectionProgress;
use super::stream::Stream;
use super::{CloseReason, ConnectionLimits};
use crate::error_response::error_body;
use crate::{LiveConfig, RequestId, ServerError};

/// The longest head of a request, and what is read ahead of a body: a connection holds little more.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Answers the requests of a connection until its client closes it or one of its limits is passed.
pub(super) async fn serve_connection(
    tcp: TcpStream,
    router: Router,
    config: LiveConfig,
    progress: ConnectionProgress,
    mut is_ending: watch::Receiver<bool>,
) {
    let _open = config.connections().open();
    let _ended = LeaveOnDrop(progress.clone());
    let limits = config.current().connections.clone();
    let is_http2 = tokio::select! {
        biased;
        is_http2 = is_http2(&tcp, &limits) => is_http2,
        () = progress.close_requested() => return config.connections().ended(CloseReason::MadeRoom),
        () = ended(&mut is_ending) => return config.connections().ended(CloseReason::Closed),
        () = sleep(limits.keep_alive) => return config.connections().ended(CloseReason::Idle),
    };
    if is_http2 {
        let reason = serve_http2(tcp, router, config.clone(), progress, is_ending).await;
        return config.connections().ended(reason);
    }
    let stream = TokioIo::new(Stream { tcp, progress: progress.clone(), is_multiplexed: false });
    let service = TowerToHyperService::new(router);
    let answer = |request| answer(service.clone(), progress.clone(), request);
    // The time for a head is counted by `ConnectionProgress`, which tells a slow head from none.
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, service_fn(answer));
    let mut close_requested = pin!(progress.close_requested());
    let mut is_asked_to_end = pin!(is_ending.wait_for(|is_ending| *is_ending));
    let (mut has_heard, mut makes_room) = (false, false);
    let mut timer = pin!(sleep(config.current().connections.keep_alive));
    let reason = poll_fn(|cx| {
        // First, since it changes the phase of the connection, on which the deadline depends.
        if let Poll::Ready(served) = Pin::new(&mut connection).poll(cx) {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            }
            return Poll::Ready(if makes_room { CloseReason::MadeRoom } else { CloseReason::Closed });
        }
        // After the connection was polled: a request that had arrived is being answered by now, and is answered first.
        if !makes_room && close_requested.as_mut().poll(cx).is_ready() {
            if progress.waits_for_client() {
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
        past(progress.deadline(&config.current().connections), timer.as_mut(), cx)
    })
    .await;
    config.connections().ended(reason);
    if reason == CloseReason::SlowHead {
        send_timeout_answer(&connection.into_parts().io.into_inner().tcp, &config.current().connections);
    }
}

async fn answer(
    service: TowerToHyperService<Router>,
    progress: ConnectionProgress,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    progress.request(!request.body().is_end_stream());
    let request = request.map(|inner| RequestBody { inner, progress: progress.clone() });
    let response = service.call(request).await?;
    Ok(response.map(|inner| AnswerBody { inner, progress }))
}

/// Answers a slow head with status 408, as far as the socket takes it at once: nothing waits for the client.
fn send_timeout_answer(tcp: &TcpStream, limits: &ConnectionLimits) {
    let error = ServerError::TooSlow { part: "head", millis: limits.header_read.as_millis() };
    let body = error_body(&error, &RequestId::generate());
    let head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close";
    let head = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = tcp.try_write(&[head.as_bytes(), &body].concat());
}

/// Returns when the server takes no more requests.
async fn ended(is_ending: &mut watch::Receiver<bool>) {
    drop(is_ending.wait_for(|is_ending| *is_ending).await);
}

/// Takes a connection out of those that wait, however it ends.
struct LeaveOnDrop(ConnectionProgress);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
