//! Threads that each run forward and backward passes of their own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool for each worker, of one thread if there are several: a pass that waited for another one's operations would hold
/// the memory of two.
#[derive(Debug)]
pub(crate) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// Workers on `n_threads` threads: one worker with all of them, if passes must run one after another.
    pub(crate) fn new(n_threads: usize, in_parallel: bool) -> Self {
        let n_threads = n_threads.max(1);
        let (n, threads_each) = if in_parallel { (n_threads, 1) } else { (1, n_threads) };
        let pool = |_| ThreadPoolBuilder::new().num_threads(threads_each).build().expect("a thread can be started");
        Self { pools: (0..n).map(pool).collect() }
    }

    /// Runs `work` for each item, and returns the results in the items' order.
    pub(crate) fn map<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
        let run = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { return };
                *results[at].lock().expect("no worker panicked") = Some(work(item));
            }
        };
        std::thread::scope(|scope| {
            for pool in &self.pools {
                scope.spawn(|| pool.install(run));
            }
        });
        results
            .into_iter()
            .map(|result| result.into_inner().expect("no worker panicked").expect("each item ran"))
            .collect()
    }
}
