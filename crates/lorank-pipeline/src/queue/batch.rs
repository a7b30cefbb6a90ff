//! What the reranker is given at once.

use lorank_cache::{ScoreCache, ScoreKey};
use lorank_core::{EncodedPair, Reranker, Score, with_causes};

use super::{failed, guarded};
use crate::Fallback;

/// A request's number: the queue counts them as they arrive.
pub(super) type RequestNumber = u64;

/// A pair of a request that waits.
pub(super) struct QueuedPair {
    /// The request that it belongs to.
    pub request: RequestNumber,
    /// Its index among the request's pairs.
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
    /// Those of one request stand together: what their texts begin with alike is then computed once.
    pub pairs: Vec<QueuedPair>,
    /// Pairs that wait for an equal one among `pairs`.
    pub joined: Vec<QueuedPair>,
    pub n_tokens: usize,
    pub is_background: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether a pair of so many tokens may still come in. One always may, however long it is.
    pub(super) fn has_room(&self, n_tokens: usize, tokens_max: usize) -> bool {
        self.is_empty() || self.n_tokens.saturating_add(n_tokens) <= tokens_max
    }

    pub(super) fn add(&mut self, pair: QueuedPair) {
        self.n_tokens = self.n_tokens.saturating_add(pair.n_tokens());
        self.pairs.push(pair);
    }

    /// Has the reranker score it, and holds it to its contract: an outcome for each pair.
    pub(super) fn score<R: Reranker>(&self, reranker: &R) -> Vec<Result<Score, Fallback>> {
        let pairs: Vec<&EncodedPair> = self.pairs.iter().map(|pair| &pair.encoded).collect();
        let answered = guarded(|| reranker.score(&pairs)).and_then(|answered| {
            let (found, expected) = (answered.len(), pairs.len());
            let wrong = || failed(format!("the reranker gave {found} scores for {expected} pairs"));
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

    /// Puts the finished scores into the cache, whether or not somebody still waits for them.
    pub(super) fn keep(&self, outcomes: &[Result<Score, Fallback>], cache: &ScoreCache) {
        let scored = self.pairs.iter().zip(outcomes);
        let scored = scored.filter_map(|(pair, outcome)| Some((pair.key, *outcome.as_ref().ok()?)));
        let (keys, scores): (Vec<ScoreKey>, Vec<Score>) = scored.unzip();
        cache.put_many(&keys, &scores);
    }
}
