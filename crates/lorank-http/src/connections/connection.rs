//! One connection, from its first request until it is closed.
//!
//! hyper serves the connection; this module adds what hyper lacks. `header_read_timeout` does not distinguish a slow request head
//! from an idle client, and closes without a response; there is no limit on the time that a client may take to read a response; and
//! hyper-util's `GracefulShutdown` does not return the stream, which is needed to answer a slow head.

use std::convert::Infallible;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::bodies::{AnswerBody, RequestBody, TellsBodyIsOver};
use super::drive::{drive, ended};
use super::http2::{is_http2, serve_http2};
use super::progress::ConnectionProgress;
use super::stream::Stream;
use super::{CloseReason, ConnectionLimits};
use crate::error_response::error_body;
use crate::{LiveConfig, RequestId, ServerError};

/// The maximum length of a request head, and of the part of a body that is read ahead, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Serves a connection until the client closes it or it exceeds a limit.
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
        return serve_http2(tcp, router, config.clone(), progress, is_ending).await;
    }
    let stream = TokioIo::new(Stream { tcp, progress: progress.clone(), is_multiplexed: false });
    let service = TowerToHyperService::new(router);
    let answer = |request| answer(service.clone(), config.clone(), progress.clone(), request);
    // `ConnectionProgress` limits the time for a head, because it distinguishes a slow head from none.
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, service_fn(answer));
    let deadline = || progress.deadline(&config.current().connections);
    let reason =
        drive(&mut connection, |connection| connection.graceful_shutdown(), deadline, &progress, &mut is_ending).await;
    config.connections().ended(reason);
    if reason == CloseReason::SlowHead {
        send_timeout_answer(&connection.into_parts().io.into_inner().tcp, &config.current().connections);
    }
}

async fn answer(
    service: TowerToHyperService<Router>,
    config: LiveConfig,
    progress: ConnectionProgress,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    progress.request(!request.body().is_end_stream());
    let request = request.map(|inner| RequestBody { inner, until_over: Some(TellsBodyIsOver(progress.clone())) });
    let mut response = service.call(request).await?;
    if config.is_stopping() {
        // With the response, so that the client sends no further request on a connection that is about to be closed.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|inner| AnswerBody { inner, progress }))
}

/// Answers a slow head with status 408, without waiting for the client.
fn send_timeout_answer(tcp: &TcpStream, limits: &ConnectionLimits) {
    let error = ServerError::TooSlow { part: "head", millis: limits.header_read.as_millis() };
    let body = error_body(&error, &RequestId::generate());
    let head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close";
    let head = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = tcp.try_write(&[head.as_bytes(), &body].concat());
}

/// Removes a connection from the open connections when dropped.
struct LeaveOnDrop(ConnectionProgress);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
