//! A bounded queue in front of the one thread that runs the model.
//!
//! Callers encode their pairs on their own threads before they enter the queue, so the model's thread only runs the
//! model, and token counts are exact. Requests share batches: each batch is filled from all waiting requests up to a
//! token limit, and scored in one call. [`waiting`] decides on admission and fair shares, using the model's [`pace`];
//! [`batch`] scores; this module has the callers' side and the thread.
//!
//! A model is itself parallel, so one thread keeps it busy; a second one would only compete for cores. That is true of
//! several base models, too: they take turns on the one thread, a batch each, and no batch mixes them.

mod base_copy;
#[cfg(test)]
mod base_models_tests;
mod batch;
mod began;
mod pace;
#[cfg(test)]
mod simulation;
mod stats;
#[cfg(test)]
mod tests;
mod turns;
mod waiting;
#[cfg(test)]
mod waiting_tests;

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lorank_cache::{ScoreCache, ScoreKey};
use lorank_core::{Deadline, Digest, EncodedPair, Reranker, Score};

pub(crate) use self::base_copy::BaseCopy;
use self::batch::Batch;
use self::began::Began;
pub use self::stats::QueueStats;
use self::waiting::{Request, Waiting};
use crate::{Cancellation, Fallback, PipelineConfig, PipelineError};

/// Encoded pairs to score, with their deadline and cancellation.
pub(crate) struct Submission {
    /// The copy of the base model that scores the pairs.
    pub base: BaseCopy,
    pub pairs: Vec<EncodedPair>,
    /// The cache key of each pair.
    pub keys: Vec<ScoreKey>,
    pub deadline: Option<Deadline>,
    pub cancellation: Cancellation,
    /// Whether the submission has the lowest priority.
    pub is_background: bool,
}

/// All scores of a submission, or the reason why there are none.
pub(crate) type Outcome = Result<Vec<Score>, Fallback>;

/// The result of a submission.
pub(crate) struct Served {
    pub outcome: Outcome,
    /// The time before the model started with it.
    pub queue_time: Duration,
}

/// The caller's handle of a waiting request. Dropping it ends the wait.
struct Entered {
    began: Arc<Began>,
    /// Receives the request's outcome.
    answer: Receiver<Outcome>,
}

/// The limits of the queue and its batches.
#[derive(Debug, Clone, Copy)]
struct Limits {
    requests_max: NonZeroUsize,
    pairs_max: NonZeroUsize,
    tokens_max: NonZeroUsize,
    wait: Duration,
    /// Whether to reject a request that would miss its deadline, or make another one miss it.
    admits_by_estimate: bool,
}

/// The callers' end of the queue. Dropping it stops the thread after the current batch.
pub(crate) struct Queue {
    shared: Arc<Shared>,
}

/// The state shared by callers and the model's thread.
struct Shared {
    waiting: Mutex<Waiting>,
    /// Signals that a pair waits or the queue is closed. Only the model's thread waits for it.
    changed: Condvar,
    limits: Limits,
}

