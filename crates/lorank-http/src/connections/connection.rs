//! One connection, from its first request to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::Router;
use axum::http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::bodies::{AnswerBody, RequestBody};
use super::progress::Progress;
use super::stream::Stream;
use super::{ConnectionLimits, End};
use crate::{LiveConfig, RequestId, ServerError};

/// Answers its requests, until the client or its patience is at an end.
pub(super) async fn attend(
    tcp: TcpStream,
    router: Router,
    config: LiveConfig,
    progress: Progress,
    mut is_ending: watch::Receiver<bool>,
) {
    let _open = config.connections().open();
    let _ended = EndOnDrop(progress.clone());
    let stream = TokioIo::new(Stream { tcp, progress: progress.clone() });
    let service = TowerToHyperService::new(router);
    let answer = |request| answer(service.clone(), progress.clone(), request);
    // The time for a head is counted by `Progress`, which tells a slow head from none.
    let mut connection = http1::Builder::new().header_read_timeout(None).serve_connection(stream, service_fn(answer));
    let mut has_to_go = pin!(progress.has_to_go());
    let mut is_asked_to_end = pin!(is_ending.wait_for(|is_ending| *is_ending));
    let mut has_heard = false;
    let mut timer = pin!(sleep(config.current().connections.keep_alive));
    let end = poll_fn(|cx| {
        // First of all, since it changes what the connection is at, which the deadline follows from.
        if let Poll::Ready(served) = Pin::new(&mut connection).poll(cx) {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            }
            return Poll::Ready(End::Closed);
        }
        if has_to_go.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::MadeRoom);
        }
        if !has_heard && is_asked_to_end.as_mut().poll(cx).is_ready() {
            has_heard = true;
            Pin::new(&mut connection).graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        past_deadline(&progress, &config.current().connections, timer.as_mut(), cx)
    })
    .await;
    config.connections().ended(end);
    if end == End::SlowHead {
        say_too_slow(&connection.into_parts().io.into_inner().tcp, &config.current().connections);
    }
}

/// Ready when the connection has been at the same thing for too long.
fn past_deadline(
    progress: &Progress,
    limits: &ConnectionLimits,
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<End> {
    let Some((deadline, end)) = progress.deadline(limits) else { return Poll::Pending };
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    timer.poll(cx).map(|()| end)
}

async fn answer(
    service: TowerToHyperService<Router>,
    progress: Progress,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    progress.request(!request.body().is_end_stream());
    let request = request.map(|inner| RequestBody { inner, progress: progress.clone() });
    let response = service.call(request).await?;
    Ok(response.map(|inner| AnswerBody { inner, progress }))
}

/// Tells a client why, as far as it listens: nothing waits for it.
fn say_too_slow(tcp: &TcpStream, limits: &ConnectionLimits) {
    let error = ServerError::TooSlow { part: "head", millis: limits.header_read.as_millis() };
    let body = error.body(&RequestId::generate());
    let head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close";
    let head = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = tcp.try_write(&[head.as_bytes(), &body].concat());
}

/// A connection leaves those that wait however it ends.
struct EndOnDrop(Progress);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
