//! Lanes: limits on blocking work by kind.
//!
//! The runtime has one pool of threads for blocking work. Without limits, some hundred clients that submit events would use all of
//! them, and searches would wait for the disk. So each kind of work has a lane with limits on its threads, its waiting requests and
//! their waiting time. Searches and changes of documents have their own limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{RetryAfter, ServerError};

/// The maximum time to wait for a thread of a lane.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The value of `Retry-After`.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A kind of blocking work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Readiness checks.
    Readiness,
    /// Scrapes of metrics, which must not wait for clients' reads.
    Metrics,
    /// Reads of documents, statistics and lists.
    Reads,
    /// Submissions of events.
    Events,
    /// Reports and exports, which read all records of an experiment.
    Reports,
    /// Changes of adapters and experiments.
    Operations,
    /// Parsing of long bodies. In memory, JSON can take ten times its bytes.
    Parsing,
}

impl Lane {
    const ALL: [Self; 7] =
        [Self::Readiness, Self::Metrics, Self::Reads, Self::Events, Self::Reports, Self::Operations, Self::Parsing];

    /// The kind of work, in the plural, for messages.
    fn name(self) -> &'static str {
        match self {
            Self::Readiness => "readiness checks",
            Self::Metrics => "scrapes of metrics",
            Self::Reads => "reads",
            Self::Events => "submissions of events",
            Self::Reports => "reports and exports",
            Self::Operations => "changes of adapters and experiments",
            Self::Parsing => "long bodies",
        }
    }

    /// The number of threads and of waiting requests. Submissions of events share a sync of the disk, so more threads help.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Readiness | Self::Metrics => (1, 64),
            Self::Reads => (16, 256),
            Self::Events => (64, 1_024),
            Self::Reports => (2, 16),
            Self::Operations => (8, 64),
            Self::Parsing => (std::thread::available_parallelism().map_or(1, usize::from).min(4), 4_096),
        }
    }
}

/// The lanes of a service.
#[derive(Debug)]
pub(crate) struct Lanes {
    states: [State; Lane::ALL.len()],
    wait_max: Duration,
}

#[derive(Debug)]
struct State {
    threads: Arc<Semaphore>,
    n_waiting: AtomicUsize,
}

impl Default for Lanes {
    fn default() -> Self {
        let state = |lane: Lane| State { threads: Arc::new(Semaphore::new(lane.limits().0)), n_waiting: 0.into() };
        Self { states: Lane::ALL.map(state), wait_max: WAIT_MAX }
    }
}

impl Lanes {
    /// Waits for a thread of the lane, which is occupied until the permit is dropped.
    ///
    /// # Errors
    /// [`ServerError::LaneFull`] if too many requests wait already, or no thread became free in time.
    pub(crate) async fn enter(&self, lane: Lane) -> Result<OwnedSemaphorePermit, ServerError> {
        let state = &self.states[lane as usize];
        if let Ok(place) = state.threads.clone().try_acquire_owned() {
            return Ok(place);
        }
        let full = || ServerError::LaneFull { work: lane.name(), retry_after: RetryAfter::new(RETRY_AFTER) };
        let _waiting = state.wait(lane.limits().1).ok_or_else(full)?;
        let place = tokio::time::timeout(self.wait_max, state.threads.clone().acquire_owned()).await;
        place.map_err(|_| full())?.map_err(|_| full())
    }
}

impl State {
    fn wait(&self, n_max: usize) -> Option<Waiting<'_>> {
        let one_more = |n: usize| (n < n_max).then_some(n + 1);
        self.n_waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Waiting(&self.n_waiting))
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_lane_refuses_and_keeps_no_other_waiting() {
        for lane in Lane::ALL {
            let lanes = Arc::new(Lanes::default());
            let (n_threads, n_waiting_max) = lane.limits();
            let mut places = Vec::new();
            for _ in 0..n_threads {
                places.push(lanes.enter(lane).await.unwrap());
            }
            let enter = || {
                tokio::spawn({
                    let lanes = lanes.clone();
                    async move { lanes.enter(lane).await.map(drop) }
                })
            };
            let waiting: Vec<_> = (0..n_waiting_max).map(|_| enter()).collect();
            while lanes.states[lane as usize].n_waiting.load(Ordering::Acquire) < n_waiting_max {
                tokio::task::yield_now().await;
            }
            assert!(lanes.enter(lane).await.is_err(), "{lane:?}: one more than may wait");
            for other in Lane::ALL.into_iter().filter(|other| *other != lane) {
                assert!(lanes.enter(other).await.is_ok(), "{other:?} beside a full {lane:?}");
            }
            places.pop();
            // The permit passes from one request to the next.
            for waited in waiting {
                assert!(waited.await.unwrap().is_ok(), "{lane:?}");
            }
            assert!(lanes.enter(lane).await.is_ok(), "{lane:?} is free again");
        }
    }

    #[tokio::test]
    async fn who_waits_for_too_long_is_refused() {
        let lanes = Lanes { wait_max: Duration::ZERO, ..Lanes::default() };
        let _place = lanes.enter(Lane::Readiness).await.unwrap();
        let error = lanes.enter(Lane::Readiness).await.unwrap_err();
        assert_eq!(error.to_string(), "too many concurrent readiness checks; retry later");
        assert_eq!(lanes.states[Lane::Readiness as usize].n_waiting.load(Ordering::Acquire), 0);
    }
}
