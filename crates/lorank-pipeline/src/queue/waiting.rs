//! The waiting requests, and the choice of the next batch.
//!
//! **Fair shares.** Among the first waiting pairs of all requests, the next one for a batch is the one that brings its
//! request to the fewest tokens taken so far; ties go to the earlier request. A pair that no longer fits waits for the
//! next batch, and so does its request. A new request starts level with the least served waiting request, or with the
//! least served request of the last batch if that has come further. This is fair queueing by finishing tags (Demers,
//! Keshav and Shenker, 1989), with tokens for bits and pairs for packets. It guarantees:
//!
//! - A request of at most `tokens_max / n` tokens that finds `n - 1` others waiting is entirely in the next batch: only
//!   pairs that bring their own request no further than that come before its last pair, so at most `n` times as many
//!   tokens. (Pairs that did not fit in the last batch come first.)
//! - Capacity that a small request does not use goes to larger ones, so batches are full as long as enough pairs wait.
//! - No request starves: with every batch, the level at which new requests start rises past requests left behind, and
//!   the first pair of a batch always fits.
//!
//! **Base models take turns** (see [`turns`](super::turns)): a batch has pairs of one base model only, and base models get
//! equal shares of the time. What is said above holds for the requests of one base model and its batches. Batches of a slow
//! base model are smaller, so that requests of the others wait briefly.
//!
//! **Background work has the lowest priority.** It gets a batch only while nothing else waits, and a small one, so that
//! a request that arrives meanwhile waits briefly.
//!
//! **Admitted requests finish in time.** A request is admitted only if it and all requests admitted before it on its base
//! model are expected to finish by their deadlines at the models' pace (see [`pace`](super::pace)); otherwise it is rejected
//! immediately. Without admission control, too many requests share the model and all of them are late.
//!
//! **Nothing is scored twice.** A waiting pair is looked up in the cache again when its turn comes, because another
//! request's batch may have scored it meanwhile; of equal pairs in one batch, one is scored and the others share its
//! score.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Weak;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use lorank_cache::{ScoreCache, ScoreKey};
use lorank_core::{Deadline, Digest, Score};

use super::base_copy::BaseCopy;
use super::batch::{Batch, QueuedPair, RequestNumber};
use super::began::Began;
use super::pace::{Demand, Moment, Paces, Running};
use super::turns::Turns;
use super::{Limits, Outcome, QueueStats, Submission, abandoned, thread_has_ended};
use crate::{Cancellation, Fallback};

/// The maximum tokens of a background batch: about three passages.
const BACKGROUND_TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(512).expect("512 is not 0");

/// All unanswered requests by number, and thus in order of arrival.
#[derive(Default)]
pub(super) struct Waiting {
    requests: BTreeMap<RequestNumber, Request>,
    n_arrived: RequestNumber,
    is_closed: bool,
    turns: Turns,
    background_turns: Turns,
    paces: Paces,
    running: Option<Running>,
    /// The counters. Waiting requests are counted on demand.
    done: QueueStats,
}

/// An unanswered request.
pub(super) struct Request {
    /// The digest of the base model that scores its pairs.
    base: BaseCopy,
    /// The pairs that are in no batch yet.
    pending: VecDeque<QueuedPair>,
    /// The scores so far, by the pairs' indices.
    scores: Vec<Option<Score>>,
    n_missing: usize,
    /// The tokens taken by batches, plus the level at which the request started.
    n_tokens_taken: u64,
    deadline: Option<Deadline>,
    cancellation: Cancellation,
    is_background: bool,
    /// Dangling once the caller has stopped waiting, for whatever reason.
    began: Weak<Began>,
    reply: SyncSender<Outcome>,
}

impl Request {
    pub(super) fn new(submission: Submission, began: Weak<Began>, reply: SyncSender<Outcome>) -> Self {
        let n_pairs = submission.pairs.len();
        let pairs = submission.pairs.into_iter().zip(submission.keys).enumerate();
        // Admission assigns the number.
        let pending = pairs.map(|(index, (encoded, key))| QueuedPair { request: 0, index, key, encoded });
        Self {
            base: submission.base,
            pending: pending.collect(),
            scores: vec![None; n_pairs],
            n_missing: n_pairs,
            n_tokens_taken: 0,
            deadline: submission.deadline,
            cancellation: submission.cancellation,
            is_background: submission.is_background,
            began,
            reply,
        }
    }

