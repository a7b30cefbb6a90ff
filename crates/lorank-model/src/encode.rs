//! From groups of texts to scores: the front of a [`ModelReranker`], which requests meet.

use std::sync::Arc;
use std::time::Instant;

use lorank_core::{AdapterId, AdapterVersion, BoxError, Candidate, Group, ModelVersion, Query, Reranker, Score};

use crate::pack::Entry;
use crate::pass::PieceTimes;
use crate::reranker::{Loaded, LoadedAdapter, ModelReranker};
use crate::scoring::{self, Job};
use crate::{ModelError, Pair};

impl ModelReranker {
    /// Scores a batch as [`Reranker::score`] does, and tells where the time went.
    pub fn score_timed(&self, batch: &[Group<'_>]) -> (Vec<Result<Vec<Score>, ModelError>>, PieceTimes) {
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
    ) -> (Vec<Result<Vec<Score>, ModelError>>, PieceTimes) {
        assert_eq!(batch.len(), adapters.len(), "one place for an adapter per group");
        let started = Instant::now();
        let ready = batch.iter().zip(adapters).map(|(group, adapter)| self.ready(group, adapter.as_ref()));
        let ready: Vec<Result<Ready, ModelError>> = ready.collect();
        let mut times = PieceTimes { tokenise: started.elapsed(), ..PieceTimes::default() };
        let jobs: Vec<Job<'_>> = ready.iter().enumerate().flat_map(|(n, ready)| self.jobs(n, ready)).collect();
        let scores = scoring::run(&self.engine, self.tokens_max, &jobs, &mut times);
        let mut of_group: Vec<Vec<Result<f32, ModelError>>> = batch.iter().map(|_| Vec::new()).collect();
        for (job, score) in jobs.iter().zip(scores) {
            of_group[job.entry.group].push(score);
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
            if let Some(token) = self.network.unknown_token(pair) {
                let n_known = self.network.n_tokens_known();
                return Err(ModelError::UnknownToken { document: document(), token, n_known });
            }
        }
        Ok(Ready { loaded, pairs })
    }

    /// What there is to compute for one group.
    fn jobs<'a>(&'a self, group: usize, ready: &'a Result<Ready, ModelError>) -> Vec<Job<'a>> {
        let Ok(Ready { loaded, pairs }) = ready else { return Vec::new() };
        let loaded = loaded.as_deref();
        let network = loaded.and_then(|loaded| loaded.merged.as_ref()).unwrap_or(&self.network);
        let adapter = loaded.map(|loaded| &loaded.adapter);
        let head = adapter.and_then(|adapter| adapter.head.as_ref()).or(self.head.as_ref());
        let head = head.expect("`resolve` and `add_adapter` refuse a model without a head");
        let job = |pair| Job { network, head, entry: Entry { pair, adapter, group } };
        pairs.iter().map(job).collect()
    }
}

impl Reranker for ModelReranker {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        match adapter {
            Some(id) => Ok(self.version(Some(&*self.loaded(id)?))),
            None if self.head.is_none() => Err(self.missing_head(None).into()),
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

/// A group's scores, or the first reason why it has none.
fn finished(candidates: &[Candidate], scores: Vec<Result<f32, ModelError>>) -> Result<Vec<Score>, ModelError> {
    let check = |(candidate, score): (&Candidate, Result<f32, ModelError>)| {
        let score = score?;
        Score::new(score).map_err(|_| ModelError::NotFiniteScore { document: candidate.id.clone(), score })
    };
    candidates.iter().zip(scores).map(check).collect()
}
