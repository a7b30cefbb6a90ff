//! The limit on connections by available file descriptors.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::Instant;

/// The interval for checking whether more descriptors are free.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A limit on connections that applies after the process ran out of file descriptors. A quarter of the connections' descriptors is
/// reserved for the index and the database. The limit rises when more descriptors are free.
#[derive(Debug)]
pub(super) struct DescriptorLimit {
    n_connections_max: usize,
    n_kept_free: usize,
    /// The time of the last check or shortage; `None` without a limit.
    looked_at: Option<Instant>,
}

impl DescriptorLimit {
    /// No limit.
    pub(super) fn none() -> Self {
        Self { n_connections_max: usize::MAX, n_kept_free: 0, looked_at: None }
    }

    /// The maximum number of open connections.
    pub(super) fn n_connections_max(&self) -> usize {
        self.n_connections_max
    }

    /// Reports that there was no descriptor for a further connection.
    pub(super) fn ran_out(&mut self, n_connections: usize, now: Instant) {
        self.n_kept_free = (n_connections / 4).max(1);
        self.n_connections_max = n_connections.saturating_sub(self.n_kept_free).max(1);
        self.looked_at = Some(now);
    }

    /// Raises the limit by the free descriptors beyond the reserve. `n_free` returns the number of free descriptors and is called once
    /// per interval. On systems where it is unknown, the limit is removed until descriptors run out again.
    pub(super) fn look_again(&mut self, n_connections: usize, now: Instant, n_free: impl Fn() -> io::Result<usize>) {
        if self.looked_at.is_none_or(|at| now.saturating_duration_since(at) < LOOK_EVERY) {
            return;
        }
        self.looked_at = Some(now);
        let n_max = match n_free() {
            Ok(n_free) => n_connections.saturating_add(n_free.saturating_sub(self.n_kept_free)),
            Err(error) if error.kind() == ErrorKind::NotFound => usize::MAX,
            // There is no descriptor for the check.
            Err(_) => return,
        };
        if n_max > self.n_connections_max {
            tracing::info!(
                n_connections_max = n_max,
                "raised the limit on connections because more file descriptors are free"
            );
            self.n_connections_max = n_max;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_falls_when_descriptors_run_out_and_rises_when_there_are_more() {
        let (mut limit, mut now) = (DescriptorLimit::none(), Instant::now());
        limit.look_again(10, now, || panic!("nobody has to look where there is no limit"));
        limit.ran_out(40, now);
        assert_eq!(limit.n_connections_max(), 30);
        limit.look_again(30, now + LOOK_EVERY / 2, || panic!("it is too soon"));
        // What is said to be free, and the limit then.
        let cases: [(Result<usize, ErrorKind>, usize); 6] = [
            (Ok(0), 30),
            (Ok(10), 30),
            (Err(ErrorKind::Other), 30),
            (Ok(13), 33),
            (Ok(5), 33),
            (Err(ErrorKind::NotFound), usize::MAX),
        ];
        for (n, (n_free, expected)) in cases.into_iter().enumerate() {
            now += LOOK_EVERY;
            limit.look_again(30, now, || n_free.map_err(io::Error::from));
            assert_eq!(limit.n_connections_max(), expected, "look {n}");
        }
        limit.ran_out(0, now);
        assert_eq!(limit.n_connections_max(), 1, "one at the least");
    }
}
