//! Threads that each run forward and backward passes of their own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool of one thread for each worker: a pass that waited for another one's operations would hold the memory of two.
#[derive(Debug)]
pub(crate) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    pub(crate) fn new(n: usize) -> Self {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build().expect("a thread can be started");
        Self { pools: (0..n.max(1)).map(pool).collect() }
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