    /// Why the scores are no longer needed, if so.
    fn abandoned(&self, now: Instant) -> Option<Fallback> {
        let nobody_waits = || (self.began.strong_count() == 0).then_some(Fallback::Cancelled);
        abandoned(&self.cancellation, self.deadline, now).or_else(nobody_waits)
    }

    fn n_tokens_pending(&self) -> usize {
        self.pending.iter().map(QueuedPair::n_tokens).fold(0, usize::saturating_add)
    }

    /// The tokens taken once its next pair is in a batch.
    fn n_tokens_with_next(&self) -> Option<u64> {
        self.pending.front().map(|pair| self.n_tokens_taken.saturating_add(pair.n_tokens() as u64))
    }

    fn demand(&self) -> Demand {
        Demand { n_tokens: self.n_tokens_pending(), deadline: self.deadline.map(|deadline| deadline.instant()) }
    }

    fn has_begun(&self, now: Instant) {
        if let Some(began) = self.began.upgrade() {
            began.set(now);
        }
    }
}

impl Waiting {
    /// Admits a request if there is room for it, and if it and all requests admitted before on its base model are expected
    /// to finish by their deadlines. An empty queue admits any number of pairs, so that no request is too large forever.
    pub(super) fn admit(&mut self, mut request: Request, limits: &Limits, now: Instant) -> Result<(), Fallback> {
        if self.is_closed {
            return Err(thread_has_ended());
        }
        self.drop_abandoned(now);
        if self.is_full_for(&request, limits) {
            return Err(Fallback::QueueFull);
        }
        if let Some(retry_after) = self.excess_with(&request, limits, now) {
            return Err(Fallback::WouldMissDeadline { retry_after });
        }
        if !self.is_active(&request) {
            self.turns_of(request.is_background).start(request.base);
        }
        request.n_tokens_taken = self.n_tokens_at_start(&request.base, request.is_background);
        let number = self.n_arrived;
        request.pending.iter_mut().for_each(|pair| pair.request = number);
        self.requests.insert(number, request);
        self.n_arrived += 1;
        Ok(())
    }

    /// By how much the request, or one admitted before it, would miss its deadline; `None` if none would. Background
    /// work uses the remaining capacity and delays nothing.
    fn excess_with(&self, request: &Request, limits: &Limits, now: Instant) -> Option<Duration> {
        if request.is_background || !limits.admits_by_estimate {
            return None;
        }
        let waiting = || self.waiting().filter(|other| !other.is_background);
        let mut demands: Vec<Demand> =
            waiting().filter(|other| other.base == request.base).map(Request::demand).collect();
        let is_running = self.running.is_some_and(|running| running.base == request.base);
        let is_idle = demands.is_empty() && !is_running;
        if is_idle && self.paces.is_outdated(&request.base, now) {
            return None;
        }
        demands.push(request.demand());
        let moment = Moment { now, running: self.running, batch_tokens_max: limits.tokens_max };
        self.paces.excess(request.base, &demands, waiting().map(|other| other.base), &moment)
    }

    /// Background and other requests have separate limits.
    fn is_full_for(&self, request: &Request, limits: &Limits) -> bool {
        let waiting = || self.waiting().filter(|other| other.is_background == request.is_background);
        let (n_requests, n_pairs) = (waiting().count(), waiting().map(|other| other.pending.len()).sum::<usize>());
        let n_pairs_with = n_pairs.saturating_add(request.pending.len());
        n_requests >= limits.requests_max.get() || (n_requests > 0 && n_pairs_with > limits.pairs_max.get())
    }

    /// Answers abandoned requests, before they cost a forward pass.
    fn drop_abandoned(&mut self, now: Instant) {
        let abandoned = self.requests.iter().filter_map(|(&number, request)| Some((number, request.abandoned(now)?)));
        for (number, reason) in abandoned.collect::<Vec<_>>() {
            let n_pairs_left = self.requests[&number].n_missing;
            tracing::debug!(n_pairs_left, reason = reason.reason(), "dropped an abandoned request");
            self.answer(number, Err(reason));
        }
    }

