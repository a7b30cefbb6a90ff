//! The contents and counters of the queue.

use std::time::Duration;

/// The contents and counters of the queue. Tokens are counted by the reranker when it encodes pairs
/// ([`EncodedPair::n_tokens`](lorank_core::EncodedPair::n_tokens)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Requests with pairs that are not in a batch yet.
    pub n_requests_waiting: usize,
    /// Pairs that are not in a batch yet.
    pub n_pairs_waiting: usize,
    /// The tokens of those pairs.
    pub n_tokens_waiting: usize,
    /// Batches that the reranker has finished, including failed ones.
    pub n_batches: u64,
    /// Pairs of these batches that got a score.
    pub n_pairs_scored: u64,
    /// Tokens of these batches.
    pub n_tokens_run: u64,
    /// A histogram of the batches by tokens: entry `i` counts batches with at most [`QueueStats::BATCH_TOKENS`]`[i]`
    /// tokens that exceed the bound before it; the last entry counts larger ones.
    pub n_batches_by_tokens: [u64; QueueStats::BATCH_TOKENS.len() + 1],
    /// The total time of these batches.
    pub busy: Duration,
    /// The throughput of the recent batches in tokens per second, which decides admission; 0 before the first batch.
    pub tokens_per_second: u64,
}

impl QueueStats {
    /// The bounds of the histogram of batch sizes, in tokens.
    pub const BATCH_TOKENS: [usize; 8] = [128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384];

    /// Counts a finished batch.
    pub(super) fn count_batch(&mut self, n_tokens: usize, took: Duration) {
        let size = Self::BATCH_TOKENS.partition_point(|max| *max < n_tokens);
        self.n_batches_by_tokens[size] += 1;
        self.n_batches += 1;
        self.n_tokens_run = self.n_tokens_run.saturating_add(n_tokens as u64);
        self.busy = self.busy.saturating_add(took);
    }

    /// The time to process all waiting tokens at the average throughput so far; zero before the first batch.
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
