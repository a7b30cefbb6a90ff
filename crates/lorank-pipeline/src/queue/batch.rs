//! What the reranker is given at once.

use std::sync::Arc;

use lorank_cache::{ScoreCache, ScoreKey};
use lorank_core::{BoxError, Candidate, Group, ModelVersion, Query, Reranker, Score, with_causes};

use super::{Outcome, failed, guarded};

/// A request's number: the queue counts them as they arrive.
pub(super) type RequestNumber = u64;

/// A pair of a request that waits.
pub(super) struct Pair {
    /// Its place in the request.
    pub place: usize,
    pub key: ScoreKey,
    pub candidate: Candidate,
    /// What the reranker takes it to cost.
    pub n_tokens: usize,
}

/// Pairs of several requests, to be scored in one call.
#[derive(Default)]
pub(super) struct Batch {
    /// One for each request that has pairs here.
    pub groups: Vec<BatchGroup>,
    /// Pairs that wait for an equal one of another request's group.
    pub joined: Vec<(RequestNumber, Pair)>,
    pub n_tokens: usize,
}

/// The pairs of one request.
pub(super) struct BatchGroup {
    pub request: RequestNumber,
    pub query: Arc<Query>,
    pub model: Arc<ModelVersion>,
    pub candidates: Vec<Candidate>,
    pub keys: Vec<ScoreKey>,
    /// Each pair's place in the request.
    pub places: Vec<usize>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether a pair of so many tokens may still come in. One always may, however long it is.
    pub fn has_room(&self, n_tokens: usize, tokens_max: usize) -> bool {
        self.is_empty() || self.n_tokens.saturating_add(n_tokens) <= tokens_max
    }

    /// Adds a pair to its request's group; `new_group` makes that if it is the first one.
    pub fn add(&mut self, request: RequestNumber, pair: Pair, new_group: impl FnOnce() -> BatchGroup) {
        let at = self.groups.iter().position(|group| group.request == request).unwrap_or_else(|| {
            self.groups.push(new_group());
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        self.n_tokens = self.n_tokens.saturating_add(pair.n_tokens);
        group.candidates.push(pair.candidate);
        group.keys.push(pair.key);
        group.places.push(pair.place);
    }

    /// Has the reranker score it, and holds it to its contract: an outcome for each group.
    pub fn score<R: Reranker>(&self, reranker: &R) -> Vec<Outcome> {
        let groups: Vec<Group<'_>> = self.groups.iter().map(BatchGroup::as_group).collect();
        let answered = guarded(|| reranker.score(&groups)).and_then(|answered| {
            let (found, expected) = (answered.len(), groups.len());
            let wrong = || failed(format!("the reranker answered {found} groups, but was asked {expected}"));
            if found == expected { Ok(answered) } else { Err(wrong()) }
        });
        match answered {
            Ok(answered) => groups.iter().zip(answered).map(|(group, scores)| checked(group, scores)).collect(),
            Err(fallback) => vec![Err(fallback); groups.len()],
        }
    }

    /// Puts the finished scores into the cache, whether or not somebody still waits for them.
    pub fn keep(&self, outcomes: &[Outcome], cache: &ScoreCache) {
        for (group, outcome) in self.groups.iter().zip(outcomes) {
            if let Ok(scores) = outcome {
                cache.put_many(&group.keys, scores);
            }
        }
    }
}

impl BatchGroup {
    fn as_group(&self) -> Group<'_> {
        Group { query: &self.query, model: &self.model, candidates: &self.candidates }
    }
}

fn checked(group: &Group<'_>, scores: Result<Vec<Score>, BoxError>) -> Outcome {
    let scores = scores.map_err(|error| failed(with_causes(&*error)))?;
    let (found, expected) = (scores.len(), group.candidates.len());
    if found != expected {
        return Err(failed(format!("the reranker gave {found} scores for {expected} candidates")));
    }
    Ok(scores)
}
