//! From groups of texts to scores: the front of a [`ModelReranker`], which requests meet.

use std::sync::Arc;
use std::time::Instant;

use lorank_core::{AdapterId, AdapterVersion, BoxError, Candidate, Group, ModelVersion, Query, Reranker, Score};

use crate::model::PairToScore;
use crate::pass::StageTimes;
use crate::reranker::{Loaded, LoadedAdapter, ModelReranker};
use crate::{ModelError, Pair};

impl ModelReranker {
    /// Scores a batch as [`Reranker::score`] does, and tells where the time went.
    pub fn score_timed(&self, batch: &[Group<'_>]) -> (Vec<Result<Vec<Score>, ModelError>>, StageTimes) {
        self.score_with(batch, &vec![None; batch.len()])
    }

    /// Scores a batch as [`ModelReranker::score_timed`] does, each group with the adapter that is given for it; where none is,
    /// with the one that is kept under the name of the group's model.
    ///
    /// # Panics
    /// If there are not as many `adapters` as groups.
    pub fn score_with(
        &self,
        batch: &[Group<'_>],
        adapters: &[Option<LoadedAdapter>],
    ) -> (Vec<Result<Vec<Score>, ModelError>>, StageTimes) {
        assert_eq!(batch.len(), adapters.len(), "one place for an adapter per group");
        let started = Instant::now();
        let ready = batch.iter().zip(adapters).map(|(group, adapter)| self.ready(group, adapter.as_ref()));
        let ready: Vec<Result<Ready, ModelError>> = ready.collect();
        let mut times = StageTimes { tokenise: started.elapsed(), ..StageTimes::default() };
        let pairs: Vec<PairToScore<'_>> = ready.iter().enumerate().flat_map(|(n, ready)| pairs_of(n, ready)).collect();
        let scores = self.model.score(&pairs, &mut times);
        let mut of_group: Vec<Vec<Result<f32, ModelError>>> = batch.iter().map(|_| Vec::new()).collect();
        for (pair, score) in pairs.iter().zip(scores) {
            of_group[pair.group].push(score);
        }
        let finish = |((group, ready), scores): ((&Group<'_>, Result<Ready, ModelError>), Vec<_>)| {
            ready.and_then(|_| finished(group.candidates, scores))
        };
        let results = batch.iter().zip(ready).zip(of_group).map(finish).collect();
        (results, times)
    }

    /// The tokens of a query with each candidate, as the model reads them under `adapter`.
    ///
    /// # Errors
    /// [`ModelError::UnknownAdapter`], or a failure of the tokenizer.
    pub fn encode(
        &self,
        adapter: Option<&AdapterId>,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<Vec<Pair>, ModelError> {
        let loaded = adapter.map(|id| self.loaded(id)).transpose()?;
        let prompt = loaded.as_ref().map_or(&self.prompt, |loaded| &loaded.prompt);
        self.tokenizer.pairs(prompt, query, candidates)
    }

    /// The model of a group, and its candidates' tokens.
    fn ready(&self, group: &Group<'_>, adapter: Option<&LoadedAdapter>) -> Result<Ready, ModelError> {
        let kept = |version: &AdapterVersion| match self.loaded(&version.id) {
            Ok(loaded) if loaded.summary.version.digest != version.digest => {
                Err(ModelError::Replaced { adapter: version.id.clone() })
            }
            loaded => loaded,
        };
        let loaded = match adapter {
            Some(adapter) => Some(adapter.0.clone()),
            None => group.model.adapter.as_ref().map(kept).transpose()?,
        };
        let prompt = loaded.as_ref().map_or(&self.prompt, |loaded| &loaded.prompt);
        let pairs = self.tokenizer.pairs(prompt, &group.query.text, group.candidates)?;
        for (pair, candidate) in pairs.iter().zip(group.candidates) {
            let document = || candidate.id.clone();
            if pair.ids.is_empty() {
                return Err(ModelError::NoTokens { document: document() });
            }
            if let Some(token) = self.model.facts().unknown_token(pair) {
                let n_known = self.model.facts().n_tokens_known;
                return Err(ModelError::UnknownToken { document: document(), token, n_known });
            }
        }
        Ok(Ready { loaded, pairs })
    }
}

impl Reranker for ModelReranker {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        match adapter {
            Some(id) => Ok(self.version(Some(&*self.loaded(id)?))),
            None if !self.summary.has_head => Err(self.missing_head(None).into()),
            None => Ok(self.version(None)),
        }
    }

    fn score(&self, batch: &[Group<'_>]) -> Vec<Result<Vec<Score>, BoxError>> {
        let (scores, _) = self.score_timed(batch);
        scores.into_iter().map(|scores| scores.map_err(BoxError::from)).collect()
    }

    /// About four bytes a token, up to the most that a pair may have.
    fn n_tokens(&self, query: &Query, candidate: &Candidate) -> usize {
        let n_bytes = query.text.len() + candidate.title.as_deref().map_or(0, str::len) + candidate.text.len();
        (n_bytes / 4 + 4).min(self.summary.max_length)
    }
}

/// A group whose model was found and whose texts are tokens.
struct Ready {
    loaded: Option<Arc<Loaded>>,
    pairs: Vec<Pair>,
}

/// The pairs of a group, which has this index in its batch.
fn pairs_of(group: usize, ready: &Result<Ready, ModelError>) -> Vec<PairToScore<'_>> {
    let Ok(Ready { loaded, pairs }) = ready else { return Vec::new() };
    let adapter = loaded.as_deref().map(|loaded| &loaded.adapter);
    pairs.iter().map(|pair| PairToScore { pair, adapter, group }).collect()
}

/// A group's scores, or the first reason why it has none.
fn finished(candidates: &[Candidate], scores: Vec<Result<f32, ModelError>>) -> Result<Vec<Score>, ModelError> {
    let check = |(candidate, score): (&Candidate, Result<f32, ModelError>)| {
        let score = score?;
        Score::new(score).map_err(|_| ModelError::NotFiniteScore { document: candidate.id.clone(), score })
    };
    candidates.iter().zip(scores).map(check).collect()
}
