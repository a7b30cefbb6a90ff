//! The connections that wait for their clients, in the order in which they began to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A connection's place among those that wait.
pub(super) type Place = u64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    n_entered: Place,
    /// What each hears when it has to go.
    to_tell: BTreeMap<Place, Arc<Notify>>,
}

impl Waiting {
    pub fn enter(&self, to_tell: Arc<Notify>) -> Place {
        let mut entries = self.lock();
        entries.n_entered += 1;
        let place = entries.n_entered;
        entries.to_tell.insert(place, to_tell);
        drop(entries);
        self.changed.notify_one();
        place
    }

    pub fn leave(&self, place: Place) {
        self.lock().to_tell.remove(&place);
    }

    pub fn is_empty(&self) -> bool {
        self.lock().to_tell.is_empty()
    }

    /// Has the one close that has waited longest.
    pub fn close_first(&self) {
        if let Some((_, to_tell)) = self.lock().to_tell.pop_first() {
            to_tell.notify_one();
        }
    }

    /// Done when another one has entered.
    pub async fn one_more(&self) {
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
        let waiting = Waiting::default();
        let tell: Vec<Arc<Notify>> = (0..3).map(|_| Arc::default()).collect();
        let places: Vec<Place> = tell.iter().map(|to_tell| waiting.enter(to_tell.clone())).collect();
        waiting.leave(places[0]);
        let again = waiting.enter(tell[0].clone());
        waiting.close_first();
        waiting.leave(places[2]);
        waiting.close_first();
        assert!(waiting.is_empty());
        waiting.leave(again);
        let was_told = |to_tell: &Arc<Notify>| {
            let told = std::pin::pin!(to_tell.notified());
            told.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        assert_eq!(tell.iter().map(was_told).collect::<Vec<_>>(), [true, true, false]);
    }
}
