//! The threads that run the model, behind a bounded queue.

use std::any::Any;
use std::error::Error;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use lorank_cache::{ScoreCache, ScoreKey};
use lorank_core::{Candidate, Deadline, Group, ModelVersion, Query, Reranker, Score};

use crate::{Cancellation, Fallback, PipelineConfig, PipelineError};

/// Pairs to be scored, and for how long somebody wants them.
pub(crate) struct Work {
    pub query: Query,
    pub model: ModelVersion,
    pub pairs: Vec<Candidate>,
    /// The cache's key of each pair.
    pub keys: Vec<ScoreKey>,
    pub deadline: Option<Deadline>,
    pub cancellation: Cancellation,
}

impl Work {
    /// Why the scores are no longer wanted, if they are not.
    fn abandoned(&self) -> Option<Fallback> {
        if self.cancellation.is_cancelled() {
            return Some(Fallback::Cancelled);
        }
        self.deadline.filter(Deadline::has_passed).map(|_| Fallback::DeadlinePassed)
    }
}

/// All the scores of a piece of work, or why there are none.
type Outcome = Result<Vec<Score>, Fallback>;

/// A piece of work in the queue.
struct Job {
    work: Work,
    /// Dead once the caller has stopped waiting, for whatever reason.
    caller: Weak<()>,
    reply: SyncSender<Outcome>,
}

/// The sending end of the queue. When it is dropped, the threads end after the chunk they are at.
pub(crate) struct Workers {
    queue: SyncSender<Job>,
}

impl Workers {
    /// Starts the threads.
    pub fn start<R: Reranker + 'static>(
        reranker: Arc<R>,
        cache: Arc<ScoreCache>,
        config: &PipelineConfig,
    ) -> Result<Self, PipelineError> {
        let (queue, jobs) = mpsc::sync_channel(config.queue_max.get());
        let jobs = Arc::new(Mutex::new(jobs));
        for n in 1..=config.n_workers.get() {
            let (jobs, reranker, cache) = (jobs.clone(), reranker.clone(), cache.clone());
            let pairs_per_chunk = config.pairs_per_chunk;
            let run = move || {
                while let Some(job) = next(&jobs) {
                    let outcome = score(&job, &*reranker, &cache, pairs_per_chunk);
                    // A caller that has fallen back no longer listens.
                    let _ = job.reply.send(outcome);
                }
            };
            let thread = thread::Builder::new().name(format!("lorank-rerank-{n}"));
            thread.spawn(run).map_err(|source| PipelineError::SpawnWorker { source })?;
        }
        Ok(Self { queue })
    }

    /// Has the work done, and waits for it until its deadline.
    pub fn score(&self, work: Work) -> Outcome {
        if work.pairs.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(reason) = work.abandoned() {
            return Err(reason);
        }
        let deadline = work.deadline;
        let (reply, answer) = mpsc::sync_channel(1);
        let caller = Arc::new(());
        self.queue.try_send(Job { work, caller: Arc::downgrade(&caller), reply }).map_err(|error| match error {
            TrySendError::Full(_) => Fallback::QueueFull,
            TrySendError::Disconnected(_) => workers_have_ended(),
        })?;
        wait(&answer, deadline)
    }
}

fn wait(answer: &Receiver<Outcome>, deadline: Option<Deadline>) -> Outcome {
    let Some(deadline) = deadline else {
        return answer.recv().unwrap_or_else(|_| Err(workers_have_ended()));
    };
    answer.recv_timeout(deadline.remaining()).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(Fallback::DeadlinePassed),
        RecvTimeoutError::Disconnected => Err(workers_have_ended()),
    })
}

fn workers_have_ended() -> Fallback {
    failed("the threads that run the reranker have ended")
}

fn failed(message: impl Into<String>) -> Fallback {
    Fallback::RerankerFailed { message: message.into() }
}

/// The next job; `None` once no more can come. One thread waits at the queue, the others for their turn there.
fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Scores a job chunk by chunk, as long as somebody wants it. Every finished chunk goes into the cache.
fn score<R: Reranker>(job: &Job, reranker: &R, cache: &ScoreCache, pairs_per_chunk: NonZeroUsize) -> Outcome {
    let work = &job.work;
    let mut scores = Vec::with_capacity(work.pairs.len());
    for (pairs, keys) in work.pairs.chunks(pairs_per_chunk.get()).zip(work.keys.chunks(pairs_per_chunk.get())) {
        let nobody_waits = || (job.caller.strong_count() == 0).then_some(Fallback::Cancelled);
        if let Some(reason) = work.abandoned().or_else(nobody_waits) {
            tracing::debug!(n_scored = scores.len(), n_pairs = work.pairs.len(), "dropped an abandoned request");
            return Err(reason);
        }
        let chunk = score_chunk(reranker, Group { query: &work.query, model: &work.model, candidates: pairs })?;
        cache.put_many(keys, &chunk);
        scores.extend(chunk);
    }
    Ok(scores)
}

/// Scores one chunk, and holds the reranker to its contract.
fn score_chunk<R: Reranker>(reranker: &R, group: Group<'_>) -> Outcome {
    // The reranker is shared behind `&`, and whatever it leaves half-done in a panic is its own to guard.
    let answered = catch_unwind(AssertUnwindSafe(|| reranker.score(&[group])))
        .map_err(|panic| failed(format!("the reranker panicked: {}", panic_message(&*panic))))?;
    let [scores]: [_; 1] = answered
        .try_into()
        .map_err(|groups: Vec<_>| failed(format!("the reranker answered {} groups, but was asked 1", groups.len())))?;
    let scores = scores.map_err(|error| failed(with_causes(&*error)))?;
    if scores.len() != group.candidates.len() {
        let (found, expected) = (scores.len(), group.candidates.len());
        return Err(failed(format!("the reranker gave {found} scores for {expected} candidates")));
    }
    Ok(scores)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it gave no message")
}

/// The error and its causes on one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
