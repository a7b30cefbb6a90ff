//! The open connections, and the choice of the one that makes room for a new one.
//!
//! A connection that waits for its client can be closed after a grace period, in which a request that had arrived would have been
//! read. A connection whose request is being answered is asked to close after the response, which announces it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The grace period of a connection that waits for a request.
pub(super) const REQUEST_GRACE: Duration = Duration::from_millis(250);

/// The grace period of a connection that waits for a request body.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(5);

/// The id of a connection. Ids are in the order of opening.
pub(super) type ConnectionId = u64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct OpenConnections(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    n_opened: ConnectionId,
    open: BTreeMap<ConnectionId, Entry>,
    /// The connections that wait for their clients, by the end of their grace periods.
    waiting: BTreeSet<(Instant, ConnectionId)>,
    /// The connections with requests being answered, in the order of opening.
    answered: BTreeSet<ConnectionId>,
}

#[derive(Debug)]
struct Entry {
    close_request: Arc<Notify>,
    /// The end of the grace period, while it waits for its client.
    closable_at: Option<Instant>,
}

impl OpenConnections {
    /// Adds a new connection, which waits for its client and is asked to close by `close_request`.
    pub(super) fn open(&self, close_request: Arc<Notify>) -> ConnectionId {
        let mut entries = self.lock();
        entries.n_opened += 1;
        let id = entries.n_opened;
        entries.open.insert(id, Entry { close_request, closable_at: None });
        entries.set_waiting(id, Some(Instant::now() + REQUEST_GRACE));
        id
    }

    /// Marks that the connection waits for its client and may be closed after `grace`.
    pub(super) fn waits(&self, id: ConnectionId, grace: Duration) {
        self.lock().set_waiting(id, Some(Instant::now() + grace));
    }

    /// Marks that its request is being answered.
    pub(super) fn is_answered(&self, id: ConnectionId) {
        self.lock().set_waiting(id, None);
    }

    /// Removes a connection.
    pub(super) fn close(&self, id: ConnectionId) {
        let mut entries = self.lock();
        entries.set_waiting(id, None);
        entries.answered.remove(&id);
        entries.open.remove(&id);
    }

    /// The end of the earliest grace period.
    pub(super) fn closable_at(&self) -> Option<Instant> {
        self.lock().waiting.first().map(|(at, _)| *at)
    }

    /// Asks a connection to close: the one with the earliest grace period if it ended by `now`, else the oldest that is being answered.
    /// No connection is asked twice.
    pub(super) fn make_room(&self, now: Instant) {
        let mut entries = self.lock();
        let closable = entries.waiting.first().filter(|(at, _)| *at <= now).copied();
        let id = match closable {
            Some(first) => {
                entries.waiting.remove(&first);
                Some(first.1)
            }
            None => entries.answered.pop_first(),
        };
        if let Some(entry) = id.and_then(|id| entries.open.get_mut(&id)) {
            entry.closable_at = None;
            entry.close_request.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn set_waiting(&mut self, id: ConnectionId, closable_at: Option<Instant>) {
        let Some(entry) = self.open.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut entry.closable_at, closable_at) {
            self.waiting.remove(&(before, id));
        }
        match closable_at {
            Some(at) => {
                self.waiting.insert((at, id));
                self.answered.remove(&id);
            }
            None => drop(self.answered.insert(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the connections have been asked to close since the last look.
    fn asked(requests: &[Arc<Notify>]) -> Vec<usize> {
        let is_asked = |request: &Notify| {
            let notified = std::pin::pin!(request.notified());
            notified.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        (0..requests.len()).filter(|n| is_asked(&requests[*n])).collect()
    }

    #[test]
    fn the_first_to_wait_makes_room_then_the_oldest_that_is_answered() {
        let open = OpenConnections::default();
        let requests: Vec<Arc<Notify>> = (0..4).map(|_| Arc::default()).collect();
        let ids: Vec<ConnectionId> = requests.iter().map(|request| open.open(request.clone())).collect();
        let (now, later) = (Instant::now(), Instant::now() + BODY_GRACE * 2);
        // The second sends a body, the third is being answered.
        open.waits(ids[1], BODY_GRACE);
        open.is_answered(ids[2]);
        for (at, expected) in [(now, &[2][..]), (now, &[]), (later, &[0]), (later, &[3]), (later, &[1]), (later, &[])] {
            open.make_room(at);
            assert_eq!(asked(&requests), expected);
        }
        // One that was asked and waits again can be asked again; one that is gone cannot.
        open.waits(ids[0], REQUEST_GRACE);
        open.waits(ids[3], BODY_GRACE);
        open.close(ids[0]);
        open.waits(ids[0], REQUEST_GRACE);
        assert!(open.closable_at().is_some_and(|at| at > now + REQUEST_GRACE));
        open.make_room(later);
        assert_eq!(asked(&requests), [3]);
        ids.iter().for_each(|id| open.close(*id));
        assert_eq!(open.closable_at(), None);
    }
}
