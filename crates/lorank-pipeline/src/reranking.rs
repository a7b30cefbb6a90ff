//! From candidates to rerank scores: the cache, then encoding on this thread, then the queue.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_cache::{KeyMaker, ScoreCache, ScoreKey};
use lorank_core::{
    AdapterChoice, AdapterUnusable, BoxError, Candidate, Deadline, DeadlineExceeded, EncodedPair, Group, ModelVersion,
    PassageOptions, Query, Reranker, Score, ScoreOrigin, Windows, with_causes,
};

use crate::page::Scored;
use crate::passages::{Cut, TextToScore, group_candidates, windows_max};
use crate::queue::{Queue, Served, Submission, abandoned, failed, guarded};
use crate::{CacheUse, Fallback, PipelineConfig, PipelineError, SearchRequest, Timings};

/// The rerank scores of a request's pairs under one model, or the reason for the fallback.
pub(crate) struct Reranking {
    /// In the pairs' order.
    pub outcome: Result<Vec<Scored>, Fallback>,
    pub cache: CacheUse,
    pub timings: Timings,
}

/// Candidates to score under one model.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) request: &'a SearchRequest,
    /// The choice that the model was resolved from.
    pub(crate) choice: &'a AdapterChoice,
    pub(crate) model: &'a ModelVersion,
    /// The query as the model reads it, which may have no place for the request's instruction.
    pub(crate) query: &'a Query,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) candidates: &'a [Candidate],
}

/// The cached scores of a request's pairs.
struct Lookup {
    keys: Vec<ScoreKey>,
    cached: Vec<Option<Score>>,
}

/// A reranking without the scores of the pairs that still have to be submitted to the model.
struct Unscored {
    lookup: Lookup,
    /// The keys of the submitted pairs.
    submitted: Vec<ScoreKey>,
    cache: CacheUse,
    cache_time: Duration,
    encode_time: Duration,
    fallback: Option<Fallback>,
}

/// A job whose scores are not complete yet.
struct Ranking {
    unscored: Unscored,
    submission: Option<Submission>,
    served: Option<(Served, Duration)>,
    cut: Cut,
}

/// The reranker with its cache and queue.
pub(crate) struct Scorer<R> {
    pub(crate) reranker: Arc<R>,
    pub(crate) cache: Arc<ScoreCache>,
    pub(crate) queue: Queue,
    /// How long documents are scored where a request does not say so.
    pub(crate) passages: PassageOptions,
    /// The maximum number of windows of a document.
    pub(crate) passages_max: NonZeroUsize,
    /// The maximum number of pairs in the queue.
    pub(crate) pairs_max: NonZeroUsize,
}

/// The most texts that are scored at once for a request without a limit on their number.
const TEXTS_AT_ONCE: usize = 1_000;

