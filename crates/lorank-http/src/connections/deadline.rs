//! Waiting for a deadline that moves.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::CloseReason;

/// Ready when the connection has been in one phase for too long.
pub(super) fn past(
    deadline: Option<(Instant, CloseReason)>,
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<CloseReason> {
    let Some((deadline, reason)) = deadline else { return Poll::Pending };
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    timer.poll(cx).map(|()| reason)
}
