//! The loop around a connection of hyper for both versions of HTTP: requests, making room for others, shutdown and time limits.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::CloseReason;
use super::progress::ConnectionProgress;

/// The time at which the connection is closed, and the reason.
pub(super) type CloseAt = (Instant, CloseReason);

/// Serves a connection until the client closes it, it makes room for another one, or its deadline passes.
///
/// `shut_down` is hyper's `graceful_shutdown`: requests in flight are answered, and no others are accepted. `deadline` is called
/// again after each event.
pub(super) async fn drive<C: Future<Output = hyper::Result<()>> + Unpin>(
    connection: &mut C,
    shut_down: impl Fn(Pin<&mut C>),
    deadline: impl Fn() -> Option<CloseAt>,
    progress: &ConnectionProgress,
    is_ending: &mut watch::Receiver<bool>,
) -> CloseReason {
    let mut close_requested = pin!(progress.close_requested());
    let mut is_asked_to_end = pin!(ended(is_ending));
    let (mut has_heard, mut makes_room) = (false, false);
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        // First, because it changes the phase of the connection, which determines the deadline.
        if let Poll::Ready(served) = Pin::new(&mut *connection).poll(cx) {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection failed");
            }
            return Poll::Ready(if makes_room { CloseReason::MadeRoom } else { CloseReason::Closed });
        }
        // After polling the connection, so that a request which has arrived is answered first.
        if !makes_room && close_requested.as_mut().poll(cx).is_ready() {
            if progress.waits_for_client() {
                return Poll::Ready(CloseReason::MadeRoom);
            }
            makes_room = true;
            shut_down(Pin::new(&mut *connection));
            cx.waker().wake_by_ref();
        }
        if !has_heard && is_asked_to_end.as_mut().poll(cx).is_ready() {
            has_heard = true;
            shut_down(Pin::new(&mut *connection));
            cx.waker().wake_by_ref();
        }
        past(deadline(), timer.as_mut(), cx)
    })
    .await
}

/// Returns when the server accepts no more requests.
pub(super) async fn ended(is_ending: &mut watch::Receiver<bool>) {
    drop(is_ending.wait_for(|is_ending| *is_ending).await);
}

/// Ready after the deadline, which may be different at each call.
fn past(deadline: Option<CloseAt>, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<CloseReason> {
    let Some((deadline, reason)) = deadline else { return Poll::Pending };
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    timer.poll(cx).map(|()| reason)
}