    /// Takes the next batch: pairs of one base model, at most `tokens_max` tokens, but at least one pair if one waits that
    /// is not cached.
    pub(super) fn next_batch(&mut self, tokens_max: NonZeroUsize, cache: &ScoreCache, now: Instant) -> Batch {
        self.drop_abandoned(now);
        let is_background = self.waiting().all(|request| request.is_background);
        let tokens_max = if is_background { tokens_max.min(BACKGROUND_TOKENS_MAX) } else { tokens_max };
        let mut batch = Batch { is_background, ..Batch::default() };
        for base in self.bases_in_turn(is_background) {
            self.fill(&mut batch, base, tokens_max, cache, now);
            if !batch.is_empty() {
                break;
            }
        }
        batch.pairs.sort_by_key(|pair| pair.request);
        let least = batch.pairs.iter().map(|pair| self.requests[&pair.request].n_tokens_taken).min();
        if let Some((base, least)) = batch.base.zip(least) {
            self.turns_of(is_background).begin(base, least);
        }
        self.running = batch.base.map(|base| Running { base, n_tokens: batch.n_tokens, since: now });
        batch
    }

    /// The base models with waiting requests in the order of their turns; ties go to the earliest request.
    fn bases_in_turn(&self, is_background: bool) -> Vec<BaseCopy> {
        let turns = if is_background { &self.background_turns } else { &self.turns };
        let mut bases: Vec<BaseCopy> = Vec::new();
        for request in self.waiting().filter(|request| request.is_background == is_background) {
            if !bases.contains(&request.base) {
                bases.push(request.base);
            }
        }
        bases.sort_by_key(|base| turns.time(base));
        bases
    }

    /// Fills a batch with pairs of a base model.
    fn fill(&mut self, batch: &mut Batch, base: BaseCopy, tokens_max: NonZeroUsize, cache: &ScoreCache, now: Instant) {
        let tokens_max = self.paces.batch_tokens_max(&base, tokens_max);
        let sits_out = |request: &Request| request.is_background != batch.is_background || request.base != base;
        let sitting_out = self.requests.iter().filter(|(_, request)| sits_out(request));
        let (mut keys, mut sit_out) = (HashSet::new(), sitting_out.map(|(&number, _)| number).collect::<HashSet<_>>());
        while let Some(number) = self.next_in_turn(&sit_out) {
            let request = self.requests.get_mut(&number).expect("the next request is waiting");
            let pair = request.pending.pop_front().expect("a waiting request has a pair");
            if let Some(score) = cache.peek(&pair.key) {
                self.settle(number, pair.index, score);
            } else if keys.contains(&pair.key) {
                request.has_begun(now);
                batch.joined.push(pair);
            } else if batch.has_room(pair.n_tokens(), tokens_max) {
                request.has_begun(now);
                request.n_tokens_taken = request.n_tokens_taken.saturating_add(pair.n_tokens() as u64);
                keys.insert(pair.key);
                batch.base = Some(base);
                batch.add(pair);
            } else {
                request.pending.push_front(pair);
                sit_out.insert(number);
            }
        }
    }

    /// The request whose next pair brings it to the fewest tokens; ties go to the earliest.
    fn next_in_turn(&self, sit_out: &HashSet<RequestNumber>) -> Option<RequestNumber> {
        let requests = self.requests.iter().filter(|(number, _)| !sit_out.contains(number));
        let tags = requests.filter_map(|(&number, request)| Some((request.n_tokens_with_next()?, number)));
        tags.min().map(|(_, number)| number)
    }

    /// Delivers the outcome of each pair of a batch to its request. A failed pair fails its request.
    pub(super) fn finish(
        &mut self,
        batch: Batch,
        outcomes: Vec<Result<Score, Fallback>>,
        took: Duration,
        now: Instant,
    ) {
        self.running = None;
        self.done.count_batch(batch.n_tokens, took);
        let (base, is_background) = (batch.base, batch.is_background);
        if let Some(base) = base {
            self.turns_of(is_background).end(base, took);
        }
        if let Some(base) = base.filter(|_| !is_background) {
            self.paces.record(base, batch.n_tokens, took, now);
        }
        let mut scored: HashMap<ScoreKey, Score> = HashMap::new();
        for (pair, outcome) in batch.pairs.into_iter().zip(outcomes) {
            match outcome {
                Ok(score) => {
                    self.done.n_pairs_scored += 1;
                    self.settle(pair.request, pair.index, score);
                    scored.insert(pair.key, score);
                }
                Err(reason) => self.answer(pair.request, Err(reason)),
            }
        }
        let n_tokens_taken = base.map_or(0, |base| self.n_tokens_at_start(&base, is_background));
        self.settle_joined(batch.joined, &scored, n_tokens_taken);
    }

