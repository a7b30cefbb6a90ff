//! Turns of the base models: which one gets the next batch, and at which level its requests start.
//!
//! A batch has pairs of one base model. The next one is of the base model that has had the least time so far, of those that
//! have requests; a base model that has had none starts level with the last batch's. This is start-time fair queueing
//! (Goyal, Vin and Cheng, 1996), with the measured time of batches for the length of packets. Thus base models with requests
//! get equal shares of the time, however many requests each has and however slow it is, except for one batch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::base_copy::BaseCopy;

/// The turns of the base models, of background work or of all other requests.
#[derive(Debug, Default)]
pub(super) struct Turns {
    by_base: BTreeMap<BaseCopy, Turn>,
    /// The time that the base model of the last batch had had before it; never decreases.
    reached: Duration,
}

#[derive(Debug, Default)]
struct Turn {
    /// The time of its batches, and before that the level at which it started.
    time: Duration,
    /// The tokens taken by the least served request of its last batch; never decreases.
    n_tokens_reached: u64,
}

impl Turns {
    /// Starts a base model that has had no requests.
    pub(super) fn start(&mut self, base: BaseCopy) {
        let turn = self.by_base.entry(base).or_default();
        turn.time = turn.time.max(self.reached);
    }

    /// The time that orders the base models.
    pub(super) fn time(&self, base: &BaseCopy) -> Duration {
        self.by_base.get(base).map_or(Duration::ZERO, |turn| turn.time)
    }

    /// The least level at which a new request of a base model starts, in tokens.
    pub(super) fn n_tokens_reached(&self, base: &BaseCopy) -> u64 {
        self.by_base.get(base).map_or(0, |turn| turn.n_tokens_reached)
    }

    /// A batch of a base model begins; its least served request has taken this many tokens.
    pub(super) fn begin(&mut self, base: BaseCopy, n_tokens_least: u64) {
        let turn = self.by_base.entry(base).or_default();
        turn.n_tokens_reached = turn.n_tokens_reached.max(n_tokens_least);
        self.reached = self.reached.max(turn.time);
    }

    /// A batch of a base model ends.
    pub(super) fn end(&mut self, base: BaseCopy, took: Duration) {
        let turn = self.by_base.entry(base).or_default();
        turn.time = turn.time.saturating_add(took);
    }
}