impl<R: Reranker + 'static> Scorer<R> {
    pub(crate) fn new(reranker: Arc<R>, cache: Arc<ScoreCache>, queue: Queue, config: &PipelineConfig) -> Self {
        let (passages, passages_max) = (config.passages, config.passages_max);
        Self { reranker, cache, queue, passages, passages_max, pairs_max: config.queue_pairs_max }
    }

    /// The scores under one model of any number of candidates of several queries. Some are scored at a time, so that
    /// other requests get their share.
    pub(crate) fn reranking_of_pairs(
        &self,
        request: &SearchRequest,
        model: &ModelVersion,
        deadline: Option<Deadline>,
        pairs: &[(&Query, &Candidate)],
    ) -> Result<Reranking, PipelineError> {
        let (mut all, mut cache) = (Vec::with_capacity(pairs.len()), CacheUse::default());
        for pairs in pairs.chunks(TEXTS_AT_ONCE) {
            let cut = match self.cut(request, &request.adapter, model, deadline, pairs, self.passages_max)? {
                Ok(cut) => cut,
                Err(fallback) => return Ok(Reranking { cache, ..Reranking::failed(fallback) }),
            };
            let mut scored = Vec::with_capacity(pairs.len());
            for texts in cut.texts(pairs).chunks(TEXTS_AT_ONCE) {
                let reranking = self.reranking_of_texts(request, model, deadline, texts)?;
                cache.hits += reranking.cache.hits;
                cache.misses += reranking.cache.misses;
                match reranking.outcome {
                    Ok(some) => scored.extend(some),
                    Err(fallback) => return Ok(Reranking { cache, ..Reranking::failed(fallback) }),
                }
            }
            all.extend(cut.merge(scored));
        }
        Ok(Reranking { outcome: Ok(all), cache, ..Reranking::none() })
    }

    fn reranking_of_texts(
        &self,
        request: &SearchRequest,
        model: &ModelVersion,
        deadline: Option<Deadline>,
        texts: &[TextToScore<'_>],
    ) -> Result<Reranking, PipelineError> {
        let (unscored, submission) = self.prepare(request, &request.adapter, model, deadline, texts)?;
        let started = Instant::now();
        let submissions = submission.map(|submission| ((), submission)).into_iter().collect();
        let served = self.queue.score_all(submissions).pop().map(|((), served)| (served, started.elapsed()));
        Ok(unscored.finish(served))
    }

    /// The scores of each job, in their order. All pairs to score enter the queue together.
    pub(crate) fn rerankings(&self, jobs: &[Job<'_>]) -> Vec<Result<Reranking, PipelineError>> {
        let mut rankings: Vec<Result<Ranking, PipelineError>> = jobs.iter().map(|job| self.begin(job)).collect();
        let started = Instant::now();
        let unserved = rankings.iter_mut().filter_map(|ranking| {
            let ranking = ranking.as_mut().ok()?;
            let submission = ranking.submission.take()?;
            Some((ranking, submission))
        });
        for (ranking, served) in self.queue.score_all(unserved.collect()) {
            ranking.served = Some((served, started.elapsed()));
        }
        rankings.into_iter().map(|ranking| ranking.map(Ranking::finish)).collect()
    }

    /// Cuts, looks up and encodes a job's pairs.
    fn begin(&self, job: &Job<'_>) -> Result<Ranking, PipelineError> {
        let Job { request, choice, model, query, deadline, candidates } = *job;
        let pairs: Vec<(&Query, &Candidate)> = candidates.iter().map(|candidate| (query, candidate)).collect();
        let n_max = windows_max(self.passages_max, self.pairs_max, pairs.len());
        let cut = match self.cut(request, choice, model, deadline, &pairs, n_max)? {
            Ok(cut) => cut,
            Err(fallback) => {
                let unscored = Unscored::failed(fallback);
                return Ok(Ranking { unscored, submission: None, served: None, cut: Cut::none() });
            }
        };
        let (unscored, submission) = self.prepare(request, choice, model, deadline, &cut.texts(&pairs))?;
        Ok(Ranking { unscored, submission, served: None, cut })
    }

    /// How the candidates' texts are scored, with at most `n_max` windows each: as the request says, else the
    /// configuration, else the model's author.
    fn cut(
        &self,
        request: &SearchRequest,
        choice: &AdapterChoice,
        model: &ModelVersion,
        deadline: Option<Deadline>,
        pairs: &[(&Query, &Candidate)],
        n_max: NonZeroUsize,
    ) -> Result<Result<Cut, Fallback>, PipelineError> {
        let of_model = match guarded(|| self.reranker.passages(model)) {
            Err(fallback) => return Ok(Err(fallback)),
            Ok(Err(error)) => return not_encoded(choice, error).map(Err),
            Ok(Ok(options)) => options,
        };
        let Some((rule, cut)) = request.passages.resolve(self.passages.or(of_model), n_max)? else {
            return Ok(Ok(Cut::none()));
        };
        let _entered = tracing::info_span!("cut", n_candidates = pairs.len()).entered();
        let started = Instant::now();
        let mut windows: Vec<Windows> = Vec::with_capacity(pairs.len());
        for run in pairs.chunk_by(|(a, _), (b, _)| std::ptr::eq(*a, *b)) {
            let candidates = group_candidates(run);
            let group = Group { query: run[0].0, model, candidates: &candidates };
            match guarded(|| self.reranker.windows(group, &cut, deadline)) {
                Err(fallback) => return Ok(Err(fallback)),
                Ok(Err(error)) => return not_encoded(choice, error).map(Err),
                Ok(Ok(some)) => windows.extend(some),
            }
        }
        Ok(Cut::new(rule, windows, pairs, started.elapsed()))
    }

    /// Looks up the pairs, and encodes those that are not cached.
    fn prepare(
        &self,
        request: &SearchRequest,
        choice: &AdapterChoice,
        model: &ModelVersion,
        deadline: Option<Deadline>,
        pairs: &[TextToScore<'_>],
    ) -> Result<(Unscored, Option<Submission>), PipelineError> {
        let started = Instant::now();
        let lookup = look_up(&self.cache, model, pairs, deadline);
        let hits = lookup.cached.iter().flatten().count();
        let cache = CacheUse { hits, misses: pairs.len() - hits };
        let (cache_time, encode_time) = (started.elapsed(), Duration::ZERO);
        let mut unscored = Unscored { lookup, submitted: Vec::new(), cache, cache_time, encode_time, fallback: None };
        if cache.misses == 0 {
            return Ok((unscored, None));
        }
        let started = Instant::now();
        let (keys, missing) = distinct_misses(pairs, &unscored.lookup);
        let encoded = match abandoned(&request.cancellation, deadline, started) {
            Some(fallback) => Err(fallback),
            None => self.encode(choice, model, deadline, &missing)?,
        };
        unscored.encode_time = started.elapsed();
        let submission = match encoded {
            Err(fallback) => {
                unscored.fallback = Some(fallback);
                None
            }
            Ok(pairs) => Some(Submission {
                base: model.into(),
                pairs,
                keys: keys.clone(),
                deadline,
                cancellation: request.cancellation.clone(),
                is_background: request.background,
            }),
        };
        unscored.submitted = keys;
        Ok((unscored, submission))
    }

    /// Encodes pairs, one query at a time.
    ///
    /// An unusable adapter is an error of the request, as if it could not be resolved; every other failure is a
    /// fallback.
    fn encode(
        &self,
        choice: &AdapterChoice,
        model: &ModelVersion,
        deadline: Option<Deadline>,
        pairs: &[TextToScore<'_>],
    ) -> Result<Result<Vec<EncodedPair>, Fallback>, PipelineError> {
        let _entered = tracing::info_span!("encode", n_pairs = pairs.len()).entered();
        let mut encoded = Vec::with_capacity(pairs.len());
        for run in pairs.chunk_by(|a, b| std::ptr::eq(a.query, b.query)) {
            let candidates: Vec<Candidate> = run.iter().map(TextToScore::to_candidate).collect();
            let group = Group { query: run[0].query, model, candidates: &candidates };
            let answered = match guarded(|| self.reranker.encode(group, deadline)) {
                Err(fallback) => return Ok(Err(fallback)),
                Ok(Err(error)) => return not_encoded(choice, error).map(Err),
                Ok(Ok(answered)) => answered,
            };
            let (found, expected) = (answered.len(), candidates.len());
            if found != expected {
                return Ok(Err(failed(format!("the reranker encoded {found} pairs instead of {expected}"))));
            }
            encoded.extend(answered);
        }
        Ok(Ok(encoded))
    }
}

impl Ranking {
    fn finish(self) -> Reranking {
        self.unscored.finish(self.served).merged(&self.cut)
    }
}

impl Unscored {
    /// Without any pairs, because of a fallback.
    fn failed(fallback: Fallback) -> Self {
        Self {
            lookup: Lookup { keys: Vec::new(), cached: Vec::new() },
            submitted: Vec::new(),
            cache: CacheUse::default(),
            cache_time: Duration::ZERO,
            encode_time: Duration::ZERO,
            fallback: Some(fallback),
        }
    }

    /// Adds the model's scores, and the time spent waiting for them.
    fn finish(self, served: Option<(Served, Duration)>) -> Reranking {
        let (outcome, queue, waited) = match (self.fallback, served) {
            (Some(fallback), _) => (Err(fallback), Duration::ZERO, Duration::ZERO),
            (None, None) => (Ok(Vec::new()), Duration::ZERO, Duration::ZERO),
            (None, Some((served, waited))) => (served.outcome, served.queue_time, waited),
        };
        let outcome = outcome.map(|new| {
            let new: HashMap<ScoreKey, Score> = self.submitted.into_iter().zip(new).collect();
            let Lookup { keys, cached } = self.lookup;
            let scored = keys.iter().zip(cached).map(|(key, cached)| match cached {
                Some(score) => Scored { score, origin: ScoreOrigin::Cache, passage: None },
                None => Scored { score: new[key], origin: ScoreOrigin::Model, passage: None },
            });
            scored.collect()
        });
        let timings = Timings {
            cache: self.cache_time,
            encode: self.encode_time,
            rerank: self.encode_time + waited,
            queue,
            ..Timings::default()
        };
        Reranking { outcome, cache: self.cache, timings }
    }
}

impl Reranking {
    /// The reranking of the first stage's own order.
    pub(crate) fn none() -> Self {
        Self { outcome: Ok(Vec::new()), cache: CacheUse::default(), timings: Timings::default() }
    }

    /// The reranking of a model that cannot be used.
    pub(crate) fn failed(fallback: Fallback) -> Self {
        Self { outcome: Err(fallback), ..Self::none() }
    }

    /// The scores of the candidates, from those of their windows.
    fn merged(mut self, cut: &Cut) -> Self {
        self.outcome = self.outcome.map(|scored| cut.merge(scored));
        self.timings.encode += cut.took;
        self.timings.rerank += cut.took;
        self
    }
}

/// Looks up the pairs' scores in the cache.
fn look_up(cache: &ScoreCache, model: &ModelVersion, pairs: &[TextToScore<'_>], deadline: Option<Deadline>) -> Lookup {
    let keys = pairs.chunk_by(|a, b| std::ptr::eq(a.query, b.query)).flat_map(|run| {
        let maker = KeyMaker::new(&run[0].query.text, model);
        run.iter().map(move |pair| maker.key(pair.candidate.title.as_deref(), pair.text()))
    });
    let keys: Vec<ScoreKey> = keys.collect();
    let cached = cache.get_many(&keys, deadline);
    Lookup { keys, cached }
}

/// The first of each distinct uncached pair, with its key.
fn distinct_misses<'a>(pairs: &[TextToScore<'a>], lookup: &Lookup) -> (Vec<ScoreKey>, Vec<TextToScore<'a>>) {
    let mut seen = HashSet::new();
    let looked_up = pairs.iter().zip(&lookup.keys).zip(&lookup.cached);
    let misses = looked_up.filter(|((_, key), cached)| cached.is_none() && seen.insert(**key));
    misses.map(|((pair, key), _)| (*key, pair.clone())).unzip()
}

/// Whether a failure of encoding is a fallback or an error.
fn not_encoded(choice: &AdapterChoice, error: BoxError) -> Result<Fallback, PipelineError> {
    if error.is::<DeadlineExceeded>() {
        return Ok(Fallback::DeadlinePassed);
    }
    match error.is::<AdapterUnusable>() {
        true => Err(PipelineError::unusable(choice, error)),
        false => Ok(failed(with_causes(&*error))),
    }
}