    /// Requeues joined pairs whose equal pair failed: a failing pair does not affect other requests.
    fn settle_joined(&mut self, joined: Vec<QueuedPair>, scored: &HashMap<ScoreKey, Score>, n_tokens_taken: u64) {
        for pair in joined.into_iter().rev() {
            if let Some(&score) = scored.get(&pair.key) {
                self.settle(pair.request, pair.index, score);
            } else if let Some(request) = self.requests.get_mut(&pair.request) {
                // It starts level again, because others may have done so while none of its pairs waited.
                request.n_tokens_taken = n_tokens_taken;
                request.pending.push_front(pair);
            }
        }
    }

    /// Gives a request one of its scores, and its answer with the last one. The request may have been answered before.
    fn settle(&mut self, number: RequestNumber, index: usize, score: Score) {
        let Some(request) = self.requests.get_mut(&number) else { return };
        let before = request.scores[index].replace(score);
        debug_assert!(before.is_none(), "a pair is in one batch at most");
        request.n_missing -= 1;
        if request.n_missing == 0 {
            let scores = request.scores.iter().copied().collect::<Option<_>>().expect("no score is missing");
            self.answer(number, Ok(scores));
        }
    }

    /// Answers a request and removes it, so that it is answered once.
    fn answer(&mut self, number: RequestNumber, outcome: Outcome) {
        if let Some(request) = self.requests.remove(&number) {
            // A caller that has fallen back no longer listens.
            let _ = request.reply.send(outcome);
        }
    }

    /// Closes the queue, and answers all waiting requests.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        for (_, request) in std::mem::take(&mut self.requests) {
            let _ = request.reply.send(Err(thread_has_ended()));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether no pair is waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().next().is_none()
    }

    /// The tokens of the pairs that are in no batch yet.
    pub(super) fn n_tokens(&self) -> usize {
        self.waiting().map(Request::n_tokens_pending).fold(0, usize::saturating_add)
    }

    fn n_pairs(&self) -> usize {
        self.waiting().map(|request| request.pending.len()).sum()
    }

    /// The throughput of a base model's recent batches in tokens per second; `None` before its first batch.
    pub(super) fn tokens_per_second_of(&self, base: &Digest) -> Option<f64> {
        self.paces.tokens_per_second_of_all_copies(base)
    }

    pub(super) fn stats(&self) -> QueueStats {
        QueueStats {
            n_requests_waiting: self.waiting().count(),
            n_pairs_waiting: self.n_pairs(),
            n_tokens_waiting: self.n_tokens(),
            tokens_per_second: self.paces.tokens_per_second().map_or(0, |pace| pace as u64),
            ..self.done
        }
    }

    /// The level at which a new request of a base model starts.
    fn n_tokens_at_start(&self, base: &BaseCopy, is_background: bool) -> u64 {
        let turns = if is_background { &self.background_turns } else { &self.turns };
        let alike = self.waiting().filter(|other| other.base == *base && other.is_background == is_background);
        let least = alike.map(|request| request.n_tokens_taken).min();
        least.unwrap_or(0).max(turns.n_tokens_reached(base))
    }

    /// Whether the base model of a request has other requests of its kind that wait or run.
    fn is_active(&self, request: &Request) -> bool {
        let is_alike = |other: &Request| other.base == request.base && other.is_background == request.is_background;
        self.requests.values().any(is_alike)
    }

    fn turns_of(&mut self, is_background: bool) -> &mut Turns {
        if is_background { &mut self.background_turns } else { &mut self.turns }
    }

    /// The requests with pairs that are in no batch yet.
    fn waiting(&self) -> impl Iterator<Item = &Request> {
        self.requests.values().filter(|request| !request.pending.is_empty())
    }
}
