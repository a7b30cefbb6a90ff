//! What a server has of a registry in a store of objects, and what it lacks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_core::{AdapterId, Digest, with_causes};

use crate::RegistryError;
use crate::entry::Entry;
use crate::mirror::Missing;
use crate::state::State;

/// The pause before a failed download is repeated, and its maximum; it doubles with each failure. A change of the
/// registry ends it.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What a server knows of a registry in a store of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// The address of the registry.
    pub location: String,
    /// The number of times that the registry was looked at.
    pub n_polls: u64,
    /// How many of them failed.
    pub n_failed_polls: u64,
    /// Why the last one failed; `None` if it did not.
    pub poll_error: Option<String>,
    /// The adapters of the registry whose files are not here.
    pub unavailable: Vec<UnavailableAdapter>,
}

/// An adapter whose files are not here. The names that pointed to another version, or to another adapter, still do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnavailableAdapter {
    /// Its id.
    pub id: AdapterId,
    /// The digest of its files.
    pub content: Digest,
    /// Why they could not be downloaded; `None` if they are on their way.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last state that was applied to the copy.
    applied: Option<Arc<State>>,
    missing: Vec<Missing>,
    failures: BTreeMap<Digest, Failure>,
    n_polls: u64,
    n_failed_polls: u64,
    /// Why the last poll failed.
    poll_error: Option<String>,
}

/// A failed download.
#[derive(Debug)]
struct Failure {
    error: String,
    pause: Duration,
    repeat_at: Instant,
}

impl Progress {
    /// The status of the registry at an address.
    pub(super) fn status(&self, location: &str) -> StoreStatus {
        let unavailable = self.missing.iter().flat_map(|missing| {
            let content = missing.entry.content;
            let error = self.failures.get(&content).map(|failure| failure.error.clone());
            missing.ids.iter().map(move |id| UnavailableAdapter { id: id.clone(), content, error: error.clone() })
        });
        StoreStatus {
            location: location.to_owned(),
            n_polls: self.n_polls,
            n_failed_polls: self.n_failed_polls,
            poll_error: self.poll_error.clone(),
            unavailable: unavailable.collect(),
        }
    }

    /// Whether a state is the last one that was applied to the copy.
    pub(super) fn has_applied(&self, state: &Arc<State>) -> bool {
        self.applied.as_ref().is_some_and(|applied| Arc::ptr_eq(applied, state))
    }

    /// Forgets that a download failed.
    pub(super) fn succeed(&mut self, content: Digest) {
        self.failures.remove(&content);
    }

    pub(super) fn count_poll(&mut self, read: &Result<Arc<State>, RegistryError>) {
        self.n_polls += 1;
        self.n_failed_polls += u64::from(read.is_err());
        self.poll_error = read.as_ref().err().map(|error| with_causes(error));
    }

    pub(super) fn apply(&mut self, wanted: Arc<State>, missing: Vec<Missing>) {
        if !self.has_applied(&wanted) {
            // The change may be the repair.
            self.failures.values_mut().for_each(|failure| failure.repeat_at = Instant::now());
        }
        self.failures.retain(|content, _| missing.iter().any(|missing| missing.entry.content == *content));
        (self.applied, self.missing) = (Some(wanted), missing);
    }

    /// The next files to download.
    pub(super) fn next(&self) -> Option<Missing> {
        let is_due = |missing: &&Missing| {
            self.failures.get(&missing.entry.content).is_none_or(|failure| failure.repeat_at <= Instant::now())
        };
        self.missing.iter().find(is_due).cloned()
    }

    pub(super) fn fail(&mut self, entry: &Entry, ids: &[AdapterId], error: String) {
        let before = self.failures.get(&entry.content);
        if before.is_none() {
            tracing::error!("{} cannot be served, and the names that it would change stay: {error}", named(ids));
        }
        let pause = before.map_or(PAUSE, |failure| (failure.pause * 2).min(PAUSE_MAX));
        self.failures.insert(entry.content, Failure { error, pause, repeat_at: Instant::now() + pause });
    }
}

/// Adapters for messages.
pub(super) fn named(ids: &[AdapterId]) -> String {
    let mut names = String::new();
    for (n, id) in ids.iter().enumerate() {
        let _ = write!(names, "{}`{id}`", if n == 0 { "adapter " } else { ", " });
    }
    names
}
