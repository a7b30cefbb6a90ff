//! The settings of a store.

use std::time::Duration;

use lorank_experiments::CLOCK_SKEW_MILLIS;

/// The limits and settings of an [`ExperimentStore`](crate::ExperimentStore).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The maximum number of exposures and submissions that wait for the writer. At least 1.
    pub queue_max: usize,
    /// The maximum total bytes of exposures and shadow results that wait for the writer. Further ones are dropped and counted.
    pub queue_bytes_max: usize,
    /// The maximum number of events or exposures of a submission.
    pub submission_max: usize,
    /// The maximum number of experiments, including stopped ones.
    pub experiments_max: usize,
    /// The maximum number of judgments.
    pub judgments_max: usize,
    /// The interval for detecting other processes' changes of experiments, at least one millisecond.
    pub refresh: Duration,
    /// The actions that count as a click. Not case-sensitive.
    pub click_actions: Vec<String>,
    /// The tolerance for wrong client clocks. Events further in the future are rejected; those further before their answer are stored but
    /// not counted.
    pub clock_skew: Duration,
    /// The longest time that a change or a submission waits until it is stored, at least one millisecond. A write waits up to ten
    /// seconds for the lock of another process.
    pub wait_max: Duration,
}

impl StoreConfig {
    /// Whether an action counts as a click.
    pub fn is_click(&self, action_name: &str) -> bool {
        self.click_actions.iter().any(|action| action.eq_ignore_ascii_case(action_name))
    }

    pub(crate) fn clock_skew_millis(&self) -> i64 {
        i64::try_from(self.clock_skew.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Default for StoreConfig {
    /// A queue of 8,192 or 64 MiB, submissions of 1,000, 1,000 experiments, 1,000,000 judgments, a look at the file each second, the usual clicks,
    /// clocks that are off by an hour, and a wait of 15 seconds.
    fn default() -> Self {
        Self {
            queue_max: 8_192,
            queue_bytes_max: 64 << 20,
            submission_max: 1_000,
            experiments_max: 1_000,
            judgments_max: 1_000_000,
            refresh: Duration::from_secs(1),
            click_actions: ["click", "click_through", "item_click"].map(str::to_owned).into(),
            clock_skew: Duration::from_millis(CLOCK_SKEW_MILLIS.unsigned_abs()),
            wait_max: Duration::from_secs(15),
        }
    }
}
