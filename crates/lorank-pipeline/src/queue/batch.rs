//! Batches for the reranker.

use lorank_cache::{ScoreCache, ScoreKey};
use lorank_core::{EncodedPair, Reranker, Score, with_causes};

use super::base_copy::BaseCopy;
use super::{failed, guarded};
use crate::Fallback;

/// A request's number, in order of arrival.
pub(super) type RequestNumber = u64;

/// A pair of a waiting request.
pub(super) struct QueuedPair {
    /// Its request.
    pub request: RequestNumber,
    /// Its index among its request's pairs.
    pub index: usize,
    pub key: ScoreKey,
    pub encoded: EncodedPair,
}

impl QueuedPair {
    pub(super) fn n_tokens(&self) -> usize {
        self.encoded.n_tokens().get()
    }
}

/// Pairs of several requests, to be scored in one call.
#[derive(Default)]
pub(super) struct Batch {
    /// The copy of the base model that scores all its pairs; `None` while there are none.
    pub base: Option<BaseCopy>,
    /// The pairs, grouped by request: a prefix that their texts share is then computed once.
    pub pairs: Vec<QueuedPair>,
    /// Pairs that share the score of an equal one in `pairs`.
    pub joined: Vec<QueuedPair>,
    pub n_tokens: usize,
    pub is_background: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether a pair of `n_tokens` still fits. The first pair always fits, however long it is.
    pub(super) fn has_room(&self, n_tokens: usize, tokens_max: usize) -> bool {
        self.is_empty() || self.n_tokens.saturating_add(n_tokens) <= tokens_max
    }

    pub(super) fn add(&mut self, pair: QueuedPair) {
        self.n_tokens = self.n_tokens.saturating_add(pair.n_tokens());
        self.pairs.push(pair);
    }

    /// Scores the batch, and checks that the reranker returns an outcome for each pair.
    pub(super) fn score<R: Reranker>(&self, reranker: &R) -> Vec<Result<Score, Fallback>> {
        let pairs: Vec<&EncodedPair> = self.pairs.iter().map(|pair| &pair.encoded).collect();
        let answered = guarded(|| reranker.score(&pairs)).and_then(|answered| {
            let (found, expected) = (answered.len(), pairs.len());
            let wrong = || failed(format!("the reranker returned {found} scores for {expected} pairs"));
            if found == expected { Ok(answered) } else { Err(wrong()) }
        });
        match answered {
            Ok(outcomes) => {
                let checked = outcomes.into_iter().map(|outcome| outcome.map_err(|error| failed(with_causes(&*error))));
                checked.collect()
            }
            Err(fallback) => vec![Err(fallback); pairs.len()],
        }
    }

    /// Caches the finished scores, even if no caller waits for them any more.
    pub(super) fn keep(&self, outcomes: &[Result<Score, Fallback>], cache: &ScoreCache) {
        let scored = self.pairs.iter().zip(outcomes);
        let scored = scored.filter_map(|(pair, outcome)| Some((pair.key, *outcome.as_ref().ok()?)));
        let (keys, scores): (Vec<ScoreKey>, Vec<Score>) = scored.unzip();
        cache.put_many(&keys, &scores);
    }
}
