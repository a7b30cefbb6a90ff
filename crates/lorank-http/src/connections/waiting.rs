//! The connections that wait for their clients, in the order in which they began to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Names an entry; a connection gets a new one each time that it begins to wait.
pub(super) type WaitingId = u64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct WaitingConnections {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    n_entered: WaitingId,
    /// What asks each connection to close.
    close_requests: BTreeMap<WaitingId, Arc<Notify>>,
}

impl WaitingConnections {
    pub(super) fn enter(&self, close_request: Arc<Notify>) -> WaitingId {
        let mut entries = self.lock();
        entries.n_entered += 1;
        let id = entries.n_entered;
        entries.close_requests.insert(id, close_request);
        drop(entries);
        self.changed.notify_one();
        id
    }

    pub(super) fn leave(&self, id: WaitingId) {
        self.lock().close_requests.remove(&id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().close_requests.is_empty()
    }

    /// Asks the connection that has waited longest to close.
    pub(super) fn close_first(&self) {
        if let Some((_, close_request)) = self.lock().close_requests.pop_first() {
            close_request.notify_one();
        }
    }

    /// Returns when another connection has begun to wait.
    pub(super) async fn entered(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_wait_is_the_first_to_go() {
        let waiting = WaitingConnections::default();
        let requests: Vec<Arc<Notify>> = (0..3).map(|_| Arc::default()).collect();
        let ids: Vec<WaitingId> = requests.iter().map(|request| waiting.enter(request.clone())).collect();
        waiting.leave(ids[0]);
        let again = waiting.enter(requests[0].clone());
        waiting.close_first();
        waiting.leave(ids[2]);
        waiting.close_first();
        assert!(waiting.is_empty());
        waiting.leave(again);
        let is_asked = |request: &Arc<Notify>| {
            let notified = std::pin::pin!(request.notified());
            notified.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        assert_eq!(requests.iter().map(is_asked).collect::<Vec<_>>(), [true, true, false]);
    }
}
