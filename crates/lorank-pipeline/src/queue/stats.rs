//! What the queue holds and has done, for those who watch over it.

use std::time::Duration;

/// What waits for the model, and what the model has done so far. Tokens are those that the reranker counted as it encoded the
/// pairs ([`EncodedPair::n_tokens`](lorank_core::EncodedPair::n_tokens)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Requests with pairs that no batch holds yet.
    pub n_requests_waiting: usize,
    /// Their pairs that no batch holds yet.
    pub n_pairs_waiting: usize,
    /// The tokens of those pairs.
    pub n_tokens_waiting: usize,
    /// Batches that were given to the reranker and came back, failed ones included.
    pub n_batches: u64,
    /// Pairs of those batches that got a score.
    pub n_pairs_scored: u64,
    /// Tokens of all those batches.
    pub n_tokens_run: u64,
    /// How many of those batches had up to as many tokens as [`QueueStats::BATCH_TOKENS`] says at the same place, and more
    /// than at the place before; the last one counts those that had more.
    pub n_batches_by_tokens: [u64; QueueStats::BATCH_TOKENS.len() + 1],
    /// The time that the reranker took for them.
    pub busy: Duration,
    /// The tokens per second of the last batches, by which requests are admitted; 0 before one was measured.
    pub tokens_per_second: u64,
}

impl QueueStats {
    /// The sizes of batches that are told apart.
    pub const BATCH_TOKENS: [usize; 8] = [128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384];

    /// Counts a batch that came back.
    pub(super) fn count_batch(&mut self, n_tokens: usize, took: Duration) {
        let size = Self::BATCH_TOKENS.partition_point(|max| *max < n_tokens);
        self.n_batches_by_tokens[size] += 1;
        self.n_batches += 1;
        self.n_tokens_run = self.n_tokens_run.saturating_add(n_tokens as u64);
        self.busy = self.busy.saturating_add(took);
    }

    /// The time that the model needs for all that waits now, at its pace so far. Zero while no batch has been run.
    pub fn estimated_wait(&self) -> Duration {
        if self.n_tokens_run == 0 {
            return Duration::ZERO;
        }
        let seconds_per_token = self.busy.as_secs_f64() / self.n_tokens_run as f64;
        Duration::try_from_secs_f64(seconds_per_token * self.n_tokens_waiting as f64).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(n_tokens_waiting: usize, n_tokens_run: u64, busy_millis: u64, expected_millis: u64) {
        let busy = Duration::from_millis(busy_millis);
        let stats = QueueStats { n_tokens_waiting, n_tokens_run, busy, ..QueueStats::default() };
        assert_eq!(stats.estimated_wait().as_millis(), u128::from(expected_millis), "{stats:?}");
    }

    #[test]
    fn the_wait_is_what_waits_at_the_pace_so_far() {
        check(0, 0, 0, 0);
        check(5_000, 0, 0, 0);
        check(0, 1_000, 500, 0);
        check(4_000, 1_000, 500, 2_000);
        check(10, 1_000, 500, 5);
    }

    #[test]
    fn batches_are_counted_by_their_size() {
        let mut stats = QueueStats::default();
        for n_tokens in [1, 128, 129, 16_384, 16_385, usize::MAX] {
            stats.count_batch(n_tokens, Duration::ZERO);
        }
        assert_eq!(stats.n_batches_by_tokens, [2, 1, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!((stats.n_batches, stats.n_tokens_run), (6, u64::MAX));
    }

    #[test]
    fn an_endless_wait_can_be_said() {
        let stats =
            QueueStats { n_tokens_waiting: usize::MAX, n_tokens_run: 1, busy: Duration::MAX, ..QueueStats::default() };
        assert_eq!(stats.estimated_wait(), Duration::MAX);
    }
}