impl Queue {
    /// Starts the model's thread.
    pub(crate) fn start<R: Reranker + 'static>(
        reranker: Arc<R>,
        cache: Arc<ScoreCache>,
        config: &PipelineConfig,
    ) -> Result<Self, PipelineError> {
        let limits = Limits {
            requests_max: config.queue_max,
            pairs_max: config.queue_pairs_max,
            tokens_max: config.tokens_max,
            wait: Duration::from_micros(config.wait_micros),
            admits_by_estimate: config.admits_by_estimate,
        };
        let shared = Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), limits });
        let close_at_end = CloseOnDrop(shared.clone());
        let run = move || close_at_end.0.run(&*reranker, &cache);
        let thread = thread::Builder::new().name("lorank-rerank".to_owned());
        thread.spawn(run).map_err(|source| PipelineError::SpawnWorker { source })?;
        Ok(Self { shared })
    }

    /// Scores all submissions, waiting for each until its deadline, and returns each result with its owner. All
    /// submissions enter the queue together, so that they share batches from the first one on.
    pub(crate) fn score_all<T>(&self, submissions: Vec<(T, Submission)>) -> Vec<(T, Served)> {
        if submissions.is_empty() {
            return Vec::new();
        }
        let arrived = Instant::now();
        let request = |(owner, submission): (T, Submission)| (owner, submission.deadline, request(submission, arrived));
        let requests: Vec<_> = submissions.into_iter().map(request).collect();
        let mut waiting = self.shared.lock();
        let admit = |(owner, deadline, request): (T, _, Result<(Request, Entered), Fallback>)| {
            let admitted = request.and_then(|(request, entered)| {
                waiting.admit(request, &self.shared.limits, arrived)?;
                Ok(entered)
            });
            (owner, deadline, admitted)
        };
        let entered: Vec<_> = requests.into_iter().map(admit).collect();
        drop(waiting);
        self.shared.changed.notify_one();
        let serve = |(owner, deadline, entered): (T, _, Result<Entered, Fallback>)| {
            let served = match entered {
                Err(fallback) => Served { outcome: Err(fallback), queue_time: arrived.elapsed() },
                Ok(Entered { began, answer }) => {
                    let outcome = wait(&answer, deadline);
                    let waited_until = began.get().unwrap_or_else(Instant::now);
                    Served { outcome, queue_time: waited_until.saturating_duration_since(arrived) }
                }
            };
            (owner, served)
        };
        entered.into_iter().map(serve).collect()
    }

    /// The contents and counters of the queue.
    pub(crate) fn stats(&self) -> QueueStats {
        self.shared.lock().stats()
    }

    /// The throughput of a base model's recent batches in tokens per second; `None` before its first batch.
    pub(crate) fn tokens_per_second_of(&self, base: &Digest) -> Option<f64> {
        self.shared.lock().tokens_per_second_of(base)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    /// The model's thread: runs batches until the queue is closed.
    fn run<R: Reranker>(&self, reranker: &R, cache: &ScoreCache) {
        // A model that has just started is idle too, although a request may have arrived before its thread started.
        drop(self.idle(self.lock()));
        while let Some(batch) = self.next_batch(cache) {
            let started = Instant::now();
            let outcomes = batch.score(reranker);
            batch.keep(&outcomes, cache);
            let now = Instant::now();
            self.lock().finish(batch, outcomes, now.saturating_duration_since(started), now);
        }
    }

    /// Waits for the next batch; `None` once the queue is closed.
    fn next_batch(&self, cache: &ScoreCache) -> Option<Batch> {
        let mut waiting = self.lock();
        while !waiting.is_closed() {
            let batch = waiting.next_batch(self.limits.tokens_max, cache, Instant::now());
            if !batch.is_empty() {
                return Some(batch);
            }
            waiting = self.idle(waiting);
        }
        None
    }

    /// Waits for a request, and then up to `wait_micros` for others to join its batch. Under load this does not wait:
    /// requests gather while a batch runs.
    fn idle<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        let is_idle = |waiting: &mut Waiting| waiting.is_empty() && !waiting.is_closed();
        let waiting = self.changed.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner);
        if self.limits.wait.is_zero() {
            return waiting;
        }
        let tokens_max = self.limits.tokens_max.get();
        let has_room = |waiting: &mut Waiting| waiting.n_tokens() < tokens_max && !waiting.is_closed();
        let waited = self.changed.wait_timeout_while(waiting, self.limits.wait, has_room);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Closes the queue, and ends every caller's wait.
    fn close(&self) {
        self.lock().close();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No engine code runs under the lock, so a panic there is a bug in the queue, which then closes itself.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue when the thread ends, even by a panic, so that no caller waits for it.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Converts a submission into a request and the caller's handle.
fn request(submission: Submission, now: Instant) -> Result<(Request, Entered), Fallback> {
    if let Some(reason) = abandoned(&submission.cancellation, submission.deadline, now) {
        return Err(reason);
    }
    let (reply, answer) = mpsc::sync_channel(1);
    let began = Arc::new(Began::not_yet(submission.pairs.len()));
    let request = Request::new(submission, Arc::downgrade(&began), reply);
    Ok((request, Entered { began, answer }))
}

fn wait(answer: &Receiver<Outcome>, deadline: Option<Deadline>) -> Outcome {
    let Some(deadline) = deadline else {
        return answer.recv().unwrap_or_else(|_| Err(thread_has_ended()));
    };
    answer.recv_timeout(deadline.remaining()).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(Fallback::DeadlinePassed),
        RecvTimeoutError::Disconnected => Err(thread_has_ended()),
    })
}

/// Why the scores are no longer needed, if so.
pub(crate) fn abandoned(cancellation: &Cancellation, deadline: Option<Deadline>, now: Instant) -> Option<Fallback> {
    if cancellation.is_cancelled() {
        return Some(Fallback::Cancelled);
    }
    let has_passed = |deadline: &Deadline| deadline.remaining_at(now).is_zero();
    deadline.filter(has_passed).map(|_| Fallback::DeadlinePassed)
}

/// Runs the reranker's code, and catches panics.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Fallback> {
    // The reranker is shared by `&`, so it guards its own state against panics.
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|panic| failed(format!("the reranker panicked: {}", panic_message(&*panic))))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn thread_has_ended() -> Fallback {
    failed("the reranker's thread has stopped")
}

pub(crate) fn failed(message: impl Into<String>) -> Fallback {
    Fallback::RerankerFailed { message: message.into() }
}
